/**
 * Two backups at once, one of them stopped in the middle, and forget and prune beside them: real processes on one folder. (Those
 * that stand still for longer than a pin lasts: sim/, crash.test.ts.)
 */
import assert from 'node:assert/strict'
import { watch } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB } from '#base'
import { ended, type PointJson, runJson, start, testFolder } from './command-line.ts'
import { writeRaw } from './images.ts'

const DISK_BYTES = 128 * MIB
const backupOf = (machine: string): string[] => ['repo', 'backup', 'store', '-m', machine, '-d', `0=${machine}.img`]

/** Resolves when there are more packs in the store than `count`. */
async function morePacksThan(store: string, count: number): Promise<void> {
  const packs = async (): Promise<number> =>
    (await readdir(join(store, 'packs'), { recursive: true })).filter((name) => /\/[0-9a-f]{64}$/.test(name)).length
  const watcher = watch(store, { recursive: true })
  try {
    while ((await packs()) <= count) await new Promise((resolve) => watcher.once('change', resolve))
  } finally {
    watcher.close()
  }
}

test('A backup that is stopped in the middle, while another runs and all else is forgotten and pruned, ends whole', async () => {
  const folder = await testFolder()
  const store = join(folder, 'store')
  await runJson(folder, ['repo', 'init', 'store'])
  await writeRaw(join(folder, 'a.img'), DISK_BYTES, [[0, 96 * MIB]], { disk: 1, version: 1 })
  await writeRaw(join(folder, 'b.img'), DISK_BYTES, [[0, 24 * MIB]], { disk: 2, version: 1 })
  const old = await runJson<PointJson>(folder, backupOf('a'))
  // Half of it is as it was: the stopped backup relies on packs that nobody else will need.
  await writeRaw(join(folder, 'a.img'), DISK_BYTES, [[48 * MIB, 80 * MIB]], { disk: 1, version: 2 })
  const before = (await readdir(join(store, 'packs'), { recursive: true })).filter((name) => name.length > 60).length

  const stopped = start(folder, [...backupOf('a'), '--output', 'json'])
  const finished = ended(stopped)
  await morePacksThan(store, before)
  stopped.kill('SIGSTOP')
  const other = await runJson<PointJson>(folder, backupOf('b'))
  await runJson(folder, ['repo', 'forget', 'store', old.id])
  type Pruned = { deleted: number; heldBack: number; heldBy: string[] }
  const held = await runJson<Pruned>(folder, ['repo', 'prune', 'store'])
  assert.ok(held.heldBack > 0 && held.deleted === 0 && held.heldBy[0]?.includes('backup of a'), JSON.stringify(held))
  await runJson(folder, ['repo', 'verify', 'store'])
  stopped.kill('SIGCONT')
  const { code, stdout, stderr } = await finished
  assert.equal(code, 0, stderr)
  const point = JSON.parse(stdout) as PointJson

  await runJson<Pruned>(folder, ['repo', 'prune', 'store'])
  await runJson(folder, ['repo', 'verify', 'store'])
  for (const [{ id }, image] of [
    [point, 'a.img'],
    [other, 'b.img'],
  ] as const) {
    await runJson(folder, ['repo', 'restore', 'store', id, '--to', id])
    assert.ok((await readFile(join(folder, id, 'disk-0.raw'))).equals(await readFile(join(folder, image))), image)
  }
})
