import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BackupPolicy, DEFAULT_POLICIES } from './backup-policy.ts'
import {
  type SettingsWorld,
  softDeleteDaysOf,
  VAULT_SETTINGS_DEFAULT,
  type VaultSettings,
  whyNotSettings,
} from './vault-settings.ts'
import { whyNotVersion, whyWeaker } from './weaker-policy.ts'

const WORLD: SettingsWorld = { hadItems: false, failureDomains: 1, pair: 'far', mayDisableSoftDelete: false }
const vault = (more: Partial<VaultSettings>): VaultSettings => ({ ...VAULT_SETTINGS_DEFAULT, ...more })
const why = (before: VaultSettings | undefined, after: Partial<VaultSettings>, world: Partial<SettingsWorld> = {}) =>
  whyNotSettings(before, { ...(before ?? VAULT_SETTINGS_DEFAULT), ...after }, { ...WORLD, ...world })

test('A vault’s redundancy can be changed until an item was protected; ZoneRedundant needs two failure domains', () => {
  assert.equal(why(vault({}), { redundancy: 'LocallyRedundant' }), undefined)
  assert.match(
    why(vault({}), { redundancy: 'LocallyRedundant' }, { hadItems: true }) ?? '',
    /once an item was protected/,
  )
  assert.match(why(undefined, { redundancy: 'ZoneRedundant' }) ?? '', /two or more failure domains/)
  assert.equal(why(undefined, { redundancy: 'ZoneRedundant' }, { failureDomains: 2 }), undefined)
})

test('Cross-region restore needs a GeoRedundant vault in a paired region, and is never turned off', () => {
  const on = vault({ crossRegionRestore: true })
  assert.equal(why(vault({}), { crossRegionRestore: true }), undefined)
  assert.match(why(undefined, {}, { pair: undefined }) ?? '', /paired/)
  assert.equal(why(vault({}), {}, { pair: undefined }), undefined, 'one that is GeoRedundant stays so')
  assert.match(why(vault({ redundancy: 'LocallyRedundant' }), { crossRegionRestore: true }) ?? '', /GeoRedundant/)
  assert.match(why(on, { crossRegionRestore: false }) ?? '', /cannot be turned off/)
  assert.match(why(on, { redundancy: 'LocallyRedundant', crossRegionRestore: false }) ?? '', /cross-region restore/)
})

test('Soft delete lasts from 14 to 180 days, is disabled by old clients only, and stays when it is AlwaysON', () => {
  assert.equal(why(vault({}), { softDelete: { state: 'Enabled', days: 180 } }), undefined)
  assert.match(why(vault({}), { softDelete: { state: 'Enabled', days: 13 } }) ?? '', /14 to 180/)
  assert.match(why(vault({}), { softDelete: { state: 'Enabled', days: 181 } }) ?? '', /14 to 180/)
  assert.match(why(vault({}), { softDelete: { state: 'Disabled', days: 14 } }) ?? '', /2024-09-30-preview/)
  const old = { mayDisableSoftDelete: true }
  assert.equal(why(vault({}), { softDelete: { state: 'Disabled', days: 14 } }, old), undefined)
  const always = vault({ softDelete: { state: 'AlwaysON', days: 30 } })
  assert.match(why(always, { softDelete: { state: 'Disabled', days: 30 } }, old) ?? '', /stays so/)
  assert.match(why(always, { softDelete: { state: 'Enabled', days: 30 } }) ?? '', /stays so/)
  assert.match(why(always, { softDelete: { state: 'AlwaysON', days: 20 } }) ?? '', /longer/)
  assert.equal(why(always, { softDelete: { state: 'AlwaysON', days: 40 } }), undefined)
})

test('Immutability that is Locked is for good, and keeps soft delete at work', () => {
  assert.equal(why(vault({}), { immutability: { state: 'Locked' } }), undefined)
  assert.equal(why(vault({ immutability: { state: 'Unlocked' } }), { immutability: { state: 'Disabled' } }), undefined)
  const locked = vault({ immutability: { state: 'Locked', days: 30 } })
  assert.match(why(locked, { immutability: { state: 'Unlocked', days: 30 } }) ?? '', /stays so/)
  assert.match(why(locked, { immutability: { state: 'Locked', days: 29 } }) ?? '', /more/)
  assert.match(why(locked, { immutability: { state: 'Locked' } }) ?? '', /more/)
  assert.equal(why(locked, { immutability: { state: 'Locked', days: 31 } }), undefined)
  assert.equal(softDeleteDaysOf(vault({ softDelete: { state: 'Disabled', days: 14 } })), 0)
  const both = { softDelete: { state: 'Disabled', days: 20 }, immutability: { state: 'Unlocked' } } as const
  assert.equal(softDeleteDaysOf(vault(both)), 20)
})

test('whyWeaker() names what a policy would keep less of, and passes one that keeps more', () => {
  const before: BackupPolicy = {
    ...DEFAULT_POLICIES.EnhancedPolicy,
    rules: {
      daily: { days: 30 },
      weekly: { on: ['Sunday'], weeks: 12 },
      monthly: { on: { by: 'date', dates: [1], last: false }, months: 12 },
      yearly: { in: ['January'], on: { by: 'weekday', days: ['Sunday'], weeks: ['First'] }, years: 3 },
    },
  }
  const { rules } = before
  const edited = (more: Partial<BackupPolicy['rules']>): BackupPolicy => ({ ...before, rules: { ...rules, ...more } })
  assert.equal(whyWeaker(before, before), undefined)
  assert.equal(
    whyWeaker(before, {
      ...edited({ daily: { days: 60 }, weekly: { on: ['Sunday', 'Monday'], weeks: 12 } }),
      schedule: { kind: 'daily', minute: 0 },
    }),
    undefined,
  )
  assert.match(whyWeaker(before, edited({ daily: { days: 29 } })) ?? '', /daily retention is 29 instead of 30/)
  assert.match(whyWeaker(before, edited({ weekly: { on: ['Monday'], weeks: 99 } })) ?? '', /weekly/)
  assert.match(
    whyWeaker(before, edited({ monthly: { on: { by: 'date', dates: [2], last: true }, months: 12 } })) ?? '',
    /monthly/,
  )
  assert.match(whyWeaker(before, edited({ yearly: { ...rules.yearly, in: ['May'] } as never })) ?? '', /fewer months/)
  assert.match(whyWeaker(before, { ...before, instantDays: 3 }) ?? '', /for 3 days instead of 7/)
  const { yearly: _yearly, ...others } = rules
  assert.match(whyWeaker(before, { ...before, rules: others }) ?? '', /no yearly retention/)
  assert.match(whyNotVersion(before, DEFAULT_POLICIES.DefaultPolicy) ?? '', /V2 cannot be changed/)
  assert.equal(whyNotVersion(DEFAULT_POLICIES.DefaultPolicy, before), undefined)
})
