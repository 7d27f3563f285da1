import assert from 'node:assert/strict'
import { mkdtemp, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { KIB, MIB, SeededRandom } from '#base'
import { describeBlockDevice } from './block-device.contract.ts'
import type { BlockDevice, BlockTarget } from './device.ts'
import { identityMap } from './file-map.ts'
import { openFileSource } from './file-source.ts'
import { stampedBytes } from './sector-stamp.ts'
import { type DirectFile, openStagedTarget } from './staged-target.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-staged-'))
})
after(() => rm(folder, { recursive: true }))

let files = 0
async function freshFile(sizeBytes: number): Promise<string> {
  const path = join(folder, `disk-${(files += 1)}`)
  await writeFile(path, '')
  await truncate(path, sizeBytes)
  return path
}

const refuses: DirectFile = {
  write: () => Promise.reject(Object.assign(new Error('write EINVAL'), { code: 'EINVAL' })),
  close: () => Promise.resolve(),
}
const WAYS = {
  'past the cache': undefined,
  'where O_DIRECT cannot be opened': () => Promise.resolve(undefined),
  'where direct writes are refused': () => Promise.resolve(refuses),
} as const

const openBy = (path: string, sizeBytes: number, way: (typeof WAYS)[keyof typeof WAYS]): Promise<BlockTarget> =>
  way === undefined ? openStagedTarget(path, sizeBytes) : openStagedTarget(path, sizeBytes, way)

/** A file as a device; what was written is in it after a flush. */
async function fileDevice(path: string, target: BlockTarget): Promise<BlockDevice> {
  const { sizeBytes } = target
  const source = await openFileSource({ path, sizeBytes, map: identityMap(sizeBytes), reads: 'sync' })
  return {
    sizeBytes,
    parallelism: 1,
    read: async (offset, into) => {
      await target.flush()
      await source.read(offset, into)
    },
    extents: async (offset, length) => {
      await target.flush()
      return source.extents(offset, length)
    },
    write: (offset, data) => target.write(offset, data),
    writeZeroes: (offset, length) => target.writeZeroes(offset, length),
    flush: () => target.flush(),
    close: async () => {
      await source.close()
      await target.close()
    },
  }
}

for (const [name, way] of Object.entries(WAYS)) {
  describeBlockDevice(`a file written ${name}`, {
    sizeBytes: 5 * MIB + 512,
    steps: 40,
    open: async (sizeBytes) => {
      const path = await freshFile(sizeBytes)
      return { device: await fileDevice(path, await openBy(path, sizeBytes, way)), end: () => rm(path) }
    },
  })
}

/** The chunks of a disk whose last one ends inside a block, in runs as packs have them; every fifth is left out. */
async function writeChunks(target: BlockTarget, version: number): Promise<Buffer> {
  const { sizeBytes } = target
  const random = new SeededRandom(version)
  const expected = Buffer.alloc(sizeBytes)
  const chunk = 256 * KIB
  const runs = Array.from({ length: Math.ceil(sizeBytes / chunk / 7) }, (_, i) => i * 7)
  for (const first of runs.sort(() => random.below(3) - 1)) {
    for (let i = first; i < first + 7 && i * chunk < sizeBytes; i += 1) {
      if (i % 5 === 3) continue
      const data = stampedBytes({ disk: 3, version }, i * chunk, Math.min(chunk, sizeBytes - i * chunk))
      data.copy(expected, i * chunk)
      await target.write(i * chunk, data)
      data.fill(0xaa) // the caller's again
    }
  }
  return expected
}

describe('openStagedTarget()', () => {
  for (const [name, way] of Object.entries(WAYS)) {
    it(`has all of a disk in the file when it is closed, ${name}, and what was not written is still a hole`, async () => {
      const path = await freshFile(24 * MIB + 7 * 512)
      const target = await openBy(path, 24 * MIB + 7 * 512, way)
      const expected = await writeChunks(target, 1)
      await target.close()
      await target.close()
      assert.ok((await readFile(path)).equals(expected))
      const { blocks, size } = await stat(path)
      assert.equal(size, expected.length)
      assert.ok(blocks * 512 < size * 0.85, 'a fifth of it is holes')
    })
  }

  it('lets the last of several writes to one place win, over an old content too', async () => {
    const path = await freshFile(4 * MIB)
    await writeFile(path, stampedBytes({ disk: 3, version: 1 }, 0, 4 * MIB))
    const target = await openStagedTarget(path, 4 * MIB)
    for (const version of [2, 3, 4]) {
      await target.write(0, stampedBytes({ disk: 3, version }, 0, 3 * MIB))
      await target.write(MIB, stampedBytes({ disk: 3, version }, MIB, 100_000))
    }
    await target.close()
    const expected = Buffer.concat([
      stampedBytes({ disk: 3, version: 4 }, 0, 3 * MIB),
      stampedBytes({ disk: 3, version: 1 }, 3 * MIB, MIB),
    ])
    assert.ok((await readFile(path)).equals(expected))
  })

  it('says target_full of a disk that is full, from the write that met it or from a later call, and at the latest from close()', async () => {
    const path = await freshFile(16 * MIB)
    const target = await openStagedTarget(path, 16 * MIB, () => open('/dev/full', 'w'))
    const data = stampedBytes({ disk: 3, version: 1 }, 0, 8 * MIB)
    await assert.rejects(target.write(0, data), { code: 'target_full' })
    await assert.rejects(target.write(8 * MIB, data), { code: 'target_full' })
    await assert.rejects(target.flush(), { code: 'target_full' })
    await assert.rejects(target.close(), { code: 'target_full' })
    const small = await openStagedTarget(path, 16 * MIB, () => open('/dev/full', 'w'))
    await small.write(0, data.subarray(0, MIB))
    await assert.rejects(small.close(), { code: 'target_full' })
  })

  it('refuses a file that is smaller than the disk', async () => {
    await assert.rejects(openStagedTarget(await freshFile(MIB), 2 * MIB), { code: 'target_too_small' })
  })
})
