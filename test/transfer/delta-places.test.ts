/** A version with delta nodes in every place where a disk can go: each gives back the model's bytes, in threads and inline. */
import assert from 'node:assert/strict'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { KIB, MIB, must, SeededRandom } from '#base'
import { createRawTarget, createVhdTarget, openNbd, serveNbd } from '#engine/block'
import { type BlobStore, isDelta, isZero, type StoreDescriptor } from '#engine/repository'
import { openVersion, type ReplacedDisk, restoreDisk, restoreInPlace, restoreToQcow2 } from '#engine/transfer'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { CHUNK_BYTES, DeltaDisk, type Version, writeSparse } from './delta-disk.ts'

const LEAF_BYTES = 16 * MIB
const clock = systemClock
let disk: DeltaDisk
/** As deep as a chain gets, and after it was merged and went on. */
let deepest: Version
let merged: Version

/** Small writes into chunks of the tree and beside it, zeros over both, and the sectors at the end of the disk. */
function change(random: SeededRandom): void {
  for (let i = 0; i < 12; i += 1) {
    const place = random.pick([0, 3 * MIB, 2 * LEAF_BYTES + MIB, 64 * MIB])
    const offset = place + random.below(256) * 4 * KIB
    if (random.chance(0.3)) disk.zero(offset, 4 * KIB * (1 + random.below(4)))
    else disk.write(offset, 4 * KIB * (1 + random.below(4)))
  }
  disk.write(disk.sizeBytes - 1024, 1024)
}

before(async () => {
  disk = await DeltaDisk.make(80 * MIB)
  const random = new SeededRandom(11)
  disk.write(0, 20 * MIB)
  disk.write(64 * MIB, 8 * MIB)
  await disk.backUp()
  disk.grow(LEAF_BYTES + 1536)
  await disk.backUp()
  const depths: number[] = []
  for (let cycle = 0; cycle < 20; cycle += 1) {
    change(random)
    // A chunk of the tree that becomes zeros bit by bit, and one that only delta nodes ever had and lose again.
    disk.zero(5 * MIB + (cycle % 16) * 4 * KIB, 4 * KIB)
    if (cycle < 3) disk.write(50 * MIB, 8 * KIB)
    else disk.zero(50 * MIB, 8 * KIB)
    const { root } = (await disk.backUp()).disk
    depths.push(isDelta(root) ? root.delta : 0)
  }
  assert.deepEqual(depths, [...Array.from({ length: 16 }, (_, i) => i + 1), 1, 2, 3, 4])
  deepest = must(disk.versions[17], 'It was made')
  merged = must(disk.versions.at(-1), 'It was made')
  assert.ok(merged.disk.usedBytes > 16 * MIB, 'enough for threads')
})
after(() => disk.remove())

async function eachWay(
  work: (version: Version, store: StoreDescriptor | BlobStore, path: string) => Promise<void>,
): Promise<void> {
  const ways = [
    [deepest, disk.descriptor],
    [merged, disk.descriptor],
    [merged, disk.opened],
  ] as const
  const path = join(disk.folder, 'target')
  for (const [version, store] of ways) {
    await work(version, store, path)
    await rm(path, { force: true })
  }
}

/** @param tailBytes what the file has behind the disk */
async function assertHolds(path: string, bytes: Buffer, tailBytes = 0): Promise<void> {
  const file = await readFile(path)
  assert.equal(file.length, bytes.length + tailBytes)
  const there = file.subarray(0, bytes.length)
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES)
    assert.ok(there.subarray(at, at + CHUNK_BYTES).equals(bytes.subarray(at, at + CHUNK_BYTES)), `chunk at ${at}`)
}

test('raw: into a file of holes, and over one that is full of something else', async () => {
  await eachWay(async ({ disk: record, bytes }, store, path) => {
    await (await createRawTarget(path, bytes.length)).close()
    await restoreDisk(disk.repository, record, { kind: 'raw', path }, { store, clock })
    await assertHolds(path, bytes)
    await writeFile(path, Buffer.alloc(bytes.length, 0xee))
    await restoreDisk(disk.repository, record, { kind: 'raw', path }, { store, clock, overwrite: true })
    await assertHolds(path, bytes)
  })
})

test('qcow2 and vhd: QEMU finds no error in the image, and the bytes of the model', async () => {
  const model = join(disk.folder, 'model')
  await eachWay(async ({ disk: record, bytes }, store, path) => {
    await writeSparse(model, bytes)
    await restoreToQcow2(disk.repository, record, path, { store, clock })
    await checkCommand('qemu-img', ['check', '-q', '-f', 'qcow2', path])
    await checkCommand('qemu-img', ['compare', '-q', '-f', 'raw', '-F', 'qcow2', model, path])
    await rm(path)
    await (await createVhdTarget(path, bytes.length)).close()
    await restoreDisk(disk.repository, record, { kind: 'raw', path }, { store, clock })
    await assertHolds(path, bytes, 512)
    await checkCommand('qemu-img', ['compare', '-q', '-f', 'raw', '-F', 'vpc', model, path])
  })
})

/** What of a disk that holds `there` must be written, by whole chunks, so that it holds `wanted`. */
function difference(there: Buffer, wanted: Buffer): Pick<ReplacedDisk, 'writtenBytes' | 'zeroedBytes'> {
  const sum = { writtenBytes: 0, zeroedBytes: 0 }
  for (let at = 0; at < wanted.length; at += CHUNK_BYTES) {
    const chunk = wanted.subarray(at, at + CHUNK_BYTES)
    if (chunk.equals(there.subarray(at, at + CHUNK_BYTES))) continue
    sum[isZero(chunk) ? 'zeroedBytes' : 'writtenBytes'] += chunk.length
  }
  return sum
}

test('In place: exactly the chunks that differ are written, and none of a disk that is as the version says', async () => {
  const full = (bytes: Buffer): Buffer => Buffer.alloc(bytes.length, 0xee)
  const older = (bytes: Buffer): Buffer => Buffer.concat([must(disk.versions[9], 'A version').bytes], bytes.length)
  const empty = (bytes: Buffer): Buffer => Buffer.alloc(bytes.length)
  const same = (bytes: Buffer): Buffer => bytes
  await eachWay(async ({ disk: record, bytes, point }, store, path) => {
    for (const make of [full, older, empty, same]) {
      const there = make(bytes)
      await writeSparse(path, there)
      const target = { kind: 'image', path, format: 'raw' } as const
      const options = { store, clock, random: systemRandom, writer: 'test', stateFolder: disk.folder }
      const { disks } = await restoreInPlace(disk.repository, point, [{ disk: record, target }], options)
      const { writtenBytes, zeroedBytes, comparedBytes } = must(disks[0], 'One disk')
      assert.deepEqual({ writtenBytes, zeroedBytes }, difference(there, bytes), make.name)
      assert.ok(comparedBytes <= bytes.length)
      await assertHolds(path, bytes)
    }
  })
})

test('Served over NBD: whole, at random places by many at once, and holes only where the model has zeros', async () => {
  const model = join(disk.folder, 'model')
  const random = new SeededRandom(12)
  await eachWay(async ({ disk: record, bytes, filled }, store) => {
    const source = await openVersion(disk.repository, record, { store, cacheBytes: 2 * MIB })
    const socketPath = join(disk.folder, 'nbd.sock')
    const server = await serveNbd({ listen: { socketPath }, exports: () => ({ source }) })
    const client = await openNbd({ socketPath, exportName: '' })
    try {
      const reads = Array.from({ length: 200 }, async () => {
        const offset = random.below(bytes.length)
        const into = new Uint8Array(Math.min(1 + random.below(5 * CHUNK_BYTES), bytes.length - offset)).fill(0xee)
        await client.read(offset, into)
        assert.equal(Buffer.compare(into, bytes.subarray(offset, offset + into.length)), 0, `served at ${offset}`)
      })
      await Promise.all(reads)
      const empty = new Set<number>()
      for (const { offset, length, kind } of await client.extents(0, bytes.length)) {
        if (kind === 'data') continue
        assert.ok(isZero(bytes.subarray(offset, offset + length)), `a hole at ${offset}`)
        for (let chunk = Math.ceil(offset / CHUNK_BYTES); chunk * CHUNK_BYTES < offset + length; chunk += 1)
          if ((chunk + 1) * CHUNK_BYTES <= offset + length) empty.add(chunk)
      }
      const whole = Math.floor(bytes.length / CHUNK_BYTES)
      for (let chunk = 0; chunk < whole; chunk += 1)
        assert.ok(filled.has(chunk) || empty.has(chunk), `chunk ${chunk}, which nobody ever wrote to, is a hole`)
      await writeSparse(model, bytes)
      const address = `nbd+unix:///?socket=${socketPath}`
      await checkCommand('qemu-img', ['compare', '-q', '-f', 'raw', '-F', 'raw', model, address])
    } finally {
      await client.close()
      await server.close()
      await source.close()
    }
  })
})
