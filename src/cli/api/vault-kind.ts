/** Vaults and backup policies as the commands show them. */
import { textTable } from '../text-table.ts'
import type { Kind } from './one-or-many.ts'
import type { ResourceJson } from './resource-json.ts'
import { groupIn } from './targets.ts'
import { factLines, tagsCell, textCell, timeCell } from './words.ts'

export const VAULT_TYPE = 'Microsoft.RecoveryServices/vaults'
export const POLICY_TYPE = 'Microsoft.RecoveryServices/vaults/backupPolicies'

type Shape = Readonly<Record<string, unknown>>
export type VaultJson = ResourceJson & Readonly<{ properties: Shape }>
export type PolicyJson = Readonly<{ id: string; name: string; properties: Shape }>
export type DeletedVaultJson = Readonly<{ id: string; name: string; properties: Shape }>

/** The value at a path. */
export function at(value: unknown, path: string): unknown {
  let found = value
  for (const name of path.split('.'))
    found = typeof found === 'object' && found !== null ? (found as Shape)[name] : undefined
  return found
}

const redundancy = (vault: VaultJson): string =>
  textCell(at(vault.properties, 'redundancySettings.standardTierStorageRedundancy'))

function softDelete({ properties }: VaultJson): string {
  const settings = at(properties, 'securitySettings.softDeleteSettings')
  const days = at(settings, 'softDeleteRetentionPeriodInDays')
  const state = textCell(at(settings, 'softDeleteState'))
  return state === 'Disabled' ? state : `${state}, ${textCell(days)} days`
}

function immutability({ properties }: VaultJson): string {
  const settings = at(properties, 'securitySettings.immutabilitySettings')
  const days = at(settings, 'configuration.durationInDays')
  return `${textCell(at(settings, 'state'))}${days === undefined ? '' : `, ${textCell(days)} days`}`
}

function vaultFacts(vault: VaultJson): string {
  return factLines([
    ['Name', textCell(vault.name)],
    ['Group', textCell(groupIn(vault.id))],
    ['Location', textCell(vault.location)],
    ['Redundancy', redundancy(vault)],
    ['Cross-region restore', textCell(at(vault.properties, 'redundancySettings.crossRegionRestore'))],
    ['Soft delete', softDelete(vault)],
    ['Immutability', immutability(vault)],
    ['State', textCell(vault.properties['provisioningState'])],
    ['Tags', tagsCell(vault.tags)],
  ])
}

function vaultTable(vaults: readonly VaultJson[]): string {
  if (vaults.length === 0) return 'There is no vault here.'
  const rows = vaults.map((vault) => [
    textCell(vault.name),
    textCell(groupIn(vault.id)),
    textCell(vault.location),
    redundancy(vault),
    softDelete(vault),
    immutability(vault),
    textCell(vault.properties['provisioningState']),
  ])
  return textTable(['NAME', 'GROUP', 'LOCATION', 'REDUNDANCY', 'SOFT DELETE', 'IMMUTABILITY', 'STATE'], rows)
}

export const VAULT: Kind<VaultJson> = {
  type: VAULT_TYPE,
  word: 'vault',
  one: (vault) => ({ value: vault, table: () => vaultFacts(vault) }),
  many: (vaults) => ({ value: vaults, table: () => vaultTable(vaults) }),
}

export function deletedTable(vaults: readonly DeletedVaultJson[]): string {
  if (vaults.length === 0) return 'There is no deleted vault here.'
  const rows = vaults.map(({ name, properties }) => [
    textCell(name),
    textCell(properties['vaultId']),
    timeCell(properties['vaultDeletionTime']),
    timeCell(properties['purgeAt']),
  ])
  return textTable(['UID', 'WAS', 'DELETED (UTC)', 'KEPT UNTIL (UTC)'], rows)
}

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const words = (value: unknown): string => list(value).map(textCell).join(', ')
const clock = (value: unknown): string => textCell(value).slice(11, 16)

/** `daily at 22:00`, `every 4 h from 08:00 for 12 h` */
function scheduleText({ properties }: PolicyJson): string {
  const schedule = properties['schedulePolicy']
  const frequency = at(schedule, 'scheduleRunFrequency')
  if (frequency === 'Hourly') {
    const hourly = at(schedule, 'hourlySchedule')
    return `every ${textCell(at(hourly, 'interval'))} h from ${clock(at(hourly, 'scheduleWindowStartTime'))} for ${textCell(at(hourly, 'scheduleWindowDuration'))} h`
  }
  const runs = at(schedule, 'weeklySchedule') ?? at(schedule, 'dailySchedule') ?? schedule
  const time = clock(list(at(runs, 'scheduleRunTimes'))[0])
  return frequency === 'Weekly' ? `${words(at(runs, 'scheduleRunDays'))} at ${time}` : `daily at ${time}`
}

function daysText(rule: unknown): string {
  const weekly = at(rule, 'retentionScheduleWeekly')
  if (weekly !== undefined) return `${words(at(weekly, 'weeksOfTheMonth'))} ${words(at(weekly, 'daysOfTheWeek'))}`
  const dates = list(at(rule, 'retentionScheduleDaily.daysOfTheMonth'))
  return dates.map((day) => (at(day, 'isLast') === true ? 'last' : textCell(at(day, 'date')))).join(', ')
}

/** `30 days; 12 weeks (Sunday)` */
function keptText({ properties }: PolicyJson): string {
  const rules = properties['retentionPolicy']
  const last = (rule: unknown): string => {
    const duration = at(rule, 'retentionDuration')
    return `${textCell(at(duration, 'count'))} ${textCell(at(duration, 'durationType')).toLowerCase()}`
  }
  const [daily, weekly, monthly, yearly] = ['daily', 'weekly', 'monthly', 'yearly'].map((name) =>
    at(rules, `${name}Schedule`),
  )
  return [
    ...(daily === undefined ? [] : [last(daily)]),
    ...(weekly === undefined ? [] : [`${last(weekly)} (${words(at(weekly, 'daysOfTheWeek'))})`]),
    ...(monthly === undefined ? [] : [`${last(monthly)} (${daysText(monthly)})`]),
    ...(yearly === undefined ? [] : [`${last(yearly)} (${words(at(yearly, 'monthsOfYear'))}: ${daysText(yearly)})`]),
  ].join('; ')
}

function policyFacts(policy: PolicyJson): string {
  const { properties } = policy
  const limits = properties['holdfastLimits']
  const start = at(limits, 'startTime')
  return factLines([
    ['Name', textCell(policy.name)],
    ['Type', textCell(properties['policyType'])],
    ['Backups', scheduleText(policy)],
    ['Time zone', textCell(properties['timeZone'])],
    ['Kept', keptText(policy)],
    ['Instant tier', `${textCell(properties['instantRpRetentionRangeInDays'])} days`],
    ['Consistency', properties['snapshotConsistencyType'] === undefined ? '' : 'crash-consistent only'],
    ['Begin', start === undefined ? '' : `from ${textCell(start)} for ${textCell(at(limits, 'hours'))} h`],
    ['Machines', textCell(properties['protectedItemsCount'])],
  ])
}

function policyTable(policies: readonly PolicyJson[]): string {
  if (policies.length === 0) return 'There is no policy here.'
  const rows = policies.map((policy) => [
    textCell(policy.name),
    textCell(policy.properties['policyType']),
    scheduleText(policy),
    textCell(policy.properties['timeZone']),
    keptText(policy),
    textCell(policy.properties['protectedItemsCount']),
  ])
  return textTable(['NAME', 'TYPE', 'BACKUPS', 'TIME ZONE', 'KEPT', 'MACHINES'], rows)
}

export const POLICY: Kind<PolicyJson> = {
  type: POLICY_TYPE,
  word: 'policy',
  one: (policy) => ({ value: policy, table: () => policyFacts(policy) }),
  many: (policies) => ({ value: policies, table: () => policyTable(policies) }),
}
