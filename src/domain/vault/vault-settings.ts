/**
 * What a vault promises, and which changes of it are refused. Pure. Two promises are for good: soft delete that is AlwaysON, and
 * immutability that is Locked.
 */
export const REDUNDANCIES = ['LocallyRedundant', 'GeoRedundant', 'ZoneRedundant'] as const
export type Redundancy = (typeof REDUNDANCIES)[number]
export const SOFT_DELETE_STATES = ['Enabled', 'Disabled', 'AlwaysON'] as const
export type SoftDeleteState = (typeof SOFT_DELETE_STATES)[number]
export const IMMUTABILITY_STATES = ['Disabled', 'Unlocked', 'Locked'] as const
export type ImmutabilityState = (typeof IMMUTABILITY_STATES)[number]

export type SoftDelete = Readonly<{ state: SoftDeleteState; days: number }>
export type VaultImmutability = Readonly<{
  state: ImmutabilityState
  /** Every point is kept at least so long, whatever its policy says; none: as long as its policy said when it was planned. */
  days?: number
}>

export type VaultSettings = Readonly<{
  redundancy: Redundancy
  crossRegionRestore: boolean
  softDelete: SoftDelete
  immutability: VaultImmutability
}>

export const SOFT_DELETE_DAYS_MIN = 14
export const SOFT_DELETE_DAYS_MAX = 180
const IMMUTABLE_DAYS_MAX = 36_135

export const VAULT_SETTINGS_DEFAULT: VaultSettings = {
  redundancy: 'GeoRedundant',
  crossRegionRestore: false,
  softDelete: { state: 'Enabled', days: SOFT_DELETE_DAYS_MIN },
  immutability: { state: 'Disabled' },
}

/** What of the world a change is judged by. */
export type SettingsWorld = Readonly<{
  /** An item was protected once: from then on the redundancy is what it is. */
  hadItems: boolean
  /** Failure domains that the vault's store declares. */
  failureDomains: number
  /** Region that the vault's region is paired with, where that has a store of this server. */
  pair: string | undefined
  /** The client's api-version still lets soft delete be disabled. */
  mayDisableSoftDelete: boolean
}>

function whyNotRedundancy(
  before: VaultSettings | undefined,
  { redundancy, crossRegionRestore }: VaultSettings,
  world: SettingsWorld,
) {
  if (before !== undefined && redundancy !== before.redundancy) {
    if (world.hadItems) return 'The storage redundancy of a vault cannot be changed once an item was protected in it.'
    if (before.crossRegionRestore)
      return 'The storage redundancy of a vault with cross-region restore cannot be changed.'
  }
  const isNew = redundancy !== before?.redundancy
  if (isNew && redundancy === 'ZoneRedundant' && world.failureDomains < 2)
    return 'ZoneRedundant needs a store that declares two or more failure domains ("holdfast store add --failure-domains").'
  if (isNew && redundancy === 'GeoRedundant' && world.pair === undefined)
    return 'GeoRedundant needs a region that is paired with another one that has a store ("holdfast region pair").'
  if (before?.crossRegionRestore === true && !crossRegionRestore)
    return 'Cross-region restore cannot be turned off once it is on.'
  if (crossRegionRestore && redundancy !== 'GeoRedundant')
    return 'Cross-region restore needs a vault that is GeoRedundant.'
  return undefined
}

function whyNotSoftDelete(before: SoftDelete | undefined, { state, days }: SoftDelete, world: SettingsWorld) {
  if (!Number.isSafeInteger(days) || days < SOFT_DELETE_DAYS_MIN || days > SOFT_DELETE_DAYS_MAX)
    return `The retention of soft delete must be from ${SOFT_DELETE_DAYS_MIN} to ${SOFT_DELETE_DAYS_MAX} days, not ${days}.`
  if (before?.state === 'AlwaysON') {
    if (state !== 'AlwaysON') return 'Soft delete that is AlwaysON stays so.'
    if (days < before.days) return 'The retention of a soft delete that is AlwaysON can only be made longer.'
  }
  if (state === 'Disabled' && before?.state !== 'Disabled' && !world.mayDisableSoftDelete)
    return 'Soft delete cannot be disabled. (Clients with an api-version before 2024-09-30-preview still can.)'
  return undefined
}

function whyNotImmutability(before: VaultImmutability | undefined, { state, days }: VaultImmutability) {
  if (days !== undefined && !(Number.isSafeInteger(days) && days >= 1 && days <= IMMUTABLE_DAYS_MAX))
    return `The days of immutability must be from 1 to ${IMMUTABLE_DAYS_MAX}, not ${days}.`
  if (before?.state !== 'Locked') return undefined
  if (state !== 'Locked') return 'Immutability that is Locked stays so.'
  if (before.days !== undefined && (days === undefined || days < before.days))
    return 'The days of an immutability that is Locked can only become more.'
  return undefined
}

/** Why the vault cannot be given these settings, as a sentence; undefined when it can. `before`: undefined for a new vault. */
export function whyNotSettings(
  before: VaultSettings | undefined,
  after: VaultSettings,
  world: SettingsWorld,
): string | undefined {
  return (
    whyNotRedundancy(before, after, world) ??
    whyNotSoftDelete(before?.softDelete, after.softDelete, world) ??
    whyNotImmutability(before?.immutability, after.immutability)
  )
}

export function isImmutable({ immutability }: Pick<VaultSettings, 'immutability'>): boolean {
  return immutability.state !== 'Disabled'
}

/** For how long what is deleted is kept; 0: not at all. */
export function softDeleteDaysOf({
  softDelete,
  immutability,
}: Pick<VaultSettings, 'softDelete' | 'immutability'>): number {
  // What is immutable is never gone at once.
  if (softDelete.state === 'Disabled' && immutability.state === 'Disabled') return 0
  return softDelete.days
}
