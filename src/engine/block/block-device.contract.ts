/**
 * What every BlockDevice must do, whatever lies behind it: held against the simplest correct model, a plain byte array.
 * Content is stamped with (disk, sector, version), so that a shifted, swapped or stale byte differs.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SeededRandom } from '#base'
import type { BlockDevice } from './device.ts'
import { stampedBytes } from './sector-stamp.ts'

export type ContractOptions = Readonly<{
  sizeBytes: number
  /** A fresh device of zeros, and what to do when the test is over. */
  open: (sizeBytes: number) => Promise<{ device: BlockDevice; end: () => Promise<void> }>
  steps?: number
}>

class Model {
  readonly bytes: Buffer
  version = 0

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes)
  }

  /** A range that is short, long, aligned or odd, and at the ends more often than chance has it. */
  range(random: SeededRandom): { offset: number; length: number } {
    const size = this.bytes.length
    const length = Math.min(size, random.pick([1, 511, 512, 4096, 65_536, 100_000, 3 * 65_536 + 17]))
    const offset = random.pick([
      0,
      size - length,
      random.below(size - length + 1),
      512 * random.below((size - length) / 512),
    ])
    return { offset, length }
  }
}

async function step(device: BlockDevice, model: Model, random: SeededRandom): Promise<void> {
  const { offset, length } = model.range(random)
  const act = random.pick(['write', 'write', 'zero', 'read', 'read', 'extents', 'flush'] as const)
  if (act === 'write') {
    model.version += 1
    const data = stampedBytes({ disk: 1, version: model.version }, offset, length)
    data.copy(model.bytes, offset)
    await device.write(offset, data)
  } else if (act === 'zero') {
    model.bytes.fill(0, offset, offset + length)
    await device.writeZeroes(offset, length)
  } else if (act === 'read') {
    const into = Buffer.alloc(length, 0xee)
    await device.read(offset, into)
    assert.ok(into.equals(model.bytes.subarray(offset, offset + length)), `read ${length} at ${offset}`)
  } else if (act === 'extents') {
    await checkExtents(device, model, offset, length)
  } else await device.flush()
}

async function checkExtents(device: BlockDevice, model: Model, offset: number, length: number): Promise<void> {
  let position = offset
  for (const extent of await device.extents(offset, length)) {
    assert.equal(extent.offset, position)
    assert.ok(extent.length > 0)
    position += extent.length
    const part = model.bytes.subarray(extent.offset, position)
    if (extent.kind !== 'data')
      assert.ok(
        part.every((byte) => byte === 0),
        `${extent.kind} at ${extent.offset} is not zero`,
      )
  }
  assert.equal(position, offset + length)
}

export function describeBlockDevice(name: string, options: ContractOptions): void {
  const run = async (test: (device: BlockDevice, model: Model) => Promise<void>): Promise<void> => {
    const { device, end } = await options.open(options.sizeBytes)
    try {
      await test(device, new Model(options.sizeBytes))
    } finally {
      await device.close()
      await end()
    }
  }

  describe(`${name} is a BlockDevice`, () => {
    it('reads as zeros when it is fresh, and tells its size', async () => {
      await run(async (device) => {
        assert.equal(device.sizeBytes, options.sizeBytes)
        const into = Buffer.alloc(70_000, 0xee)
        await device.read(options.sizeBytes - into.length, into)
        assert.ok(into.every((byte) => byte === 0))
      })
    })

    it('agrees with a byte array over seeded operations of any alignment', async () => {
      for (const seed of [1, 2, 3]) {
        await run(async (device, model) => {
          const random = new SeededRandom(seed)
          for (let count = 0; count < (options.steps ?? 120); count += 1) await step(device, model, random)
          const whole = Buffer.alloc(device.sizeBytes)
          await device.read(0, whole)
          assert.ok(whole.equals(model.bytes), `the whole device after seed ${seed}`)
          await checkExtents(device, model, 0, device.sizeBytes)
        })
      }
    })

    it('takes many requests at once and keeps each to its own bytes', async () => {
      await run(async (device) => {
        const count = 100
        const pieceBytes = Math.floor(device.sizeBytes / count)
        const pieces = Array.from({ length: count }, (_, i) => ({
          offset: i * pieceBytes,
          data: stampedBytes({ disk: i, version: 9 }, i * pieceBytes, pieceBytes),
        }))
        await Promise.all(pieces.map((piece) => device.write(piece.offset, piece.data)))
        await Promise.all(
          pieces.map(async (piece) => {
            const into = Buffer.alloc(pieceBytes)
            await device.read(piece.offset, into)
            assert.ok(into.equals(piece.data), `the piece at ${piece.offset}`)
          }),
        )
      })
    })

    it('takes empty ranges', async () => {
      await run(async (device) => {
        await device.read(device.sizeBytes, new Uint8Array(0))
        await device.write(0, new Uint8Array(0))
        await device.writeZeroes(device.sizeBytes, 0)
        assert.deepEqual(await device.extents(0, 0), [])
      })
    })

    it('refuses ranges beyond its end as a mistake of the caller', async () => {
      await run(async (device) => {
        await assert.rejects(device.read(device.sizeBytes - 1, new Uint8Array(2)), { name: 'AssertionFailed' })
        await assert.rejects(device.write(-1, new Uint8Array(1)), { name: 'AssertionFailed' })
        await assert.rejects(device.extents(0, device.sizeBytes + 1), { name: 'AssertionFailed' })
      })
    })
  })
}
