import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_POLICIES, isTaken } from '#domain'
import { backupErrorOf } from './backup-errors.ts'
import { historyOf, lockMsOf } from './take-machine.ts'
import { pointName } from './vault-backup.ts'

const DAY_MS = 24 * 3_600_000
const LOCKED = { state: 'Locked' } as const

test('pointName() is decimal digits, and larger for what the log has later, whatever the clock said', () => {
  const names = [pointName(9, 1_790_000_000_000), pointName(10, 1_700_000_000_000), pointName(123, 1)]
  assert.ok(names.every((name) => /^\d+$/.test(name)))
  const numbers = names.map(BigInt)
  assert.deepEqual(
    numbers.toSorted((a, b) => (a < b ? -1 : 1)),
    numbers,
  )
})

test('historyOf() is the group and the machine', () => {
  const id = '/subscriptions/s/resourceGroups/Web/providers/Microsoft.Compute/virtualMachines/VM1'
  assert.equal(historyOf(id), 'web/vm1')
})

test('lockMsOf() locks in a locked vault only, and for what is promised whatever comes later', () => {
  const { DefaultPolicy: daily, EnhancedPolicy: hourly } = DEFAULT_POLICIES
  const scheduled = { isOnDemand: false }
  assert.equal(lockMsOf({ state: 'Unlocked' }, daily, scheduled, 0), undefined)
  assert.equal(lockMsOf(LOCKED, daily, scheduled, 0), 30 * DAY_MS)
  assert.equal(lockMsOf(LOCKED, hourly, scheduled, 0), 7 * DAY_MS, 'a later point of the day may take its place')
  assert.equal(lockMsOf(LOCKED, hourly, { isOnDemand: true, expiresMs: 90 * DAY_MS }, DAY_MS), 89 * DAY_MS)
})

test('isTaken() always takes the disk of the operating system', () => {
  for (const isInclusionList of [true, false]) assert.equal(isTaken(-1, { luns: [0], isInclusionList }), true)
  assert.deepEqual(
    [0, 1].map((lun) => isTaken(lun, { luns: [0], isInclusionList: true })),
    [true, false],
  )
  assert.deepEqual(
    [0, 1].map((lun) => isTaken(lun, { luns: [0], isInclusionList: false })),
    [false, true],
  )
})

test('backupErrorOf() says Azure’s code, and of a guest that could not be quieted its own reason', () => {
  const shape = { message: 'm', facts: {}, retry: 'never' } as const
  assert.equal(backupErrorOf({ ...shape, code: 'machine_not_there' }).code, 'UserErrorVmNotFoundV2')
  const scripts = backupErrorOf({ ...shape, code: 'quiesce_failed', facts: { reason: 'Pre-ScriptTimeout' } })
  assert.equal(scripts.code, 'Pre-ScriptTimeout')
  const unknown = backupErrorOf({ ...shape, code: 'store_melted', hint: 'Cool it.' })
  assert.deepEqual([unknown.code, unknown.recommendations[0]], ['store_melted', 'Cool it.'])
})
