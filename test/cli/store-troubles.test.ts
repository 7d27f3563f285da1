/**
 * What happens to stores, as a stranger meets it on the command line: each trouble is one error with a code, an exit code and a
 * remedy, the remedy works, and nothing is lost. Read-only stores and wrong keys: refusals.test.ts, repo-basics.test.ts; full ones:
 * test/stores/full-folder.test.ts; every single injury: test/injuries.
 */
import assert from 'node:assert/strict'
import { cp, mkdir, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { must } from '#base'
import { type PointJson, run, runFailing, runJson, testFolder } from './command-line.ts'
import { makeImages } from './images.ts'

const BACKUP = ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=disk0.img']

async function backedUp(): Promise<{ folder: string; bytes: Buffer; point: PointJson; store: string }> {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const point = await runJson<PointJson>(folder, BACKUP)
  await cp(join(folder, 'store'), join(folder, 'mirror'), { recursive: true })
  return { folder, bytes, point, store: join(folder, 'store') }
}

async function assertRestores(folder: string, bytes: Buffer, to: string): Promise<void> {
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', to])
  assert.ok((await readFile(join(folder, to, 'disk-0.raw'))).equals(bytes))
}

async function onePack(store: string): Promise<string> {
  const entries = await readdir(join(store, 'packs'), { recursive: true, withFileTypes: true })
  const pack = must(
    entries.find((entry) => entry.isFile()),
    'A pack',
  )
  return join(pack.parentPath, pack.name)
}

type Verified = { ok: boolean; damage: { kind: string; object: string; points: string[] }[] }

for (const [trouble, code, harm] of [
  ['is cut short', 'pack_corrupt', (pack: string) => truncate(pack, 5000)],
  ['is missing', 'pack_missing', (pack: string) => rm(pack)],
] as const) {
  test(`A pack that ${trouble}: restore and verify name it, repair from a mirror brings it back`, async () => {
    const { folder, bytes, point, store } = await backedUp()
    await assertRestores(folder, bytes, 'before') // the index knows of the pack; else its chunks are told as missing
    const pack = await onePack(store)
    await harm(pack)
    const failed = await runFailing(folder, ['repo', 'restore', 'store', 'latest', '--to', 'hurt'])
    assert.deepEqual([failed.code, failed.exitCode], [code, 1])
    assert.match(failed.hint ?? '', /repo verify.*repo repair --mirror/)
    assert.deepEqual(await readdir(join(folder, 'hurt')).catch(() => []), [], 'no half a disk is left')
    const verified = await run(folder, ['repo', 'verify', 'store', '--output', 'json'])
    const { damage } = JSON.parse(verified.stdout) as Verified
    assert.equal(verified.code, 1)
    assert.deepEqual(damage, [{ kind: code, object: pack.slice(store.length + 1), points: [point.id] }])
    await runJson(folder, ['repo', 'repair', 'store', '--mirror', 'mirror'])
    await runJson(folder, ['repo', 'verify', 'store'])
    await assertRestores(folder, bytes, 'to')
  })
}

test('Without any cache everything works, and costs a rebuild', async () => {
  const { folder, bytes } = await backedUp()
  await rm(join(folder, '.cache'), { recursive: true })
  await assertRestores(folder, bytes, 'to')
  await rm(join(folder, '.cache'), { recursive: true })
  assert.equal((await runJson<PointJson>(folder, BACKUP)).disks[0]?.newBytes, 0)
})

test('A log that was put back: whoever saw more is told and refused to write, can read, and goes on when it was on purpose', async () => {
  const { folder, bytes, store } = await backedUp()
  await runJson(folder, BACKUP)
  await rename(store, join(folder, 'newer'))
  await cp(join(folder, 'mirror'), store, { recursive: true })
  for (const args of [BACKUP, ['repo', 'forget', 'store', 'latest'], ['repo', 'prune', 'store']]) {
    const refused = await runFailing(folder, args)
    assert.deepEqual([refused.code, refused.exitCode], ['log_rolled_back', 1])
    assert.match(refused.hint ?? '', /on purpose.*remove .*\.cache\/holdfast/)
  }
  await assertRestores(folder, bytes, 'to')
  await rm(String((await runFailing(folder, BACKUP)).facts['cacheFolder']), { recursive: true })
  await runJson(folder, BACKUP)
  await runJson(folder, ['repo', 'verify', 'store'])
})

test('A folder of somebody else is no repository; one that lost its configuration is no empty folder', async () => {
  const { folder, bytes, store } = await backedUp()
  await mkdir(join(folder, 'photos/2024'), { recursive: true })
  await writeFile(join(folder, 'photos/2024/cat.jpg'), 'meow')
  for (const args of [
    ['repo', 'list', 'photos'],
    ['repo', 'verify', 'photos'],
    ['repo', 'backup', 'photos', ...BACKUP.slice(3)],
  ]) {
    const failed = await runFailing(folder, args)
    assert.deepEqual([failed.code, failed.exitCode], ['repository_not_found', 3])
    assert.match(failed.hint ?? '', /repo init/)
  }
  assert.deepEqual(await readdir(join(folder, 'photos'), { recursive: true }), ['2024', '2024/cat.jpg'])
  await rm(join(store, 'config'))
  for (const args of [['repo', 'list', 'store'], ['repo', 'init', 'store'], BACKUP]) {
    const failed = await runFailing(folder, args)
    assert.deepEqual([failed.code, failed.exitCode], ['repository_damaged', 1])
    assert.match(failed.hint ?? '', /config.*mirror/)
  }
  await runJson(folder, ['repo', 'repair', 'store', '--mirror', 'mirror'])
  await assertRestores(folder, bytes, 'to')
})

test('A newer format is refused by name, with who made it, and nothing is changed', async () => {
  const { folder, store } = await backedUp()
  const config = JSON.parse(await readFile(join(store, 'config'), 'utf8')) as Record<string, unknown>
  assert.equal(config['version'], '1')
  const writer = 'holdfast 9.0.0'
  for (const [changed, says] of [
    [{ version: '2', writer }, /format 2/],
    [{ requires: ['sparse-log'], writer }, /sparse-log/],
  ] as const) {
    await rm(join(store, 'config'))
    await writeFile(join(store, 'config'), JSON.stringify({ ...config, ...changed }))
    const failed = await runFailing(folder, BACKUP)
    assert.deepEqual([failed.code, failed.exitCode], ['repository_too_new', 5])
    assert.match(failed.message, says)
    assert.match(failed.hint ?? '', /holdfast 9\.0\.0/)
  }
})

test('An NBD peer that lies ends in an error that says so; no point is made, and nothing hangs', async (t) => {
  const { folder } = await backedUp()
  const hello = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.from([0, 3])])
  const optionReply = (length: number): Buffer => {
    const bytes = Buffer.alloc(20)
    bytes.writeBigUInt64BE(0x3e889045565a9n)
    bytes.writeUInt32BE(8, 8)
    bytes.writeUInt32BE(2, 12)
    bytes.writeUInt32BE(length, 16)
    return bytes
  }
  for (const lie of [
    Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
    Buffer.concat([hello, optionReply(0xffff_fff0)]),
  ]) {
    const server = createServer((socket) => void socket.on('error', () => undefined).write(lie))
    const path = join(folder, 'liar.sock')
    await new Promise<void>((resolve) => void server.listen(path, resolve))
    t.after(() => server.close())
    const failed = await runFailing(folder, [...BACKUP.slice(0, -1), `0=nbd+unix:///?socket=${path}`])
    assert.deepEqual([failed.code, failed.exitCode], ['nbd_protocol_violation', 6])
    assert.match(failed.hint ?? '', /NBD server/)
    await new Promise((resolve) => server.close(resolve))
  }
  assert.equal((await runJson<PointJson[]>(folder, ['repo', 'list', 'store'])).length, 1)
})

test('A list that may lack points because the log is damaged says so', async () => {
  const { folder, store } = await backedUp()
  await truncate(join(store, 'log/000000000002'), 200)
  const { code, stdout, stderr } = await run(folder, ['repo', 'list', 'store', '--output', 'json'])
  assert.deepEqual([code, JSON.parse(stdout), stderr], [1, [], ''])
  const text = await run(folder, ['repo', 'list', 'store'])
  assert.equal(text.code, 1)
  assert.match(text.stderr, /Entry 2 of the log is damaged: points may be missing here.*repo verify/)
  const refused = await runFailing(folder, BACKUP)
  assert.deepEqual([refused.code, refused.exitCode], ['log_damaged', 1])
  await runJson(folder, ['repo', 'repair', 'store', '--mirror', 'mirror'])
  assert.equal((await runJson<PointJson[]>(folder, ['repo', 'list', 'store'])).length, 1)
})
