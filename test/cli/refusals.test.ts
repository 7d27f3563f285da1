import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { GIB } from '#base'
import { checkCommand } from '#runtime'
import { type PointJson, runFailing, runJson, testFolder } from './command-line.ts'
import { makeImages, writeRaw } from './images.ts'

/** A machine that has not begun to run holds its images' locks like any other. */
async function startMachine(folder: string, image: string, format: string): Promise<() => Promise<void>> {
  const socket = join(folder, `${format}.qmp`)
  const node = { 'node-name': 'd', driver: format, file: { driver: 'file', filename: image } }
  const child = spawn(
    'qemu-system-x86_64',
    ['-S', '-nodefaults', '-display', 'none', '-M', 'pc', '-m', '16', '-blockdev', JSON.stringify(node)].concat([
      '-device',
      'virtio-blk,drive=d',
      '-qmp',
      `unix:${socket},server=on,wait=off`,
    ]),
    { stdio: 'ignore' },
  )
  const gone = once(child, 'exit')
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await gone
  }
  after(stop)
  for (let patience = 200; ; patience -= 1) {
    const isUp = await new Promise<boolean>((resolve) => {
      const probe = connect(socket)
      probe.once('data', () => (probe.destroy(), resolve(true)))
      probe.once('error', () => resolve(false))
    })
    if (isUp) return stop
    assert.ok(patience > 0 && child.exitCode === null, 'QEMU starts')
    await delay(50)
  }
}

test('The image of a running machine is refused with a pointer to --qmp, raw and qcow2 alike', async () => {
  const folder = await testFolder()
  const { raw, qcow2 } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  for (const [format, image] of [
    ['raw', raw],
    ['qcow2', qcow2],
  ] as const) {
    const stop = await startMachine(folder, image, format)
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
