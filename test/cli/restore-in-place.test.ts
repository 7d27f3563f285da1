/** Restoring disks where they are: only what differs is written, and whatever cuts it short, it can be run again. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, open, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MIB } from '#base'
import { openNbd, stampedBytes } from '#engine/block'
import { checkCommand } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { ended, type PointJson, runFailing, runJson, start, testFolder } from './command-line.ts'
import { DISK_BYTES, makeImages, writeRaw } from './images.ts'
import { startMachine } from './machine.ts'

type InPlaceJson = {
  point: string
  safetyPoint?: string
  disks: { lun: number; target: string; comparedBytes: number; writtenBytes: number; zeroedBytes: number }[]
}

const CHUNK_BYTES = 256 * 1024
const running: ChildProcess[] = []
after(() => running.forEach((child) => child.kill('SIGKILL')))

const restore = (...rest: readonly string[]): string[] => ['repo', 'restore', 'store', ...rest]
const backUp = (...disks: readonly string[]): string[] => [
  'repo',
  'backup',
  'store',
  '-m',
  'web1',
  ...disks.flatMap((disk) => ['-d', disk]),
]

async function bytesOf(path: string): Promise<Buffer> {
  const plain = `${path}.plain`
  await checkCommand('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, plain])
  return readFile(plain)
}

/** A program that serves an export until the test ends. */
async function serve(socketPath: string, program: string, args: readonly string[]): Promise<void> {
  running.push(spawn(program, args, { stdio: 'ignore' }))
  await eventually(`${program} to listen`, 10_000, () => (existsSync(socketPath) ? true : undefined))
}

test('Only what differs is written: changed chunks, and zeros where the point has holes', async () => {
  const folder = await testFolder()
  const { raw, qcow2, bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const first = await runJson<PointJson>(folder, backUp('0=raw:disk0.img', '1=qcow2:disk0.qcow2'))
  // A chunk overwritten in part, and one where nothing was; the latter is 2 MiB of data over a hole.
  const late = [
    [MIB, 4096],
    [16 * MIB, 2 * MIB],
  ] as const
  await writeRaw(raw, DISK_BYTES, late, { disk: 0, version: 2 })
  const patch = join(folder, 'patch')
  for (const [offset, length] of late) {
    await writeFile(patch, stampedBytes({ disk: 0, version: 2 }, offset, length))
    await checkCommand('qemu-io', ['-f', 'qcow2', '-c', `write -q -s ${patch} ${offset} ${length}`, qcow2])
  }
  const inPlace = restore(first.id, '--in-place', '0=raw:disk0.img', '--in-place', '1=qcow2:disk0.qcow2')

  const report = await runJson<InPlaceJson>(folder, inPlace)
  assert.deepEqual(
    report.disks.map(({ writtenBytes, zeroedBytes }) => [writtenBytes, zeroedBytes]),
    [
      [CHUNK_BYTES, 2 * MIB],
      [CHUNK_BYTES, 2 * MIB],
    ],
  )
  assert.ok((report.disks[0]?.comparedBytes ?? 0) < 10 * MIB, 'holes are not read')
  assert.deepEqual(await readFile(raw), bytes)
  assert.deepEqual(await bytesOf(qcow2), bytes)
  assert.ok((await stat(raw)).blocks * 512 < 7 * MIB, 'holes are holes again')
  const again = await runJson<InPlaceJson>(folder, inPlace)
  assert.deepEqual(
    again.disks.map(({ writtenBytes, zeroedBytes }) => [writtenBytes, zeroedBytes]),
    [
      [0, 0],
      [0, 0],
    ],
  )
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.includes('restoring')),
    [],
  )
})

test('--keep-current makes a point of what the disk held before', async () => {
  const folder = await testFolder()
  const { raw, bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const first = await runJson<PointJson>(folder, backUp('0=raw:disk0.img'))
  await writeRaw(raw, DISK_BYTES, [[12 * MIB, MIB]], { disk: 0, version: 2 })
  const present = await readFile(raw)
  const { safetyPoint = '' } = await runJson<InPlaceJson>(
    folder,
    restore(first.id, '--in-place', '0=raw:disk0.img', '--keep-current'),
  )
  assert.deepEqual(await readFile(raw), bytes)
  const kept = await runJson<PointJson>(folder, ['repo', 'show', 'store', safetyPoint])
  assert.equal(kept.disks[0]?.id, first.disks[0]?.id)
  await runJson(folder, restore(safetyPoint, '--to', 'before'))
  assert.deepEqual(await readFile(join(folder, 'before/disk-0.raw')), present)
})

test('Killed in the middle: the disk is marked, nobody backs it up, and the same command completes it', async () => {
  const folder = await testFolder()
  const size = 128 * MIB
  const raw = join(folder, 'disk0.img')
  await writeRaw(raw, size, [[0, size]], { disk: 0, version: 1 })
  const bytes = await readFile(raw)
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, backUp('0=raw:disk0.img'))
  await writeRaw(raw, size, [[0, size]], { disk: 0, version: 2 })
  const inPlace = restore('latest', '--in-place', '0=raw:disk0.img')

  const child = start(folder, inPlace)
  running.push(child)
  const dead = ended(child)
  const file = await open(raw, 'r')
  const sector = Buffer.alloc(512)
  await eventually('the first chunks to be written', 30_000, async () => {
    for (const offset of [0, size / 2]) {
      await file.read(sector, 0, 512, offset)
      if (sector.equals(bytes.subarray(offset, offset + 512))) return true
    }
    return undefined
  })
  child.kill('SIGKILL')
  await dead
  await file.close()
  const mark = join(folder, 'disk0.img.holdfast-restoring')
  assert.ok(existsSync(mark), 'it was killed in the middle')

  const unfinished = await eventually('the lock of the dead to go', 10_000, async () => {
    const error = await runFailing(folder, backUp('0=raw:disk0.img'))
    return error.code === 'image_in_use' ? undefined : error
  })
  assert.deepEqual([unfinished.code, unfinished.exitCode], ['restore_unfinished', 5])
  assert.equal((await runFailing(folder, [...inPlace, '--keep-current'])).code, 'restore_unfinished')
  await runJson(folder, inPlace)
  assert.ok((await readFile(raw)).equals(bytes))
  assert.equal(existsSync(mark), false)
  await runJson(folder, backUp('0=raw:disk0.img'))
})

test('A size that differs is refused; --grow makes an image that is too small larger', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, backUp('0=raw:disk0.img'))
  for (const [format, name] of [
    ['raw', 'small.img'],
    ['qcow2', 'small.qcow2'],
  ] as const) {
    await checkCommand('qemu-img', ['create', '-q', '-f', format, join(folder, name), '8M'])
    const inPlace = restore('latest', '--in-place', `0=${format}:${name}`)
    const refused = await runFailing(folder, inPlace)
    assert.deepEqual([refused.code, refused.exitCode], ['target_size_differs', 5])
    assert.equal(existsSync(join(folder, `${name}.holdfast-restoring`)), false)
    await runJson(folder, [...inPlace, '--grow'])
    const path = join(folder, name)
    assert.deepEqual(format === 'raw' ? await readFile(path) : await bytesOf(path), bytes, format)
  }
  await truncate(join(folder, 'small.img'), DISK_BYTES + 512)
  const larger = restore('latest', '--in-place', '0=raw:small.img', '--grow')
  assert.equal((await runFailing(folder, larger)).code, 'target_size_differs')
})

test('What is in use, lies on another image, takes no writes or has no format named is refused untouched', async () => {
  const folder = await testFolder()
  const { raw } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, backUp('0=raw:disk0.img'))
  const before = await readFile(raw)

  await startMachine(folder, [raw, 'raw'])
  const inUse = await runFailing(folder, restore('latest', '--in-place', '0=raw:disk0.img'))
  assert.deepEqual([inUse.code, inUse.exitCode], ['image_in_use', 5])

  await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', raw, '-F', 'raw', join(folder, 'over.qcow2')])
  const over = await runFailing(folder, restore('latest', '--in-place', '0=qcow2:over.qcow2'))
  assert.equal(over.code, 'image_backing_refused')

  const readOnly = join(folder, 'ro.nbd')
  await serve(readOnly, 'nbdkit', ['-f', '-r', '-U', readOnly, 'memory', String(DISK_BYTES)])
  const target = `0=nbd+unix:///?socket=${readOnly}`
  assert.equal((await runFailing(folder, restore('latest', '--in-place', target))).code, 'target_read_only')

  assert.equal((await runFailing(folder, restore('latest', '--in-place', '0=disk0.qcow2'))).code, 'usage_invalid')
  for (const args of [[], ['--to', 'x', '--in-place', '0=raw:disk0.img'], ['--to', 'x', '--grow']])
    assert.equal((await runFailing(folder, restore('latest', ...args))).code, 'usage_invalid')
  assert.deepEqual(await readFile(raw), before)
})

test('A target that runs full stays marked, and is completed when there is room', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, backUp('0=raw:disk0.img'))
  await mkdir(join(folder, 'served'))
  const target = join(folder, 'served/target.img')
  await writeRaw(target, DISK_BYTES, [[5 * MIB, MIB]], { disk: 9, version: 9 })
  const socket = join(folder, 'full.nbd')
  const full = join(folder, 'full')
  await writeFile(full, '')
  const errors = ['error-pwrite=ENOSPC', 'error-pwrite-rate=100%', `error-pwrite-file=${full}`]
  await serve(socket, 'nbdkit', ['-f', '-U', socket, '--filter=error', 'file', target, ...errors])
  const inPlace = restore('latest', '--in-place', `0=nbd+unix:///?socket=${socket}`)
  const failed = await runFailing(folder, inPlace)
  assert.deepEqual([failed.code, failed.exitCode], ['target_full', 6])
  const source = backUp(`0=nbd+unix:///?socket=${socket}`)
  assert.equal((await runFailing(folder, source)).code, 'restore_unfinished')
  await checkCommand('rm', [full])
  await runJson(folder, inPlace)
  assert.deepEqual(await readFile(target), bytes)
  await runJson(folder, source)
})

test('A bitmap in the image records what was restored, so the next incremental reads it', async () => {
  const folder = await testFolder()
  const { qcow2 } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, backUp('0=qcow2:disk0.qcow2'))
  const patch = join(folder, 'patch')
  await writeFile(patch, stampedBytes({ disk: 0, version: 2 }, 2 * MIB, 4096))
  await checkCommand('qemu-io', ['-f', 'qcow2', '-c', `write -q -s ${patch} ${2 * MIB} 4096`, qcow2])
  await checkCommand('qemu-img', ['bitmap', '--add', '-g', String(CHUNK_BYTES), '-f', 'qcow2', qcow2, 'b'])
  await runJson(folder, restore('latest', '--in-place', '0=qcow2:disk0.qcow2'))
  const socketPath = join(folder, 'bitmap.nbd')
  const context = 'qemu:dirty-bitmap:b'
  await serve(socketPath, 'qemu-nbd', ['-r', '-t', '-f', 'qcow2', '-B', 'b', '-k', socketPath, qcow2])
  const client = await openNbd({ socketPath, exportName: '', metaContexts: [context] })
  assert.deepEqual(await client.dirtyExtents(context, 0, DISK_BYTES), [{ offset: 2 * MIB, length: CHUNK_BYTES }])
  await client.close()
})
