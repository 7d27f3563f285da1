import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GIB, must } from '#base'
import { adviseProtection, changePerDay, type DiskFigures, type KnownSnapshot } from './advise.ts'

const HOUR = 3_600_000
const NOW = 1_790_000_000_000

function snapshot(hoursAgo: number, more: Partial<KnownSnapshot> = {}): KnownSnapshot {
  return { takenMs: NOW - hoursAgo * HOUR, region: 'eastus', isIncremental: true, ...more }
}

function disk(name: string, more: Partial<DiskFigures> = {}): DiskFigures {
  return { id: `/d/${name}`, name, region: 'eastus', sizeBytes: 64 * GIB, usedBytes: 10 * GIB, snapshots: [], ...more }
}

test('adviseProtection() says of a disk with nothing that everything would be lost, and what the first would cost', () => {
  const [advice] = adviseProtection({ nowMs: NOW, disks: [disk('d1')], points: [] })
  const { protections, notes, subject } = must(advice, 'One disk, one advice')
  assert.deepEqual(subject, { kind: 'disk', name: 'd1' })
  assert.deepEqual(notes, ['no-protection', 'nothing-elsewhere'])
  assert.deepEqual(
    protections.map(({ need, means, count, losesMs, firstBytesMax }) => [need, means, count, losesMs, firstBytesMax]),
    [
      ['undo-change', 'snapshot', 0, undefined, 10 * GIB],
      ['survive-region', 'remote-snapshot', 0, undefined, 10 * GIB],
      ['long-history', 'recovery-point', 0, undefined, 10 * GIB],
    ],
  )
})

test('adviseProtection() takes the size as the bound where what is used is not known', () => {
  const [advice] = adviseProtection({ nowMs: NOW, disks: [disk('d1', { usedBytes: undefined })], points: undefined })
  assert.equal(advice?.protections[0]?.firstBytesMax, 64 * GIB)
  assert.equal(advice.protections[2]?.count, undefined, 'not known is not none')
  assert.ok(advice.notes.includes('points-unknown'))
})

test('Snapshots of a machine’s disks at different instants do not count as one of the machine', () => {
  const disks = [
    disk('a', { machine: 'web1', snapshots: [snapshot(1)] }),
    disk('b', { machine: 'web1', snapshots: [snapshot(2)] }),
  ]
  const [advice] = adviseProtection({ nowMs: NOW, disks, points: [] })
  assert.deepEqual(advice?.subject, { kind: 'machine', name: 'web1' })
  assert.equal(advice.protections[0]?.means, 'consistency-group')
  assert.equal(advice.protections[0].losesMs, undefined)
  assert.ok(advice.notes.includes('instants-differ'))
})

test('The newest instant that all disks share counts, and no newer one of some of them', () => {
  const together = { group: 'nightly' }
  const disks = [
    disk('a', { machine: 'web1', snapshots: [snapshot(5, together), snapshot(1, together)] }),
    disk('b', { machine: 'web1', snapshots: [snapshot(5, together), snapshot(1, { group: 'other' })] }),
  ]
  const [advice] = adviseProtection({ nowMs: NOW, disks, points: [{ machine: 'web1', takenMs: NOW - 3 * HOUR }] })
  assert.equal(advice?.protections[0]?.losesMs, 5 * HOUR)
  assert.equal(advice.protections[2]?.losesMs, 3 * HOUR)
  assert.ok(!advice.notes.includes('instants-differ'))
})

test('A snapshot in another region helps against the loss of the own one, and is no snapshot here', () => {
  const [advice] = adviseProtection({
    nowMs: NOW,
    disks: [disk('d1', { snapshots: [snapshot(4, { region: 'westus' })] })],
    points: [],
  })
  const [here, elsewhere] = advice?.protections ?? []
  assert.deepEqual([here?.count, here?.losesMs], [0, undefined])
  assert.deepEqual([elsewhere?.count, elsewhere?.losesMs, elsewhere?.firstBytesMax], [1, 4 * HOUR, 0])
  assert.ok(elsewhere?.helpsAgainst.includes('region-lost') === true)
  assert.ok(here?.notAgainst.includes('region-lost') === true)
  assert.deepEqual(advice?.notes, [])
})

test('changePerDay() reads what the newest incremental added over the time since the one before', () => {
  const family = [snapshot(30, { ownBytes: 5 * GIB }), snapshot(6, { ownBytes: 2 * GIB })]
  assert.equal(changePerDay(disk('d', { snapshots: family })), 2 * GIB)
  const halfDay = [snapshot(18), snapshot(6, { ownBytes: GIB })]
  assert.equal(changePerDay(disk('d', { snapshots: halfDay })), 2 * GIB)
  const full = family.map((one) => ({ ...one, isIncremental: false }))
  assert.equal(changePerDay(disk('d', { snapshots: full })), undefined)
  assert.equal(changePerDay(disk('d', { snapshots: [snapshot(1, { ownBytes: GIB })] })), undefined)
  const close = [snapshot(1.05), snapshot(1, { ownBytes: GIB })]
  assert.equal(changePerDay(disk('d', { snapshots: close })), undefined, 'minutes say nothing of a day')
})

test('Machines come first, each list by name', () => {
  const disks = [disk('z'), disk('b'), disk('x', { machine: 'web2' }), disk('y', { machine: 'web1' })]
  const names = adviseProtection({ nowMs: NOW, disks, points: [] }).map(({ subject }) => subject.name)
  assert.deepEqual(names, ['web1', 'web2', 'b', 'z'])
})
