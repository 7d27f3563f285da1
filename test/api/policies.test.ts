/** Backup policies by their face: read, shown as they were given, refused by name, and done to what is there already. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findProtectedItem, listResources } from '#catalog'
import { zoneOf } from '#domain'
import type { Answer } from './api-world.ts'
import { failed, VaultsWorld, VERSION } from './vaults-world.ts'

type Policy = {
  id: string
  name: string
  type: string
  properties: Record<string, unknown> & { protectedItemsCount: number }
}

const TIME = '2026-11-22T22:00:00Z'
const duration = (count: number, durationType: string) => ({
  retentionTimes: [TIME],
  retentionDuration: { count, durationType },
})
const DAILY = {
  backupManagementType: 'AzureIaasVM',
  policyType: 'V1',
  instantRPDetails: {},
  schedulePolicy: {
    schedulePolicyType: 'SimpleSchedulePolicy',
    scheduleRunFrequency: 'Daily',
    scheduleRunTimes: [TIME],
    scheduleWeeklyFrequency: 0,
  },
  retentionPolicy: { retentionPolicyType: 'LongTermRetentionPolicy', dailySchedule: duration(30, 'Days') },
  tieringPolicy: { ArchivedRP: { tieringMode: 'DoNotTier', duration: 0, durationType: 'Invalid' } },
  instantRpRetentionRangeInDays: 2,
  timeZone: 'W. Europe Standard Time',
}
const GFS = {
  ...DAILY.retentionPolicy,
  weeklySchedule: { daysOfTheWeek: ['Sunday'], ...duration(12, 'Weeks') },
  monthlySchedule: {
    retentionScheduleFormatType: 'Weekly',
    retentionScheduleWeekly: { daysOfTheWeek: ['Sunday'], weeksOfTheMonth: ['First', 'Last'] },
    ...duration(60, 'Months'),
  },
  yearlySchedule: {
    monthsOfYear: ['January'],
    retentionScheduleFormatType: 'Daily',
    retentionScheduleDaily: {
      daysOfTheMonth: [
        { date: 1, isLast: false },
        { date: 0, isLast: true },
      ],
    },
    ...duration(10, 'Years'),
  },
}
const HOURLY = {
  ...DAILY,
  policyType: 'V2',
  instantRpRetentionRangeInDays: 7,
  schedulePolicy: {
    schedulePolicyType: 'SimpleSchedulePolicyV2',
    scheduleRunFrequency: 'Hourly',
    hourlySchedule: { interval: 4, scheduleWindowStartTime: TIME, scheduleWindowDuration: 12 },
  },
}

test('Backup policies as az and the SDKs write them', async (t) => {
  await using world = await VaultsWorld.make()
  const { ask } = world
  await world.make('v1')
  const at = (name: string): string => `${world.id('v1')}/backupPolicies/${name}?${VERSION}`
  const put = (name: string, properties: object): Promise<Answer<Policy>> =>
    ask<Policy>('PUT', at(name), { properties })

  await t.test('are shown as they were given, and given again as they were shown', async () => {
    for (const [name, properties] of [
      ['daily', DAILY],
      ['gfs', { ...DAILY, retentionPolicy: GFS }],
      ['hourly', { ...HOURLY, snapshotConsistencyType: 'OnlyCrashConsistent' }],
      ['ours', { ...HOURLY, holdfastLimits: { startTime: '20:30', hours: 9 } }],
    ] as const) {
      const made = await put(name, properties)
      assert.equal(made.status, 200, made.text)
      assert.deepEqual(made.body.properties, { ...properties, protectedItemsCount: 0 })
      assert.equal(made.body.type, 'Microsoft.RecoveryServices/vaults/backupPolicies')
      const again = await put(name, made.body.properties)
      assert.deepEqual(again.body, made.body)
      assert.deepEqual((await ask('GET', at(name.toUpperCase()))).body, made.body)
    }
  })

  await t.test('weekly ones of both types too', async () => {
    const weekly = { daysOfTheWeek: ['Sunday', 'Wednesday'], ...duration(4, 'Weeks') }
    const retentionPolicy = { retentionPolicyType: 'LongTermRetentionPolicy', weeklySchedule: weekly }
    const runs = { scheduleRunDays: ['Sunday', 'Wednesday'], scheduleRunTimes: [TIME] }
    const v1 = {
      ...DAILY,
      instantRpRetentionRangeInDays: 5,
      schedulePolicy: { ...DAILY.schedulePolicy, scheduleRunFrequency: 'Weekly', ...runs },
      retentionPolicy,
    }
    assert.deepEqual((await put('weekly1', v1)).body.properties, { ...v1, protectedItemsCount: 0 })
    const schedulePolicy = {
      schedulePolicyType: 'SimpleSchedulePolicyV2',
      scheduleRunFrequency: 'Weekly',
      weeklySchedule: runs,
    }
    const v2 = { ...HOURLY, schedulePolicy, retentionPolicy }
    assert.deepEqual((await put('weekly2', v2)).body.properties, { ...v2, protectedItemsCount: 0 })
  })

  await t.test('are listed by what the filter asks for', async () => {
    type List = { value: Policy[] }
    const list = async (filter: string): Promise<string[]> => {
      const answer = await ask<List>(
        'GET',
        `${world.id('v1')}/backupPolicies?${VERSION}&$filter=${encodeURIComponent(filter)}`,
      )
      assert.equal(answer.status, 200, answer.text)
      return answer.body.value.map(({ name }) => name)
    }
    assert.deepEqual(await list("backupManagementType eq 'AzureIaasVM' and policyType eq 'V1'"), [
      'daily',
      'DefaultPolicy',
      'gfs',
      'weekly1',
    ])
    assert.deepEqual(await list("backupManagementType eq 'AzureWorkload'"), [])
  })

  await t.test('are refused by the field that is wrong, and nothing is written', async () => {
    const before = await listResources(world.api.catalog, { parent: world.id('v1') })
    const cases: readonly (readonly [string, object])[] = [
      ['backupManagementType', { ...DAILY, backupManagementType: 'AzureWorkload' }],
      ['schedulePolicy', { ...DAILY, schedulePolicy: undefined }],
      ['scheduleRunTimes', { ...DAILY, schedulePolicy: { ...DAILY.schedulePolicy, scheduleRunTimes: ['22:00'] } }],
      ['scheduleRunTimes', { ...DAILY, schedulePolicy: { ...DAILY.schedulePolicy, scheduleRunTimes: [TIME, TIME] } }],
      [
        'retentionTimes',
        {
          ...DAILY,
          retentionPolicy: {
            ...GFS,
            dailySchedule: { ...duration(30, 'Days'), retentionTimes: ['2026-11-22T21:00:00Z'] },
          },
        },
      ],
      ['durationType', { ...DAILY, retentionPolicy: { ...GFS, dailySchedule: duration(30, 'Weeks') } }],
      ['dailySchedule', { ...DAILY, retentionPolicy: { ...GFS, dailySchedule: duration(3, 'Days') } }],
      [
        'daysOfTheWeek',
        {
          ...DAILY,
          retentionPolicy: { ...GFS, weeklySchedule: { daysOfTheWeek: ['Someday'], ...duration(1, 'Weeks') } },
        },
      ],
      ['time zone', { ...DAILY, timeZone: 'Nowhere Standard Time' }],
      ['instantRpRetentionRangeInDays', { ...DAILY, instantRpRetentionRangeInDays: 9 }],
      ['type V1', { ...HOURLY, policyType: 'V1' }],
      [
        'tieringMode',
        { ...DAILY, tieringPolicy: { ArchivedRP: { tieringMode: 'TierAfter', duration: 3, durationType: 'Months' } } },
      ],
      ['holdfastLimits', { ...DAILY, holdfastLimits: { startTime: '20:00' } }],
      ['surprise', { ...DAILY, surprise: true }],
    ]
    for (const [word, properties] of cases) {
      const refused = await put('bad', properties)
      assert.equal(refused.status, 400, `${word}: ${refused.text}`)
      assert.ok(failed(refused).message.includes(word), failed(refused).message)
    }
    assert.equal(failed(await ask('PUT', at('1x'), { properties: DAILY })).code, 'InvalidResourceName')
    assert.deepEqual(await listResources(world.api.catalog, { parent: world.id('v1') }), before)
    const v1 = await put('hourly', DAILY)
    assert.match(failed(v1).message, /V2 cannot be changed to type V1/)
    assert.equal((await put('daily', HOURLY)).status, 200, 'V1 becomes V2')
    const lost = await ask('PUT', `${world.id('v8')}/backupPolicies/p12?${VERSION}`, { properties: DAILY })
    assert.equal(lost.status, 404)
  })

  await t.test('are deleted unless they protect machines', async () => {
    assert.equal((await ask('DELETE', at('gfs'))).status, 200)
    assert.equal((await ask('DELETE', at('gfs'))).status, 204)
    await world.protect('v1', 'web', { policyId: `${world.id('v1')}/backupPolicies/ours`, nextDueMs: 1, slotMs: 1 })
    const refused = await ask('DELETE', at('ours'))
    assert.equal(failed(refused).code, 'OperationNotAllowed')
    assert.equal((await ask<Policy>('GET', at('ours'))).body.properties.protectedItemsCount, 1)
  })

  await t.test('edited, make the next backups due as they say now', async () => {
    const container = 'IaasVMContainer;iaasvmcontainerv2;rg;web'
    const item = `${world.id('v1')}/backupFabrics/Azure/protectionContainers/${container}/protectedItems/VM;iaasvmcontainerv2;rg;web`
    const schedulePolicy = {
      schedulePolicyType: 'SimpleSchedulePolicyV2',
      scheduleRunFrequency: 'Daily',
      dailySchedule: { scheduleRunTimes: [TIME] },
    }
    const edited = await put('ours', { ...HOURLY, schedulePolicy })
    assert.equal(edited.status, 200, edited.text)
    const { slotMs = 0, nextDueMs = 0 } = (await findProtectedItem(world.api.catalog, item)) ?? assert.fail()
    const wall = zoneOf('W. Europe Standard Time').wallTime(slotMs)
    assert.equal(wall.ms, 22 * 3_600_000)
    assert.ok(nextDueMs >= slotMs)
  })

  await t.test('keep no less where the vault is immutable', async () => {
    const immutable = { properties: { securitySettings: { immutabilitySettings: { state: 'Unlocked' } } } }
    assert.equal((await ask('PATCH', `${world.id('v1')}?${VERSION}`, immutable)).status, 200)
    const less = await put('hourly', {
      ...HOURLY,
      retentionPolicy: { ...DAILY.retentionPolicy, dailySchedule: duration(29, 'Days') },
    })
    assert.match(
      failed(less).message,
      /immutable, and the policy would keep less than before: its daily retention is 29 instead of 30/,
    )
    const more = { ...HOURLY, retentionPolicy: { ...DAILY.retentionPolicy, dailySchedule: duration(31, 'Days') } }
    assert.equal((await put('hourly', more)).status, 200)
  })
})
