/** The image that we write, held against what QEMU makes of it. */
import assert from 'node:assert/strict'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { GIB, KIB, MIB, SeededRandom, TIB } from '#base'
import { checkCommand } from '#runtime'
import {
  createQcow2File,
  finishQcow2File,
  inspectImage,
  QCOW2_DATA_OFFSET,
  qcow2ClustersBytes,
  type Qcow2Range,
  stampedBytes,
} from '#engine/block'

const QCOW2_CLUSTER_BYTES = 64 * KIB

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-qcow2-'))
})
after(() => rm(folder, { recursive: true }))

let files = 0
const freshPath = (): string => join(folder, `disk-${(files += 1)}.qcow2`)

/** Lays `offsets` down in the given order, each `chunkBytes` long or to the end of the disk, filled with stamps. */
async function writeImage(sizeBytes: number, offsets: readonly number[], chunkBytes: number): Promise<string> {
  const path = freshPath()
  await createQcow2File(path, offsets.length * chunkBytes)
  const ranges: Qcow2Range[] = []
  let fileOffset = QCOW2_DATA_OFFSET
  const file = await open(path, 'r+')
  for (const offset of offsets) {
    const length = Math.min(chunkBytes, sizeBytes - offset)
    await file.write(stampedBytes({ disk: 5, version: 1 }, offset, length), 0, length, fileOffset)
    ranges.push({ offset, length, fileOffset })
    fileOffset += qcow2ClustersBytes(length)
  }
  await file.close()
  await finishQcow2File(path, sizeBytes, ranges, fileOffset)
  return path
}

async function qemuSays(
  path: string,
): Promise<{ check: Record<string, number>; map: { data: boolean; length: number }[] }> {
  const say = async (...args: string[]): Promise<unknown> =>
    JSON.parse((await checkCommand('qemu-img', args)).stdout.toString('utf8'))
  const check = (await say('check', '-f', 'qcow2', '--output', 'json', path)) as Record<string, number>
  return {
    check,
    map: (await say('map', '-f', 'qcow2', '--output', 'json', path)) as { data: boolean; length: number }[],
  }
}

async function readDisk(path: string, sizeBytes: number): Promise<Buffer> {
  const raw = `${path}.raw`
  await checkCommand('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, raw])
  const bytes = await readFile(raw)
  await rm(raw)
  assert.equal(bytes.length, sizeBytes)
  return bytes
}

test('QEMU finds no error in the image and reads every byte where it belongs, whatever the order and the size', async () => {
  const random = new SeededRandom(9)
  for (const [sizeBytes, chunkBytes] of [
    [512, 64 * KIB],
    [3 * MIB + 512, 64 * KIB],
    [8 * MIB + 70_144, 256 * KIB],
    [16 * MIB, 4 * MIB],
  ] as const) {
    const all = Array.from({ length: Math.ceil(sizeBytes / chunkBytes) }, (_, i) => i * chunkBytes)
    for (const offsets of [all, all.toReversed(), all.filter(() => random.chance(0.5)), []]) {
      const path = await writeImage(sizeBytes, offsets, chunkBytes)
      const expected = Buffer.alloc(sizeBytes)
      for (const offset of offsets)
        stampedBytes({ disk: 5, version: 1 }, offset, Math.min(chunkBytes, sizeBytes - offset)).copy(expected, offset)
      assert.ok((await readDisk(path, sizeBytes)).equals(expected), `${offsets.length} chunks of ${sizeBytes} bytes`)
      const { check, map } = await qemuSays(path)
      assert.deepEqual([check['check-errors'], check['corruptions'] ?? 0, check['leaks'] ?? 0], [0, 0, 0])
      const mapped = map.reduce((sum, { data, length }) => sum + (data ? length : 0), 0)
      assert.ok(mapped <= qcow2ClustersBytes(offsets.length * chunkBytes), 'holes stay holes')
    }
  }
})

test('A disk of 1 TiB with data in a few places far apart has a file no larger than these and their tables', async () => {
  const offsets = [0, 512 * MIB - 256 * KIB, 512 * MIB, 300 * GIB, TIB - 256 * KIB]
  const path = await writeImage(TIB, offsets, 256 * KIB)
  const { check, map } = await qemuSays(path)
  assert.deepEqual([check['check-errors'], check['leaks'] ?? 0], [0, 0])
  assert.equal(check['allocated-clusters'], (offsets.length * 256 * KIB) / QCOW2_CLUSTER_BYTES)
  assert.equal(
    map.reduce((sum, { data, length }) => sum + (data ? length : 0), 0),
    offsets.length * 256 * KIB,
  )
  const bytes = await readFile(path)
  assert.ok(bytes.length < 3 * MIB, `${bytes.length}`)
  assert.equal((await inspectImage(path, 'qcow2')).virtualSizeBytes, TIB)
})

test('More clusters than one refcount block counts are all counted', async () => {
  const path = freshPath()
  const [sizeBytes, length] = [6 * GIB, 5 * GIB]
  await createQcow2File(path, length)
  await finishQcow2File(
    path,
    sizeBytes,
    [{ offset: GIB, length, fileOffset: QCOW2_DATA_OFFSET }],
    QCOW2_DATA_OFFSET + length,
  )
  const { check } = await qemuSays(path)
  assert.deepEqual([check['check-errors'], check['leaks'] ?? 0], [0, 0])
  assert.equal(check['allocated-clusters'], length / QCOW2_CLUSTER_BYTES)
})

test('An image that was not finished is none, and nothing that exists is replaced', async () => {
  const path = freshPath()
  await createQcow2File(path, MIB)
  await assert.rejects(checkCommand('qemu-img', ['info', '-f', 'qcow2', path]))
  await assert.rejects(createQcow2File(path, MIB), { code: 'target_exists' })
})
