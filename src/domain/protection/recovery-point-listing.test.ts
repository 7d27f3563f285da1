import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ListedPoint, planRefill } from './recovery-point-listing.ts'

function point(sequence: number, change: Partial<ListedPoint> = {}): ListedPoint {
  return {
    repositoryId: 'r1',
    pointId: `p${sequence}`,
    machineId: 'm1',
    machineName: 'db-1',
    takenAtMs: 1_790_000_000_000 + sequence,
    sequence,
    consistency: 'crash',
    expiresAtMs: null,
    legalHold: false,
    disks: [{ diskId: 'd1', lun: 0, virtualBytes: 1024 + sequence, usedBytes: 512, mode: 'full' }],
    ...change,
  }
}

test('planRefill() fills an empty catalog in the order of the log', () => {
  assert.deepEqual(planRefill([], [point(3), point(1), point(2)]), { put: [point(1), point(2), point(3)], drop: [] })
})

test('planRefill() writes only what differs, in any field or disk, and drops what is gone', () => {
  const known = [point(1), point(2), point(3), point(4)]
  const disk = { diskId: 'd1', lun: 0, virtualBytes: 1026, usedBytes: 513, mode: 'full' as const }
  const listed = [point(1), point(2, { disks: [disk] }), point(3, { legalHold: true }), point(5)]
  const plan = planRefill(known, listed)
  assert.deepEqual(
    plan.put.map(({ pointId }) => pointId),
    ['p2', 'p3', 'p5'],
  )
  assert.deepEqual(plan.drop, ['p4'])
  assert.deepEqual(planRefill(listed, listed), { put: [], drop: [] })
})
