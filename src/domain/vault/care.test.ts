import assert from 'node:assert/strict'
import { test } from 'node:test'
import { careOf, type CareState, type CareTimes, CHECK_RETRY_MS, MIRROR_RETRY_MS } from './care.ts'
import { isLoopbackUrl, isWebhook } from './webhook.ts'

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE
const NOW = 1_790_000_000_000
const times: CareTimes = {
  mirrorEveryMs: 15 * MINUTE,
  lagAlertMs: 60 * MINUTE,
  checkEveryMs: 7 * DAY,
  copyEveryMs: 4 * 60 * MINUTE,
}
const well: CareState = {
  isMirrored: true,
  passedMs: NOW - MINUTE,
  checkedMs: NOW - DAY,
  copiedMs: NOW - MINUTE,
  madeMs: NOW - 30 * DAY,
}
const NOTHING = { pass: false, check: false, copy: false, isLate: false }

test('careOf() asks for nothing where all is fresh, and for a pass as soon as a point waits', () => {
  assert.deepEqual(careOf(well, times, NOW), NOTHING)
  assert.deepEqual(careOf({ ...well, waitingSinceMs: NOW - 1 }, times, NOW), { ...NOTHING, pass: true })
  assert.deepEqual(careOf({ ...well, passedMs: NOW - 15 * MINUTE }, times, NOW), { ...NOTHING, pass: true })
})

test('careOf() waits after a failure, and says that the mirror is late all the same', () => {
  const failed = { ...well, waitingSinceMs: NOW - 61 * MINUTE, failedMs: NOW - 1000 }
  assert.deepEqual(careOf(failed, times, NOW), { ...NOTHING, isLate: true })
  assert.equal(careOf({ ...failed, failedMs: NOW - MIRROR_RETRY_MS }, times, NOW).pass, true)
})

test('careOf() asks a vault without a mirror for a copy of the catalog only', () => {
  const alone: CareState = { isMirrored: false, waitingSinceMs: NOW - DAY, madeMs: NOW }
  assert.deepEqual(careOf(alone, times, NOW), { ...NOTHING, copy: true })
  assert.deepEqual(careOf(alone, { ...times, copyEveryMs: 0 }, NOW), NOTHING)
})

test('careOf() checks a mirror a week after it was made or checked, and never before its first pass', () => {
  assert.equal(careOf({ ...well, checkedMs: NOW - 7 * DAY }, times, NOW).check, true)
  assert.equal(careOf({ ...well, checkedMs: undefined, madeMs: NOW - 6 * DAY }, times, NOW).check, false)
  assert.equal(careOf({ ...well, checkedMs: undefined, madeMs: NOW - 7 * DAY }, times, NOW).check, true)
  assert.equal(careOf({ ...well, passedMs: undefined, checkedMs: undefined }, times, NOW).check, false)
  assert.equal(careOf({ ...well, checkedMs: NOW - 70 * DAY }, { ...times, checkEveryMs: 0 }, NOW).check, false)
})

test('careOf() asks for passes though the check of the mirror fails, and for the check hours later again', () => {
  const failing = { ...well, waitingSinceMs: NOW - MINUTE, checkedMs: NOW - 8 * DAY, failedMs: NOW - 2 * MINUTE }
  assert.deepEqual(careOf({ ...failing, checkFailedMs: NOW - 2 * MINUTE }, times, NOW), { ...NOTHING, pass: true })
  assert.equal(careOf({ ...failing, checkFailedMs: NOW - CHECK_RETRY_MS }, times, NOW).check, true)
})

test('careOf() takes what lies ahead, since the clock was put back, for long ago', () => {
  const ahead = careOf({ ...well, passedMs: NOW + DAY, copiedMs: NOW + DAY, checkedMs: NOW + DAY }, times, NOW)
  assert.deepEqual(ahead, { pass: true, check: true, copy: true, isLate: false })
})

test('isWebhook() takes https and the loopback, and nothing that could lead elsewhere', () => {
  for (const url of ['https://hooks.example/a?b=c', 'http://127.0.0.1:9/x', 'http://localhost', 'http://[::1]:80/'])
    assert.equal(isWebhook(url), true, url)
  for (const url of [
    'http://hooks.example/',
    'https://user:secret@hooks.example/',
    'http://127.0.0.1@evil.example/',
    'http://127.0.0.1.evil.example/',
    'http://localhost.evil.example/',
    'https://a\\@b/',
    'ftp://127.0.0.1/',
    'file:///etc/passwd',
    '',
  ])
    assert.equal(isWebhook(url), false, url)
  assert.equal(isLoopbackUrl('https://hooks.example/'), false)
})
