import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AssertionFailed } from '#base'
import { FINAL_STATUSES, isFinal, JOB_STATUSES, JOB_TRANSITIONS, mayMove, moveTo } from './job-status.ts'

test('moveTo() refuses every way out of a final state', () => {
  for (const from of FINAL_STATUSES) {
    for (const to of JOB_STATUSES) assert.throws(() => moveTo(from, to), AssertionFailed)
  }
})

test('isFinal() holds for exactly the states that nothing leaves', () => {
  const final = JOB_STATUSES.filter(isFinal)
  assert.deepEqual(final, [...FINAL_STATUSES])
})

test('every state can be reached from queued, and every state that is not final can end', () => {
  const reached = new Set(['queued'])
  for (let size = 0; size !== reached.size;) {
    size = reached.size
    for (const from of JOB_STATUSES) if (reached.has(from)) for (const to of JOB_TRANSITIONS[from]) reached.add(to)
  }
  assert.deepEqual([...reached].sort(), [...JOB_STATUSES].sort())
})

test('only a queued job is cancelled without running: a started one may have something to clean up', () => {
  assert.equal(mayMove('queued', 'cancelled'), true)
  assert.equal(mayMove('sleeping', 'cancelled'), false)
  assert.equal(mayMove('waiting', 'cancelled'), false)
})
