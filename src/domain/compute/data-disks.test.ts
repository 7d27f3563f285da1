import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freeLun, planDataDisks } from './data-disks.ts'
import { isRefusal } from './disk.ts'

const before = [
  { lun: 0, id: '/disks/A' },
  { lun: 3, id: '/disks/B' },
]

test('planDataDisks() keeps what is named as it is, in any case, and what is not named at all', () => {
  const plan = planDataDisks(before, [{ lun: 0, id: '/DISKS/a' }, { lun: 3 }])
  assert.ok(!isRefusal(plan))
  assert.deepEqual([plan.added, plan.removed, plan.kept.map(({ lun }) => lun)], [[], [], [0, 3]])
})

test('planDataDisks() removes what is missing or to be detached, and adds what is new or another at its place', () => {
  const wanted = [{ lun: 0, id: '/disks/C' }, { lun: 3, id: '/disks/B', toBeDetached: true }, { lun: 5 }]
  const plan = planDataDisks(before, wanted)
  assert.ok(!isRefusal(plan))
  assert.deepEqual(plan.removed, [0, 3])
  assert.deepEqual(plan.added, [{ lun: 0, id: '/disks/C' }, { lun: 5 }])
  const none = planDataDisks(before, [])
  assert.ok(!isRefusal(none))
  assert.deepEqual(none.removed, [0, 3])
})

test('planDataDisks() refuses luns that are none, and a lun or disk that stands twice', () => {
  const wrong = [
    [{ lun: -1 }],
    [{ lun: 64 }],
    [{ lun: 1.5 }],
    [{ lun: 1 }, { lun: 1 }],
    [
      { lun: 1, id: '/disks/x' },
      { lun: 2, id: '/disks/X' },
    ],
  ]
  for (const wanted of wrong) assert.ok(isRefusal(planDataDisks(before, wanted)), JSON.stringify(wanted))
})

test('freeLun() gives the first that is free', () => {
  assert.equal(freeLun([]), 0)
  assert.equal(freeLun([0, 1, 3]), 2)
  assert.equal(freeLun(Array.from({ length: 64 }, (_, lun) => lun)), undefined)
})
