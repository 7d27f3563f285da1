import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { KIB, MIB } from '#base'
import { checkCommand } from '#runtime'
import { ended, type PointJson, run, runFailing, runJson, start, testFolder } from './command-line.ts'
import { DISK_BYTES, makeImages, writeRaw } from './images.ts'

const BACKUP = ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=raw:disk0.img']

test('serve gives a disk of a point to any NBD client until it is interrupted, and takes its socket away', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const point = await runJson<PointJson>(folder, BACKUP)
  const server = start(folder, ['repo', 'serve', 'store', 'latest', '--socket', 'nbd.sock', '--output', 'json'])
  const finished = ended(server)
  assert(server.stdout)
  const [said] = (await once(server.stdout, 'data')) as [Buffer]
  const ready = JSON.parse(said.toString('utf8')) as { point: string; lun: number; sizeBytes: number; uri: string }
  assert.deepEqual([ready.point, ready.lun, ready.sizeBytes], [point.id, 0, DISK_BYTES])
  await checkCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', ready.uri, join(folder, 'copy')])
  assert.deepEqual(await readFile(join(folder, 'copy')), bytes)
  const write = ['-f', 'raw', '-c', 'write 0 4k', ready.uri]
  await assert.rejects(checkCommand('qemu-io', write), 'the export is read-only')
  server.kill('SIGINT')
  assert.equal((await finished).code, 0)
  await assert.rejects(readFile(join(folder, 'nbd.sock')), { code: 'ENOENT' })
})

test('forget gives up what is named, or what no rule keeps, and prune then frees its space', async () => {
  const folder = await testFolder()
  const { raw } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const points: PointJson[] = []
  for (let version = 1; version <= 4; version += 1) {
    await writeRaw(raw, DISK_BYTES, [[12 * MIB, 2 * MIB]], { disk: 0, version: 10 + version })
    points.push(await runJson<PointJson>(folder, BACKUP))
  }
  const [first, second, third, fourth] = points.map(({ id }) => id)
  assert(first !== undefined && second !== undefined)
  await runJson(folder, ['repo', 'forget', 'store', first.slice(0, 10)])
  type Forgotten = { forgotten: { id: string }[]; kept: { id: string; reasons: string[] }[] }
  const ids = (list: { id: string }[]): string[] => list.map(({ id }) => id)
  const rules = ['repo', 'forget', 'store', '--keep-last', '2']
  const planned = await runJson<Forgotten>(folder, [...rules, '--dry-run'])
  assert.deepEqual([ids(planned.forgotten), ids(planned.kept)], [[second], [third, fourth]])
  assert.equal((await runJson<PointJson[]>(folder, ['repo', 'list', 'store'])).length, 3, 'a dry run changes nothing')
  assert.deepEqual(ids((await runJson<Forgotten>(folder, rules)).forgotten), [second])
  type Pruned = { freedBytes: number; deleted: number; plan: { freedBytes: number } }
  const dry = await runJson<Pruned>(folder, ['repo', 'prune', 'store', '--dry-run'])
  const pruned = await runJson<Pruned>(folder, ['repo', 'prune', 'store'])
  assert.ok(pruned.deleted >= 2 && pruned.freedBytes > 3 * MIB, JSON.stringify(pruned))
  assert.ok(dry.plan.freedBytes > 3 * MIB)
  await runJson(folder, ['repo', 'verify', 'store'])
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
  assert.deepEqual(await readFile(join(folder, 'to/disk-0.raw')), await readFile(raw))
  for (const wrong of [
    ['repo', 'forget', 'store'],
    [...rules, 'latest'],
    ['repo', 'forget', 'store', '--keep-daily', '0'],
  ])
    assert.equal((await runFailing(folder, wrong)).exitCode, 2)
  const zone = await runFailing(folder, [...rules, '--time-zone', 'Nowhere/Land'])
  assert.equal(zone.exitCode, 2, zone.code)
})

test('keys adds a key file that opens the repository, removes the passphrase, and keeps the last slot', async () => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store', '--label', 'words'])
  await writeFile(join(folder, 'key'), Buffer.alloc(40, 3))
  type Slot = { id: string; kind: string; label: string }
  const env = { HOLDFAST_NEW_KEY_FILE: 'key' }
  const added = await runJson<Slot>(folder, ['repo', 'keys', 'store', 'add', '--label', 'safe'], { env })
  const slots = await runJson<Slot[]>(folder, ['repo', 'keys', 'store'])
  assert.deepEqual(slots.map(({ kind, label }) => `${kind} ${label}`).sort(), ['key-file safe', 'passphrase words'])
  const words = slots.find(({ label }) => label === 'words')?.id ?? ''
  const byFile = { passphrase: undefined, env: { HOLDFAST_KEY_FILE: 'key' } }
  const unproven = await runFailing(folder, ['repo', 'keys', 'store', 'remove', words])
  assert.deepEqual([unproven.code, unproven.exitCode], ['key_slot_in_use', 5], 'that another key works is not known')
  await runJson(folder, ['repo', 'keys', 'store', 'remove', words], byFile)
  assert.equal((await runFailing(folder, ['repo', 'list', 'store'])).code, 'key_wrong')
  assert.deepEqual(await runJson(folder, ['repo', 'list', 'store'], byFile), [])
  const last = await runFailing(folder, ['repo', 'keys', 'store', 'remove', added.id], byFile)
  assert.deepEqual([last.code, last.exitCode], ['key_slot_last', 5])
  const shown = await run(folder, ['repo', 'keys', 'store'], byFile)
  assert.doesNotMatch(shown.stdout + shown.stderr, /correct horse|wrapped/)
})

test('rebuild-index makes the cache anew after it was damaged', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, BACKUP)
  assert.equal((await runJson<{ packs: number }>(folder, ['repo', 'rebuild-index', 'store'])).packs, 1)
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to', '--cache-dir', 'elsewhere'])
  assert.deepEqual(await readFile(join(folder, 'to/disk-0.raw')), bytes)
})

test('Ctrl-C during a backup ends it with 130 and no point; the next backup and verify are whole', async () => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store'])
  const image = join(folder, 'disk0.img')
  for (let at = 0; at < 192 * MIB; at += 16 * MIB)
    await writeRaw(image, 192 * MIB, [[at, 16 * MIB]], { disk: 0, version: 1 })
  const child = start(folder, [...BACKUP, '--output', 'json'])
  const finished = ended(child)
  // The first pack on disk is the sign that reading has begun.
  const packs = async (): Promise<boolean> =>
    (await checkCommand('find', [join(folder, 'store'), '-path', '*packs*', '-type', 'f', '-size', '+16k'])).stdout
      .length > 0
  while (child.exitCode === null && !(await packs())) await new Promise((resolve) => setImmediate(resolve))
  child.kill('SIGINT')
  const { code, stdout, stderr } = await finished
  assert.deepEqual([code, stdout], [130, ''], stderr)
  assert.equal((JSON.parse(stderr) as { error: { code: string } }).error.code, 'cancelled')
  assert.deepEqual(await runJson(folder, ['repo', 'list', 'store']), [])
  const point = await runJson<PointJson>(folder, BACKUP)
  assert.equal(point.mode, 'full')
  assert.ok((point.disks[0]?.usedBytes ?? 0) >= 192 * MIB - 256 * KIB)
  await runJson(folder, ['repo', 'verify', 'store'])
})
