/**
 * A vault's settings as requests say them, and their change: judged and written in one transaction. What a request does not name
 * stays as it is: no promise is taken back by silence.
 */
import {
  type CatalogTransaction,
  findRegion,
  findResource,
  listStores,
  type ResourceChange,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, isBefore } from '#contract'
import {
  IMMUTABILITY_STATES,
  REDUNDANCIES,
  type SettingsWorld,
  SOFT_DELETE_STATES,
  type VaultSettings,
  whyNotSettings,
} from '#domain'
import { ALERTS, openAlert, type VaultBacking, vaultBackingOf, vaultLocation } from '#jobs'
import type { ArmCall } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { fieldAt } from '../../arm/field-table.ts'
import { wordOf } from './word-of.ts'

export type SettingsChange = Readonly<{ [K in keyof VaultSettings]?: Partial<VaultSettings[K]> | VaultSettings[K] }>

function oneOf<T extends string>(names: readonly T[], given: unknown): T | undefined {
  return names.find((name) => name.toLowerCase() === wordOf(given).toLowerCase())
}

/** A whole number. @throws ArmError `InvalidParameter` */
export function daysAt(body: unknown, path: string): number | undefined {
  const given = fieldAt(body, path)
  if (given === undefined) return undefined
  if (typeof given === 'number' && Number.isSafeInteger(given)) return given
  throw new ArmError('InvalidParameter', `'${path}' must be a whole number of days.`, { target: path })
}

/** What the body of a vault says. */
export function readSettings(body: unknown): SettingsChange {
  const security = 'properties.securitySettings'
  const redundancy = oneOf(REDUNDANCIES, fieldAt(body, 'properties.redundancySettings.standardTierStorageRedundancy'))
  const cross = fieldAt(body, 'properties.redundancySettings.crossRegionRestore')
  const softState = oneOf(SOFT_DELETE_STATES, fieldAt(body, `${security}.softDeleteSettings.softDeleteState`))
  const softDays = daysAt(body, `${security}.softDeleteSettings.softDeleteRetentionPeriodInDays`)
  const state = oneOf(IMMUTABILITY_STATES, fieldAt(body, `${security}.immutabilitySettings.state`))
  const configuration = `${security}.immutabilitySettings.configuration`
  const type = fieldAt(body, `${configuration}.type`)
  const days = daysAt(body, `${configuration}.durationInDays`)
  const isTimeBased = wordOf(type).toLowerCase() === 'timebased'
  if (type !== undefined && isTimeBased !== (days !== undefined))
    throw new ArmError('InvalidParameter', 'Immutability of the type TimeBased, and no other, has a durationInDays.', {
      target: configuration,
    })
  const immutability = { ...(state !== undefined && { state }), ...(type !== undefined && { days }) }
  return {
    ...(redundancy !== undefined && { redundancy }),
    ...(cross !== undefined && { crossRegionRestore: wordOf(cross).toLowerCase() === 'enabled' }),
    softDelete: {
      ...(softState !== undefined && { state: softState }),
      ...(softDays !== undefined && { days: softDays }),
    },
    immutability: immutability as Partial<VaultSettings['immutability']>,
  }
}

export function applySettings(before: VaultSettings, change: SettingsChange): VaultSettings {
  const { days, ...immutability } = { ...before.immutability, ...change.immutability }
  return {
    redundancy: change.redundancy ?? before.redundancy,
    crossRegionRestore: change.crossRegionRestore ?? before.crossRegionRestore,
    softDelete: { ...before.softDelete, ...change.softDelete },
    immutability: { ...immutability, ...(days !== undefined && { days }) },
  }
}

/** The region that this one is paired with, where its bytes can be mirrored to: one of this server, with a store. */
export async function mirrorOf(
  trx: CatalogTransaction,
  region: string,
  uid: string,
): Promise<VaultBacking['mirror'] | undefined> {
  const pair = (await findRegion(trx, region))?.pair
  const [store] = pair === undefined ? [] : await listStores(trx, pair)
  if (pair === undefined || store === undefined) return undefined
  return { region: pair, location: vaultLocation(store.location, uid) }
}

/** @throws ArmError `OperationNotAllowed` with the reason */
export async function checkSettings(
  call: ArmCall,
  trx: CatalogTransaction,
  before: VaultBacking | undefined,
  after: Readonly<{ region: string; uid: string; settings: VaultSettings }>,
): Promise<void> {
  const [store] = await listStores(trx, after.region)
  const world: SettingsWorld = {
    hadItems: before?.hadItems === true,
    failureDomains: store?.failureDomains ?? 1,
    pair: (await mirrorOf(trx, after.region, after.uid))?.region,
    mayDisableSoftDelete: isBefore(call.apiVersion, '2024-09-30'),
  }
  const why = whyNotSettings(before?.settings, after.settings, world)
  if (why !== undefined) throw new ArmError('OperationNotAllowed', why)
}

async function raiseSafetyAlerts(
  call: ArmCall,
  trx: CatalogTransaction,
  vaultKey: string,
  before: VaultSettings,
  after: VaultSettings,
): Promise<void> {
  const kinds = [
    [ALERTS.softDeleteChanged, 'Soft delete', before.softDelete, after.softDelete],
    [ALERTS.immutabilityChanged, 'Immutability', before.immutability, after.immutability],
  ] as const
  for (const [kind, what, was, is] of kinds) {
    if (JSON.stringify(was) === JSON.stringify(is)) continue
    const message = `${what} of the vault was changed from ${was.state} to ${is.state}.`
    const facts = { before: was, after: is, principal: call.caller.principal.name }
    await openAlert(trx, { vaultKey, kind, severity: 'Warning', message, facts, isOver: true }, call.host)
  }
}

/** Changes the vault in one transaction. @throws ArmError for what is not allowed */
export function changeVault(
  call: ArmCall,
  vaultId: string,
  change: SettingsChange,
  more: ResourceChange | ((row: ResourceRecord) => ResourceChange) = {},
): Promise<ResourceRecord> {
  return call.host.catalog.write(async (trx) => {
    const row = await findResource(trx, vaultId)
    if (row === undefined) throw new ArmError('ResourceNotFound', `The vault '${vaultId}' was not found.`)
    if (row.state !== 'Succeeded')
      throw new ArmError('AnotherOperationInProgress', `The vault '${vaultId}' is in the state ${row.state}.`)
    const before = vaultBackingOf(row)
    const settings = applySettings(before.settings, change)
    await checkSettings(call, trx, before, { ...before, settings })
    await raiseSafetyAlerts(call, trx, row.key, before.settings, settings)
    const isGeo = settings.redundancy === 'GeoRedundant'
    const mirror = isGeo ? (before.mirror ?? (await mirrorOf(trx, before.region, before.uid))) : undefined
    const { mirror: _was, ...others } = before
    const backing: VaultBacking = { ...others, settings, ...(mirror !== undefined && { mirror }) }
    const given = typeof more === 'function' ? more(row) : more
    const changed = await updateResource(trx, row.id, { ...given, backing }, changeSourceOf(call.host))
    return changed ?? row
  })
}
