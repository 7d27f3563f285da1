import assert from 'node:assert/strict'
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkCommand } from '#runtime'
import { type PointJson, run, runFailing, runJson, testFolder } from './command-line.ts'
import { makeImages } from './images.ts'

async function hurtPack(store: string): Promise<void> {
  const entries = await readdir(join(store, 'packs'), { recursive: true, withFileTypes: true })
  const pack = entries.find((entry) => entry.isFile())
  assert(pack)
  const path = join(pack.parentPath, pack.name)
  const bytes = await readFile(path)
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  await checkCommand('chmod', ['u+w', path])
  await writeFile(path, bytes)
}

test('copy brings points to a repository with another passphrase; repair mends from it, and from a mirror', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const point = await runJson<PointJson>(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=disk0.img'])
  await runJson(folder, ['repo', 'init', 'other'], { passphrase: 'another one' })
  type Copied = { copied: string[]; present: string[] }
  const target = { env: { HOLDFAST_TARGET_PASSPHRASE: 'another one' } }
  const copied = await runJson<Copied>(folder, ['repo', 'copy', 'store', 'other'], target)
  assert.deepEqual([copied.copied, copied.present], [[point.id], []])
  const again = await runJson<Copied>(folder, ['repo', 'copy', 'store', 'other', 'latest'], target)
  assert.deepEqual([again.copied, again.present], [[], [point.id]])
  const noKey = await runFailing(folder, ['repo', 'copy', 'store', 'other'])
  assert.equal(noKey.code, 'passphrase_missing')
  assert.match(noKey.hint ?? '', /HOLDFAST_TARGET_PASSPHRASE/)

  type Mended = {
    hurtPacks: number
    packsFromMirror: number
    chunksFromSource: number
    chunksLost: number
    frame: string[]
  }
  await cp(join(folder, 'store'), join(folder, 'mirror'), { recursive: true })
  await hurtPack(join(folder, 'store'))
  await rm(join(folder, 'store/config'), { force: true })
  const mirrored = await runJson<Mended>(folder, ['repo', 'repair', 'store', '--mirror', 'mirror'])
  assert.deepEqual([mirrored.hurtPacks, mirrored.packsFromMirror, mirrored.frame], [1, 1, ['config']])
  await runJson(folder, ['repo', 'verify', 'store'])

  await hurtPack(join(folder, 'store'))
  const source = { env: { HOLDFAST_SOURCE_PASSPHRASE: 'another one' } }
  const mended = await runJson<Mended>(folder, ['repo', 'repair', 'store', '--source', 'other'], source)
  assert.equal(mended.chunksLost, 0)
  await runJson(folder, ['repo', 'verify', 'store'])
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
  assert.deepEqual(await readFile(join(folder, 'to/disk-0.raw')), bytes)
  assert.match((await run(folder, ['repo', 'repair', 'store'])).stdout, /Nothing was hurt/)

  await hurtPack(join(folder, 'store'))
  const lost = await run(folder, ['repo', 'repair', 'store', '--output', 'json'])
  assert.equal(lost.code, 1, 'what stays lost is damage')
  assert.ok((JSON.parse(lost.stdout) as Mended).chunksLost > 0)
})

test('stats says what is held and what it costs', async () => {
  const folder = await testFolder()
  await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  for (const machine of ['a', 'b'])
    await runJson(folder, ['repo', 'backup', 'store', '-m', machine, '-d', '0=disk0.img'])
  type Stats = { points: number; machines: number; usedBytes: number; storedBytes: number; ratio: number }
  const stats = await runJson<Stats>(folder, ['repo', 'stats', 'store'])
  assert.deepEqual([stats.points, stats.machines], [2, 2])
  assert.ok(stats.storedBytes < stats.usedBytes && stats.ratio > 1.5, JSON.stringify(stats))
  assert.match((await run(folder, ['repo', 'stats', 'store'])).stdout, /Points: +2 of 2 machines/)
})

test('After verify named damage, the next backup of the same data heals it; without verify it does not know', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const backup = ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=disk0.img']
  const point = await runJson<PointJson>(folder, backup)
  await hurtPack(join(folder, 'store'))
  const unaware = await runJson<PointJson>(folder, backup)
  assert.equal(unaware.disks[0]?.newBytes, 0)

  type Verified = { ok: boolean; damage: { kind: string; points: string[] }[] }
  const verify = async (): Promise<Verified> =>
    JSON.parse((await run(folder, ['repo', 'verify', 'store', '--output', 'json'])).stdout) as Verified
  assert.deepEqual((await verify()).damage[0]?.points, [point.id, unaware.id])
  const restore = ['repo', 'restore', 'store', point.id, '--to']
  assert.equal((await runFailing(folder, [...restore, 'lost'])).code, 'chunk_corrupt')

  const healing = await runJson<PointJson>(folder, backup)
  assert.ok((healing.disks[0]?.newBytes ?? 0) > 0, 'what lies in the hurt pack is stored again')
  const healed = (await verify()).damage.map(({ kind, points }) => [kind, points])
  assert.deepEqual(healed, [['pack_corrupt', []]], 'the pack is still hurt, and nobody needs it')
  await runJson(folder, [...restore, 'back'])
  assert.deepEqual(await readFile(join(folder, 'back/disk-0.raw')), bytes)
  const again = await runJson<PointJson>(folder, backup)
  assert.equal(again.disks[0]?.newBytes, 0, 'once is enough')

  await runJson(folder, ['repo', 'repair', 'store'])
  assert.deepEqual((await verify()).damage, [])
  await runJson(folder, [...restore, 'still'])
  assert.deepEqual(await readFile(join(folder, 'still/disk-0.raw')), bytes)
})
