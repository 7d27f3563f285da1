import assert from 'node:assert/strict'
import { access, chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { GIB } from '#base'
import { checkCommand } from '#runtime'
import { type PointJson, run, runFailing, runJson, testFolder } from './command-line.ts'
import { makeImages, writeRaw } from './images.ts'
import { startMachine } from './machine.ts'

test('The image of a running machine is refused with a pointer to --qmp, raw and qcow2 alike', async () => {
  const folder = await testFolder()
  const { raw, qcow2 } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  for (const [format, image] of [
    ['raw', raw],
    ['qcow2', qcow2],
  ] as const) {
    const { stop } = await startMachine(folder, [image, format])
    const refused = await runFailing(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', `0=${format}:${image}`])
    assert.deepEqual([refused.code, refused.exitCode], ['image_in_use', 5], refused.message)
    assert.match(refused.hint ?? '', /--qmp/)
    await stop()
    await runJson(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', `0=${format}:${image}`])
  }
})

test('An image that names a backing file is refused, unless that lies in an allowed folder', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  await writeFile(join(folder, 'secret'), Buffer.alloc(1024 * 1024, 'secret'))
  const hostile = [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-u',
    '-b',
    '/etc/passwd',
    '-F',
    'raw',
    join(folder, 'evil.qcow2'),
    '1M',
  ]
  await checkCommand('qemu-img', hostile)
  const evil = ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=evil.qcow2']
  const refused = await runFailing(folder, evil)
  assert.deepEqual([refused.code, refused.exitCode], ['image_backing_refused', 5])
  assert.equal((await runFailing(folder, [...evil, '--allow-backing-in', folder])).code, 'image_backing_refused')
  await mkdir(join(folder, 'bases'))
  await checkCommand('mv', [join(folder, 'disk0.qcow2'), join(folder, 'bases')])
  const overlay = ['create', '-q', '-f', 'qcow2', '-b', 'bases/disk0.qcow2', '-F', 'qcow2', join(folder, 'top.qcow2')]
  await checkCommand('qemu-img', overlay)
  const good = ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=qcow2:top.qcow2', '--allow-backing-in', 'bases']
  await runJson<PointJson>(folder, good)
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
  assert.deepEqual(await readFile(join(folder, 'to/disk-0.raw')), bytes)
})

test('A file whose bytes are of another format than was said is refused', async () => {
  const folder = await testFolder()
  await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const mismatch = await runFailing(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=qcow2:disk0.img'])
  assert.equal(mismatch.code, 'image_format_mismatch')
  const missing = await runFailing(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=nowhere.img'])
  assert.deepEqual([missing.code, missing.exitCode], ['image_not_found', 3])
})

test('A disk that does not fit is refused before anything is written, and the message says how much is missing', async () => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store'])
  await writeRaw(join(folder, 'a.img'), 64 * 1024 * 1024, [[0, 24 * 1024 * 1024]], { disk: 0, version: 1 })
  await runJson(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=a.img'])
  const small = join(folder, 'small')
  await mkdir(small)
  try {
    await checkCommand('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', small])
  } catch {
    return // no right to mount here; the check itself has nothing else to be shown on
  }
  try {
    const full = await runFailing(folder, ['repo', 'restore', 'store', 'latest', '--to', small])
    assert.deepEqual([full.code, full.exitCode], ['target_full', 6])
    assert.match(full.message, /3[0-9]\.\d MiB are missing/)
    assert.deepEqual(await readdir(small), [])
  } finally {
    await checkCommand('umount', [small])
  }
})

test('A repository that cannot be written to still lists, verifies and restores; a backup says why it cannot', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  const store = join(folder, 'store')
  await runJson(folder, ['repo', 'init', store])
  await runJson(folder, ['repo', 'backup', store, '-m', 'vm', '-d', '0=disk0.img'])
  await checkCommand('mount', ['--bind', store, store]).catch(() => undefined)
  try {
    await checkCommand('mount', ['-o', 'remount,ro,bind', store]).catch(() => chmod(store, 0o500))
    const refused = await runFailing(folder, ['repo', 'backup', store, '-m', 'vm', '-d', '0=disk0.img'])
    assert.deepEqual([refused.code, refused.exitCode], ['store_read_only', 5])
    assert.equal((await runJson<PointJson[]>(folder, ['repo', 'list', store])).length, 1)
    await runJson(folder, ['repo', 'verify', store])
    await runJson(folder, ['repo', 'restore', store, 'latest', '--to', 'to'])
    assert.deepEqual(await readFile(join(folder, 'to/disk-0.raw')), bytes)
  } finally {
    await checkCommand('umount', [store]).catch(() => chmod(store, 0o700))
  }
})

test('A command line that makes no sense exits 2 and says what is wrong', async () => {
  const folder = await testFolder()
  for (const args of [
    ['repo', 'backup', 'store', '--disk', '0=a'],
    ['repo', 'backup', 'store', '--machine', 'vm', '--disk', 'zero=a'],
    ['repo', 'backup', 'store', '--machine', 'vm', '--disk', '0=a', '--disk', '0=b'],
    ['repo', 'backup', 'store', '--machine', 'vm', '--disk', '0=http://host/disk'],
    ['repo', 'backup', 'store', '--machine', 'vm'],
    ['repo', 'restore', 'store', 'latest'],
    ['repo', 'restore', 'store', 'latest', '--to', 'x', '--format', 'zip'],
    ['repo', 'lsit', 'store'],
    ['repo', 'list', 'ftp://host/store'],
    ['repo', 'init', 'store', '--chunk-size', '100KiB'],
    ['nothing'],
  ]) {
    const failure = await runFailing(folder, args)
    assert.equal(failure.exitCode, 2, `${args.join(' ')}: ${failure.code} ${failure.message}`)
  }
  await assert.rejects(access(join(folder, 'store')), 'nothing was made')
})

test('Sizes beyond what a disk may have are refused', async () => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store'])
  await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', join(folder, 'huge.qcow2'), String(65 * 1024 * GIB)])
  const refused = await runFailing(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=huge.qcow2'])
  assert.equal(refused.code, 'image_too_large')
})

test('A cache folder that cannot be used is named, with the way out', async () => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store'])
  await writeFile(join(folder, 'file'), '')
  const refused = await runFailing(folder, ['repo', 'list', 'store', '--cache-dir', 'file/cache'])
  assert.deepEqual([refused.code, refused.exitCode], ['cache_folder_unusable', 2])
  assert.match(refused.hint ?? '', /--cache-dir/)
})

test('Where the usual cache folder cannot be used, a private one serves with a warning, and is gone afterwards', async () => {
  const folder = await testFolder()
  await writeFile(join(folder, 'file'), '')
  const temporary = join(folder, 'tmp')
  await mkdir(temporary)
  const env = { XDG_CACHE_HOME: join(folder, 'file', 'cache'), TMPDIR: temporary }
  for (const args of [
    ['init', 'store'],
    ['list', 'store'],
    ['rebuild-index', 'store'],
  ]) {
    const ran = await run(folder, ['repo', ...args], { env })
    assert.equal(ran.code, 0, ran.stderr)
    assert.equal(ran.stderr.match(/Warning: the cache folder .* cannot be used/g)?.length, 1, 'it warns, once')
    assert.deepEqual(await readdir(temporary), [])
  }
})

test('A block device is backed up, but not while the host has it mounted', async (t) => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store'])
  const image = join(folder, 'device.img')
  await checkCommand('truncate', ['-s', '16M', image])
  await checkCommand('mkfs.ext4', ['-q', image])
  const { stdout } = await checkCommand('losetup', ['--find', '--show', image]).catch(() => ({ stdout: Buffer.of() }))
  const device = stdout.toString('utf8').trim()
  if (device === '') return t.skip('this host gives no loop device')
  try {
    const backup = ['repo', 'backup', 'store', '-m', 'vm', '-d', `0=raw:${device}`]
    await runJson(folder, backup)
    await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
    assert.deepEqual(await readFile(join(folder, 'to/disk-0.raw')), await readFile(image))
    await mkdir(join(folder, 'mounted'))
    await checkCommand('mount', ['-o', 'ro', device, join(folder, 'mounted')])
    const refused = await runFailing(folder, backup)
    assert.equal(refused.code, 'image_in_use')
    assert.match(refused.hint ?? '', /snapshot/)
  } finally {
    await checkCommand('umount', [join(folder, 'mounted')]).catch(() => undefined)
    await checkCommand('losetup', ['--detach', device])
  }
})
