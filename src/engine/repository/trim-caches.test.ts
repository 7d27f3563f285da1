import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { trimCaches } from './trim-caches.ts'

const HOUR_MS = 60 * 60 * 1000
const NOW_MS = 1_800_000_000_000

test('trimCaches() removes the indexes used longest ago, no more than needed, none of today, and no remembered head', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hf-trim-'))
  const idOf = (n: number): string => `${n}`.repeat(32)
  const make = (n: number, hoursAgo: number): void => {
    const cache = join(folder, idOf(n))
    mkdirSync(join(cache, 'index'), { recursive: true })
    writeFileSync(join(cache, 'index', 'run'), Buffer.alloc(1000, n))
    const head = join(cache, 'head.json')
    writeFileSync(head, '{}')
    const used = (NOW_MS - hoursAgo * HOUR_MS) / 1000
    utimesSync(head, used, used)
  }
  for (const [n, hoursAgo] of [
    [1, 30],
    [2, 90],
    [3, 2],
    [4, 60],
  ] as const)
    make(n, hoursAgo)
  mkdirSync(join(folder, 'compiled'))
  const left = (): number[] => [1, 2, 3, 4].filter((n) => existsSync(join(folder, idOf(n), 'index')))
  assert.deepEqual(await trimCaches(folder, NOW_MS, 4000), [])
  assert.deepEqual(await trimCaches(folder, NOW_MS, 2500), [idOf(2), idOf(4)])
  assert.deepEqual(left(), [1, 3])
  assert.deepEqual(await trimCaches(folder, NOW_MS, 0), [idOf(1)])
  assert.deepEqual(left(), [3])
  for (const n of [1, 2, 3, 4]) assert.ok(existsSync(join(folder, idOf(n), 'head.json')))
  assert.ok(existsSync(join(folder, 'compiled')))
  rmSync(folder, { recursive: true })
})
