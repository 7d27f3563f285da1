/** A disk of 1 TiB that holds little: no step walks the disk, and an incremental reads what changed. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, test } from 'node:test'
import { GIB, KIB, MIB, TIB } from '#base'
import { QmpClient } from '#engine/hypervisor'
import { checkCommand, systemClock } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { sectorData } from '../rig/sector-data.ts'

type Point = { mode: string; disks: { mode: string; readBytes: number; newBytes: number; virtualSizeBytes: number }[] }

const PROGRAM = resolve(import.meta.dirname, '../../bin/holdfast')
const CHUNK_BYTES = 256 * KIB
const folder = await mkdtemp(join(tmpdir(), 'hf-tib-'))
const running: ChildProcess[] = []
after(async () => {
  for (const child of running) child.kill('SIGKILL')
  await rm(folder, { recursive: true, force: true })
})

async function holdfast<T>(...args: readonly string[]): Promise<T> {
  const env = {
    HOLDFAST_PASSPHRASE: 'a test',
    XDG_CACHE_HOME: join(folder, 'cache'),
    XDG_STATE_HOME: join(folder, 'state'),
  }
  const { stdout } = await checkCommand(PROGRAM, [...args, '--output', 'json'], { env, timeoutMs: 180_000 })
  return JSON.parse(stdout.toString('utf8')) as T
}

async function startMachine(image: string): Promise<QmpClient> {
  const args = ['-accel', 'tcg', '-m', '32', '-nodefaults', '-display', 'none', '-machine', 'pc']
  for (const name of ['own', 'test']) args.push('-qmp', `unix:${join(folder, name)}.qmp,server=on,wait=off`)
  const blockdev = { 'node-name': 'disk0', driver: 'qcow2', file: { driver: 'file', filename: image } }
  args.push('-blockdev', JSON.stringify(blockdev), '-device', 'virtio-blk-pci,drive=disk0,id=vd0')
  const child = spawn('qemu-system-x86_64', args, { stdio: 'ignore' })
  running.push(child)
  await Promise.race([
    eventually('QEMU to listen', 30_000, () => (existsSync(join(folder, 'test.qmp')) ? true : undefined)),
    once(child, 'exit').then(() => Promise.reject(new Error('QEMU ended at once'))),
  ])
  return QmpClient.connect(join(folder, 'test.qmp'), { clock: systemClock })
}

/** Writes `length` bytes at `offset` as a guest would: through the block graph. */
async function write(qmp: QmpClient, offset: number, length: number, version: number): Promise<void> {
  const pattern = join(folder, 'pattern')
  await writeFile(pattern, sectorData(1, offset / 512, length / 512, version))
  const line = `qemu-io -d /machine/peripheral/vd0/virtio-backend "write -q -s ${pattern} ${offset} ${length}"`
  const said = await qmp.execute('human-monitor-command', { 'command-line': line })
  assert.equal(said, '', 'qemu-io writes')
}

test('repo backup of a running machine with 1 TiB reads 64 MiB when 64 MiB changed, and no more than those chunks', async () => {
  const image = join(folder, 'disk.qcow2')
  await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', image, '1T'])
  const qmp = await startMachine(image)
  for (let i = 0; i < 50; i += 1) await write(qmp, i * 20 * GIB + 3 * MIB, 4 * MIB, 1)
  const store = join(folder, 'store')
  await holdfast('repo', 'init', store)
  const backup = [
    'repo',
    'backup',
    store,
    '--machine',
    'big',
    '--qmp',
    join(folder, 'own.qmp'),
    '--consistency',
    'crash',
  ]
  const first = await holdfast<Point>(...backup)
  assert.equal(first.disks[0]?.virtualSizeBytes, TIB)
  assert.equal(first.mode, 'full')
  // 64 MiB in pieces of a quarter chunk would be four times as much in chunks; these are whole chunks, far apart.
  for (let i = 0; i < 64; i += 1) await write(qmp, i * 15 * GIB + 8 * GIB, 4 * CHUNK_BYTES, 2)
  const second = await holdfast<Point>(...backup)
  assert.equal(second.mode, 'incremental')
  const { readBytes = 0, newBytes = 0 } = second.disks[0] ?? {}
  assert.ok(readBytes >= 64 * MIB && readBytes <= 1.1 * 64 * MIB, `64 MiB changed, ${readBytes} bytes were read`)
  assert.ok(newBytes >= 64 * MIB && newBytes < 66 * MIB, `and ${newBytes} are new, their manifest nodes included`)
  await assertSmallChanges(qmp, () => holdfast<Point>(...backup))
  const { ok } = await holdfast<{ ok: boolean }>('repo', 'verify', store)
  assert.ok(ok)
  await qmp.close()
})

/** 4 KiB here and there: of each its 64 KiB in the bitmap is read, besides the sample, and no chunk is stored. */
async function assertSmallChanges(qmp: QmpClient, backUp: () => Promise<Point>): Promise<void> {
  const places = [3 * MIB, 8 * GIB + 128 * KIB, 900 * GIB + 64 * KIB]
  for (const place of places) await write(qmp, place, 4 * KIB, 3)
  const point = await backUp()
  assert.equal(point.mode, 'incremental')
  const { readBytes = 0, newBytes = 0 } = point.disks[0] ?? {}
  const changed = places.length * 64 * KIB
  // Whole chunks, to try the tracking by: what was changed and what a sample takes at most.
  const sampled = readBytes - changed
  assert.ok(sampled >= 0 && sampled <= 4 * MIB && sampled % CHUNK_BYTES === 0, `${sampled} bytes were sampled`)
  assert.ok(newBytes <= changed + 8 * KIB, `${newBytes} are new, a delta node included`)
}
