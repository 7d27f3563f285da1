import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  limitReached,
  percentBeforeEnd,
  SNAPSHOT_LIMITS,
  SNAPSHOT_NAME,
  snapshotHistory,
  snapshotName,
  whyNotCopy,
} from './snapshot.ts'

test('full and incremental snapshots of a disk stand in histories of their own', () => {
  assert.notEqual(snapshotHistory('d', true), snapshotHistory('d', false))
})

test('limitReached() counts what a disk has, and within the window only where that is chosen', () => {
  const now = 10_000_000
  const begun = Array.from({ length: 7 }, (_, i) => now - i * 1000)
  assert.equal(limitReached(SNAPSHOT_LIMITS.generous, 499, begun, now), undefined)
  assert.ok(limitReached(SNAPSHOT_LIMITS.generous, 500, [], now))
  assert.ok(limitReached(SNAPSHOT_LIMITS.azure, 7, begun, now))
  assert.equal(limitReached(SNAPSHOT_LIMITS.azure, 7, begun, now + 400_000), undefined)
})

test('whyNotCopy(): a family only from a family, another region only by CopyStart, never from what is not there yet', () => {
  const source = { location: 'eastus', isIncremental: true, state: 'Succeeded' }
  const same = { location: 'eastus', isIncremental: true, createOption: 'Copy' } as const
  assert.equal(whyNotCopy(source, same), undefined)
  assert.equal(whyNotCopy(source, { ...same, isIncremental: false }), undefined)
  assert.ok(whyNotCopy({ ...source, isIncremental: false }, same))
  assert.ok(whyNotCopy(source, { ...same, location: 'westus' }))
  assert.equal(whyNotCopy(source, { ...same, location: 'westus', createOption: 'CopyStart' }), undefined)
  assert.equal(whyNotCopy(source, { ...same, location: 'westus', isIncremental: false }), undefined)
  assert.ok(whyNotCopy({ ...source, state: 'Creating' }, same))
})

test('snapshotName() fills the pattern, and a name is what Azure takes for one', () => {
  assert.equal(snapshotName('{disk}-{group}-{time}', { disk: 'd1', group: 'g', time: '7' }), 'd1-g-7')
  for (const good of ['a', 'a-b', 'a_b.c', `a${'b'.repeat(79)}`]) assert.match(good, SNAPSHOT_NAME)
  for (const bad of ['', '-a', 'a.', 'a-', 'a/b', 'ä', `a${'b'.repeat(80)}`]) assert.doesNotMatch(bad, SNAPSHOT_NAME)
})

test('percentBeforeEnd() never says 100', () => {
  assert.equal(percentBeforeEnd(10, 10), 99)
  assert.equal(percentBeforeEnd(5, 10), 50)
  assert.equal(percentBeforeEnd(0, 0), 0)
})
