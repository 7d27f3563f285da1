import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type PointJson, run, runFailing, runJson, testFolder } from './command-line.ts'
import { makeImages } from './images.ts'

const BACKUP = ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=raw:disk0.img']
const DAY_MS = 86_400_000

type Locked = PointJson & Readonly<{ lockedUntil?: string; expiresAt?: string; expiresAtMs?: number }>
type Status = Readonly<{ state: string; days: number; keptBy: string; lockedPoints: number; clock: string }>

test('a point with --lock-days is shown with its date, and refused to forget and prune; others are not', async () => {
  const folder = await testFolder()
  await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const plain = await runJson<Locked>(folder, BACKUP)
  const locked = await runJson<Locked>(folder, [...BACKUP, '--lock-days', '3', '--keep-until', '2019-01-31'])
  assert.equal(plain.lockedUntil, undefined)
  const inMs = globalThis.Date.parse(locked.lockedUntil ?? '') - globalThis.Date.parse(locked.takenAt)
  assert.ok(inMs >= 3 * DAY_MS && inMs < 3 * DAY_MS + 600_000, locked.lockedUntil)
  assert.equal(locked.expiresAt, '2019-02-01T00:00:00.000Z', 'the end of the day that was named')
  const listed = await runJson<Locked[]>(folder, ['repo', 'list', 'store'])
  assert.deepEqual(
    listed.map(({ lockedUntil }) => lockedUntil),
    [undefined, locked.lockedUntil],
  )
  assert.equal((await runJson<Locked>(folder, ['repo', 'show', 'store', 'latest'])).lockedUntil, locked.lockedUntil)
  assert.match((await run(folder, ['repo', 'show', 'store', 'latest'])).stdout, /Locked until:/)

  const error = await runFailing(folder, ['repo', 'forget', 'store', plain.id, locked.id])
  assert.deepEqual([error.code, error.exitCode], ['point_locked', 5])
  assert.ok(error.message.includes(String(locked.lockedUntil).slice(0, 10)), error.message)
  type Kept = { kept: { id: string; reasons: string[] }[]; forgotten: { id: string }[] }
  const expired = await runJson<Kept>(folder, ['repo', 'forget', 'store', '--expired'])
  assert.match(expired.kept[0]?.reasons[0] ?? '', /^locked until /)
  await runJson(folder, ['repo', 'forget', 'store', plain.id])
  type Pruned = { deleted: number; heldByStore: number }
  const pruned = await runJson<Pruned>(folder, ['repo', 'prune', 'store'])
  assert.equal(pruned.heldByStore, 0, 'nothing that is locked is tried')
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
  assert.deepEqual(await readFile(join(folder, 'to/disk-0.raw')), await readFile(join(folder, 'disk0.img')))
  const status = await runJson<Status>(folder, ['repo', 'immutability', 'store'])
  assert.deepEqual(
    [status.state, status.keptBy, status.lockedPoints, status.clock],
    ['disabled', 'program', 1, 'plausible'],
  )
  assert.match((await run(folder, ['repo', 'immutability', 'store'])).stdout, /root.* is outside the promise/)
})

test('a policy locks what is backed up without asking, rules of forget keep it, and a locked one is never loosened', async () => {
  const folder = await testFolder()
  await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const policy = (...args: string[]): string[] => ['repo', 'immutability', 'store', ...args]
  assert.equal((await runFailing(folder, policy('--state', 'unlocked'))).code, 'usage_invalid')
  assert.equal((await runFailing(folder, policy('--state', 'locked', '--days', '5'))).code, 'immutability_locked')
  await runJson(folder, policy('--state', 'unlocked', '--days', '5'))
  const first = await runJson<Locked>(folder, BACKUP)
  await runJson(folder, BACKUP)
  assert.ok(first.lockedUntil !== undefined)
  type Kept = { kept: { reasons: string[] }[]; forgotten: unknown[] }
  const ruled = await runJson<Kept>(folder, ['repo', 'forget', 'store', '--keep-last', '1'])
  assert.deepEqual([ruled.forgotten.length, ruled.kept.length], [0, 2])
  assert.ok(ruled.kept.some(({ reasons }) => reasons[0]?.startsWith('locked until ')))
  const status = await runJson<Status>(folder, policy('--state', 'locked'))
  assert.deepEqual([status.state, status.days], ['locked', 5])
  for (const looser of [
    ['--state', 'disabled'],
    ['--state', 'locked', '--days', '4'],
    ['--state', 'unlocked', '--days', '9'],
  ])
    assert.equal((await runFailing(folder, policy(...looser))).code, 'immutability_locked')
  assert.equal((await runJson<Status>(folder, policy('--days', '6'))).days, 6)
  const again = await runJson<{ locksAsked: number }>(folder, policy('--extend'))
  assert.ok(again.locksAsked >= 8, 'slot, config, packs, entries')
})
