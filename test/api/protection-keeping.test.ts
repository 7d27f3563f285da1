/**
 * What happens to protected machines by itself: backups that are due are started, once and one at a time; points go when the policy
 * says so, after the days of soft delete, in the list and in the repository; what must stay, stays.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { MIB, must } from '#base'
import {
  changeProtectedItem,
  changeVaultPoint,
  findProtectedItem,
  findResource,
  listAlerts,
  listBackupJobs,
  listProtectedItems,
  listVaultPoints,
  updateResource,
  type VaultPoint,
} from '#catalog'
import { KEEP_POINTS_JOB, PURGE_POINTS_JOB, startDue } from '#jobs'
import { systemClock, systemRandom } from '#runtime'
import { insertSimulatedMachines } from '../rig/simulated-machine.ts'
import { ApiWorld, VERSION } from './api-world.ts'
import { ProtectionWorld } from './protection-world.ts'

const SIZE = 4 * MIB
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

let api: ApiWorld
let world: ProtectionWorld

const source = { nowMs: () => systemClock.nowMs(), newEtag: () => 'W/"1"' }

before(async () => {
  api = await ApiWorld.make()
  world = new ProtectionWorld(api, await api.asker())
  assert.equal((await world.ask('PUT', `${world.group}?${VERSION}`, { location: 'eastus' })).status, 201)
  await world.makeVault()
  const machines = []
  for (const name of ['a', 'b', 'c']) {
    const file = join(api.home.folder, `${name}.raw`)
    await writeFile(file, randomBytes(SIZE))
    machines.push({
      group: world.group,
      subscription: api.record.subscriptionId,
      name,
      disks: [{ file, sizeBytes: SIZE }],
    })
  }
  await insertSimulatedMachines(api.catalog, machines)
})
after(() => api[Symbol.asyncDispose]())

function keyOf(name: string): string {
  return world.item(name).toLowerCase()
}

async function itemOf(name: string) {
  return must(await findProtectedItem(api.catalog, keyOf(name)), `There is an item ${name}`)
}

/** Looks for what is due at that time. */
function lookAt(nowMs: number): Promise<number> {
  const clock = { ...systemClock, nowMs: () => nowMs }
  const parts = { catalog: api.catalog, jobs: api.jobs, clock, random: systemRandom }
  return startDue(parts, (_, error) => {
    throw error
  })
}

async function allEnded(): Promise<void> {
  const { key } = must(await findResource(api.catalog, world.vault), 'There is a vault')
  for (;;) {
    const running = await listBackupJobs(api.catalog, { vaultKey: key, status: 'InProgress' })
    if (running.length === 0) return
    await systemClock.sleep(50)
  }
}

async function keptNow(): Promise<void> {
  const job = await api.jobs.wait(await api.jobs.start(KEEP_POINTS_JOB, {}, { queue: 'resource' }))
  assert.equal(job.status, 'succeeded', JSON.stringify(job.error))
}

async function purged(): Promise<unknown> {
  const job = await api.jobs.wait(await api.jobs.start(PURGE_POINTS_JOB, {}, { queue: 'resource' }))
  assert.equal(job.status, 'succeeded', JSON.stringify(job.error))
  return job.output
}

test('A backup that is due is started once, and the next one is of the next slot', async () => {
  await world.protect('a', { policyId: world.policy('EnhancedPolicy') })
  const { nextDueMs = 0, slotMs = 0 } = await itemOf('a')
  assert.ok(nextDueMs > systemClock.nowMs() && nextDueMs >= slotMs)
  assert.equal(await lookAt(nextDueMs - 1), 0, 'not before its time')
  assert.equal(await lookAt(nextDueMs + 5), 1)
  assert.equal(await lookAt(nextDueMs + 5), 0, 'once')
  const next = await itemOf('a')
  assert.equal(next.slotMs, slotMs + 4 * HOUR_MS)
  await allEnded()
  const [point] = await listVaultPoints(api.catalog, { itemKey: keyOf('a') })
  assert.equal(point?.slotMs, slotMs)
  assert.equal(point.isOnDemand, false)
  assert.equal((await itemOf('a')).state, 'Protected')
})

test('After downtime the newest slot that was missed is made up for once, and an alert says so until it is done', async () => {
  const { nextDueMs = 0, slotMs = 0 } = await itemOf('a')
  const lateMs = nextDueMs + 13 * HOUR_MS
  assert.equal(await lookAt(lateMs), 1)
  const { key } = must(await findResource(api.catalog, world.vault), 'There is a vault')
  const alerts = await listAlerts(api.catalog, { vaultKey: key, kind: 'MissedSchedule' })
  assert.equal(alerts.length, 1)
  assert.equal(await lookAt(lateMs), 0)
  await allEnded()
  const [point] = await listVaultPoints(api.catalog, { itemKey: keyOf('a') })
  assert.equal(point?.slotMs, slotMs + 12 * HOUR_MS, 'the newest of those that were missed')
  assert.equal((await listAlerts(api.catalog, { vaultKey: key, kind: 'MissedSchedule', onlyOpen: true })).length, 0)
})

test('A slot that comes while a backup still runs is passed over; one outside the policy’s hours waits', async () => {
  const { nextDueMs = 0, slotMs = 0 } = await itemOf('a')
  const begun = await world.beginBackup('a')
  assert.equal(await lookAt(nextDueMs), 0)
  const after = await itemOf('a')
  assert.equal(after.slotMs, slotMs + 4 * HOUR_MS, 'the slot is over')
  await world.ended(await world.jobOf(begun))

  const id = world.policy('EnhancedPolicy')
  const row = must(await findResource(api.catalog, id), 'There is such a policy')
  const policy = row.backing['policy'] as Record<string, unknown>
  const limited = { ...policy, limits: { hours: { minute: 0, hours: 1 } } }
  await api.catalog.write((trx) => updateResource(trx, id, { backing: { policy: limited } }, source))
  const dueMs = must(after.nextDueMs, 'It is scheduled')
  const noonMs = Math.ceil(dueMs / DAY_MS) * DAY_MS + 12 * HOUR_MS
  assert.equal(await lookAt(noonMs), 0)
  assert.ok(must((await itemOf('a')).nextDueMs, 'It waits') > noonMs, 'it is looked at again later')
  assert.equal(await lookAt(noonMs + 12.5 * HOUR_MS), 1, 'within the hours it begins')
  await api.catalog.write((trx) => updateResource(trx, id, { backing: { policy } }, source))
  await allEnded()
})

test('A point whose time is over goes from list and repository; one that is cut off is kept for the days of soft delete', async () => {
  await world.protect('b')
  for (let n = 0; n < 3; n += 1) await world.backup('b')
  const [newest, second, oldest] = await listVaultPoints(api.catalog, { itemKey: keyOf('b') })
  assert.ok(newest !== undefined && second !== undefined && oldest !== undefined)
  const nowMs = systemClock.nowMs()
  await api.catalog.write(async (trx) => {
    // Its time is over; and one that would be cut off now.
    const over = { expiresMs: nowMs - 1, keptUntilMs: nowMs - 1 }
    await changeVaultPoint(trx, keyOf('b'), oldest.name, over)
    await changeVaultPoint(trx, keyOf('b'), second.name, { expiresMs: nowMs - 1 })
    await changeVaultPoint(trx, keyOf('b'), newest.name, over)
  })
  await keptNow()
  const marked = await world.points('b')
  assert.deepEqual(
    marked.map(({ properties }) => properties.recoveryPointProperties.isSoftDeleted),
    [false, true, true],
    'the newest is always kept',
  )
  await purged()
  const left = await world.points('b')
  assert.deepEqual(
    left.map(({ name }) => name),
    [newest.name, second.name],
  )
  const held = await world.inVault((repository) => Promise.resolve(repository.points().map(({ id }) => id)))
  assert.ok(!held.includes(oldest.pointId) && held.includes(second.pointId) && held.includes(newest.pointId))
  await api.catalog.write((trx) => changeVaultPoint(trx, keyOf('b'), second.name, { expiresMs: nowMs + DAY_MS }))
  await keptNow()
  const [, restored] = await world.points('b')
  assert.equal(restored?.properties.recoveryPointProperties.isSoftDeleted, false, 'longer retention brings it back')
})

test('Deleted data goes when its time is over, the item with it, and nothing of another machine', async () => {
  await world.protect('c')
  await world.backup('c')
  const others = (await world.points('b')).length
  await world.jobOf(await world.ask('DELETE', world.url(world.item('c'))))
  await purged()
  assert.equal((await world.points('c')).length, 1, 'it is kept meanwhile')
  const { key } = await itemOf('c')
  await api.catalog.write((trx) => changeProtectedItem(trx, key, { purgeAtMs: systemClock.nowMs() - 1 }, 1))
  assert.equal((await world.putItem('c', { isRehydrate: true })).status, 409, 'its time is over')
  await purged()
  assert.equal(await findProtectedItem(api.catalog, key), undefined)
  const machines = await world.inVault((repository) =>
    Promise.resolve(repository.points().map(({ machine }) => machine)),
  )
  assert.ok(!machines.includes('rg1/c'))
  assert.equal((await world.points('b')).length, others)
})

test('Where soft delete is disabled, deleted data is gone at once', async () => {
  const id = `${world.vault}now`
  await world.makeVault(id, { softDelete: { state: 'Disabled', days: 14 } })
  const other = new ProtectionWorld(api, world.ask, 'v1now')
  await other.jobOf(await other.putItem('c', { policyId: other.policy('DefaultPolicy') }), id)
  const job = await other.ended(await other.jobOf(await other.beginBackup('c'), id))
  assert.equal(job.properties.status, 'Completed')
  await other.jobOf(await other.ask('DELETE', other.url(other.item('c'))), id)
  for (let n = 0; n < 200; n += 1) {
    if ((await listProtectedItems(api.catalog, { vaultKey: id.toLowerCase() })).length === 0) break
    await systemClock.sleep(50)
  }
  assert.equal((await listProtectedItems(api.catalog, { vaultKey: id.toLowerCase() })).length, 0)
  assert.equal(await other.inVault((repository) => Promise.resolve(repository.points().length)), 0)
})

test('In an immutable vault neither points nor items are deleted, nor kept for less', async () => {
  const id = `${world.vault}im`
  await world.makeVault(id, { immutability: { state: 'Unlocked' } })
  const other = new ProtectionWorld(api, world.ask, 'v1im')
  await other.jobOf(await other.putItem('c', { policyId: other.policy('DefaultPolicy') }), id)
  for (let n = 0; n < 2; n += 1) {
    const job = await other.ended(await other.jobOf(await other.beginBackup('c'), id))
    assert.equal(job.properties.status, 'Completed')
  }
  const [, oldest] = await other.points('c')
  assert.equal((await other.ask('DELETE', other.url(must(oldest, 'Two points').id))).status, 409)
  assert.equal((await other.ask('DELETE', other.url(other.item('c')))).status, 409)
  assert.equal((await other.points('c')).length, 2)
})

test('In an immutable vault protection that is stopped and resumed keeps no point for less than it was promised', async () => {
  const other = new ProtectionWorld(api, world.ask, 'v1im')
  const daily = await policyBody(other, 'DefaultPolicy')
  const times = daily.schedulePolicy.scheduleRunTimes
  const short = { ...daily, retentionPolicy: dailyRetention(times, 7) }
  const made = await other.ask('PUT', other.url(other.policy('short')), { properties: short })
  assert.equal(made.status, 200, made.text)
  const key = other.item('c').toLowerCase()
  const promised = await listVaultPoints(api.catalog, { itemKey: key })
  const [, oldest] = promised
  const until = (point: VaultPoint | undefined) => must(point?.keptUntilMs, 'It was promised something')
  await other.jobOf(await other.putItem('c', { policyId: '', protectionState: 'ProtectionStopped' }), other.vault)
  const [, stopped] = await listVaultPoints(api.catalog, { itemKey: key })
  assert.deepEqual([stopped?.keptBy, until(stopped)], [['Retained'], until(oldest)])
  const [, shown] = await other.points('c')
  assert.equal(shown?.properties.recoveryPointProperties.expiryTime, undefined, 'it is kept for ever')

  const refused = await other.putItem('c', { policyId: other.policy('short') })
  assert.equal(refused.status, 409, refused.text)
  assert.match(refused.text, /immutable/)
  // The policy that it had is deleted, and one that keeps less has its name now.
  assert.equal((await other.ask('DELETE', other.url(other.policy('DefaultPolicy')))).status, 200)
  assert.equal((await other.ask('PUT', other.url(other.policy('DefaultPolicy')), { properties: short })).status, 200)
  assert.equal((await other.putItem('c', { policyId: other.policy('DefaultPolicy') })).status, 409)

  const long = { ...short, retentionPolicy: dailyRetention(times, 40) }
  assert.equal((await other.ask('PUT', other.url(other.policy('long')), { properties: long })).status, 200)
  await other.jobOf(await other.putItem('c', { policyId: other.policy('long') }), other.vault)
  assert.equal((await findProtectedItem(api.catalog, key))?.facts['lastPolicy'], undefined)
  const resumed = await listVaultPoints(api.catalog, { itemKey: key, softDeleted: false })
  assert.deepEqual(resumed.map(until), promised.map(until))
})

type PolicyProperties = { schedulePolicy: { scheduleRunTimes: string[] } } & Record<string, unknown>

async function policyBody(of: ProtectionWorld, name: string): Promise<PolicyProperties> {
  const answer = await of.ask<{ properties: PolicyProperties }>('GET', of.url(of.policy(name)))
  return answer.body.properties
}

function dailyRetention(retentionTimes: readonly string[], count: number) {
  return {
    retentionPolicyType: 'LongTermRetentionPolicy',
    dailySchedule: { retentionTimes, retentionDuration: { count, durationType: 'Days' } },
  }
}
