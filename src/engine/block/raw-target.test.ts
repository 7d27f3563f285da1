import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { SeededRandom } from '#base'
import { describeBlockDevice } from './block-device.contract.ts'
import type { BlockDevice, BlockTarget } from './device.ts'
import { identityMap } from './file-map.ts'
import { openFileSource, type FileReads } from './file-source.ts'
import { createRawTarget, openRawTarget } from './raw-target.ts'
import { stampedBytes } from './sector-stamp.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-raw-'))
})
after(() => rm(folder, { recursive: true }))

const MIB = 1024 * 1024
let files = 0
const freshPath = (): string => join(folder, `disk-${(files += 1)}`)

/** A file as a device: written by the target, read back by the source. */
async function fileDevice(path: string, target: BlockTarget, reads: FileReads): Promise<BlockDevice> {
  const { sizeBytes } = target
  const source = await openFileSource({ path, sizeBytes, map: identityMap(sizeBytes), reads })
  return {
    sizeBytes,
    parallelism: source.parallelism,
    read: (offset, into, signal) => source.read(offset, into, signal),
    extents: (offset, length) => source.extents(offset, length),
    write: (offset, data, signal) => target.write(offset, data, signal),
    writeZeroes: (offset, length, signal) => target.writeZeroes(offset, length, signal),
    flush: () => target.flush(),
    close: async () => {
      await source.close()
      await target.close()
    },
  }
}

for (const reads of ['sync', 'async'] as const) {
  describeBlockDevice(`a fresh raw file, read ${reads}`, {
    sizeBytes: 3 * MIB + 512,
    steps: 60,
    open: async (sizeBytes) => {
      const path = freshPath()
      const device = await fileDevice(path, await createRawTarget(path, sizeBytes), reads)
      return { device, end: () => rm(path) }
    },
  })
}

describeBlockDevice('an existing raw file', {
  sizeBytes: 2 * MIB + 512,
  steps: 60,
  open: async (sizeBytes) => {
    const path = freshPath()
    await writeFile(path, '')
    await truncate(path, sizeBytes)
    const device = await fileDevice(path, await openRawTarget(path, sizeBytes), 'sync')
    return { device, end: () => rm(path) }
  },
})

describe('createRawTarget()', () => {
  it('keeps zeros sparse where nothing was written', async () => {
    const path = freshPath()
    const target = await createRawTarget(path, 64 * MIB)
    await target.writeZeroes(0, 64 * MIB)
    await target.write(8 * MIB, new Uint8Array(16 * MIB))
    await target.flush()
    await target.close()
    const stats = await stat(path)
    assert.equal(stats.size, 64 * MIB)
    assert.ok(stats.blocks * 512 < MIB, `${stats.blocks} blocks are allocated`)
    assert.equal(stats.mode & 0o777, 0o600)
  })

  it('writes zeros over what it wrote before', async () => {
    const path = freshPath()
    const target = await createRawTarget(path, 4 * MIB)
    const data = stampedBytes({ disk: 3, version: 1 }, MIB, MIB)
    await target.write(MIB, data)
    await target.write(MIB + 100, new Uint8Array(1000))
    await target.close()
    data.fill(0, 100, 1100)
    assert.ok((await readFile(path)).subarray(MIB, 2 * MIB).equals(data))
  })

  it('never replaces a file', async () => {
    const path = freshPath()
    await writeFile(path, 'precious')
    await assert.rejects(createRawTarget(path, MIB), { code: 'target_exists' })
    assert.equal(await readFile(path, 'utf8'), 'precious')
  })

  it('stops at the abort of a long zeroing', async () => {
    const path = freshPath()
    await writeFile(path, '')
    await truncate(path, 8 * MIB)
    const target = await openRawTarget(path, 8 * MIB)
    await assert.rejects(target.writeZeroes(0, 8 * MIB, AbortSignal.abort()), { code: 'cancelled' })
    await target.close()
  })
})

describe('openRawTarget()', () => {
  it('gives the space of large zeroed ranges back, and zeros exactly them', async () => {
    const path = freshPath()
    const content = stampedBytes({ disk: 1, version: 1 }, 0, 40 * MIB)
    await writeFile(path, content)
    const target = await openRawTarget(path, content.length)
    await target.writeZeroes(1000, 30 * MIB)
    await target.writeZeroes(35 * MIB + 1, 511)
    await target.close()
    content.fill(0, 1000, 1000 + 30 * MIB).fill(0, 35 * MIB + 1, 35 * MIB + 512)
    assert.ok((await readFile(path)).equals(content))
    assert.ok((await stat(path)).blocks * 512 < 20 * MIB, 'the range is a hole')
  })

  it('refuses a file that is too small, or none', async () => {
    const path = freshPath()
    await writeFile(path, 'x')
    await assert.rejects(openRawTarget(path, 512), { code: 'target_too_small' })
    await assert.rejects(openRawTarget(join(folder, 'none'), 512), { code: 'image_not_found' })
  })
})

describe('openFileSource()', () => {
  it('reads runs that lie in any order of the file, and zeros between them', async () => {
    const path = freshPath()
    const random = new SeededRandom(5)
    const content = Buffer.from(stampedBytes({ disk: 8, version: 2 }, 0, 40_960))
    await writeFile(path, content)
    const runs = [
      { start: 1000, length: 5000, kind: 'data', fileOffset: 30_000 },
      { start: 6000, length: 1, kind: 'data', fileOffset: 0 },
      { start: 8000, length: 2000, kind: 'zero', fileOffset: 0 },
      { start: 12_000, length: 8000, kind: 'data', fileOffset: 11 },
    ] as const
    const model = Buffer.alloc(20_480)
    for (const run of runs) {
      if (run.kind === 'data') content.copy(model, run.start, run.fileOffset, run.fileOffset + run.length)
    }
    for (const reads of ['sync', 'async'] as const) {
      const source = await openFileSource({ path, sizeBytes: model.length, map: { runs }, reads })
      for (let count = 0; count < 200; count += 1) {
        const offset = random.below(model.length)
        const into = Buffer.alloc(random.below(model.length - offset + 1), 0xee)
        await source.read(offset, into)
        assert.ok(into.equals(model.subarray(offset, offset + into.length)))
      }
      const kinds = (await source.extents(0, model.length)).map((extent) => `${extent.kind} ${extent.offset}`)
      assert.deepEqual(kinds, [
        'hole 0',
        'data 1000',
        'hole 6001',
        'zero 8000',
        'hole 10000',
        'data 12000',
        'hole 20000',
      ])
      await source.close()
    }
  })

  it('reports a file that became shorter instead of giving zeros', async () => {
    const path = freshPath()
    await writeFile(path, Buffer.alloc(4096, 1))
    for (const reads of ['sync', 'async'] as const) {
      const source = await openFileSource({ path, sizeBytes: 8192, map: identityMap(8192), reads })
      await assert.rejects(source.read(4000, new Uint8Array(200)), { code: 'block_io_error' })
      await source.close()
    }
  })

  it('refuses maps that contradict themselves', async () => {
    const path = freshPath()
    await writeFile(path, 'x')
    const run = { start: 0, length: 512, kind: 'data', fileOffset: 0 } as const
    const bad = [
      [run, run],
      [{ ...run, length: 0 }],
      [{ ...run, start: -1 }],
      [{ ...run, fileOffset: 0.5 }],
      [{ ...run, length: 2 ** 60 }],
      [{ ...run, start: 1024 }],
    ]
    for (const runs of bad) {
      await assert.rejects(openFileSource({ path, sizeBytes: 1024, map: { runs } }), { code: 'image_invalid' })
    }
  })
})
