import assert from 'node:assert/strict'
import { it } from 'node:test'
import { describeBlockDevice } from './block-device.contract.ts'
import { FaultyBlockDevice } from './faulty-block-device.ts'
import { MemoryDevice } from './memory-device.ts'
import { BlockError } from './errors.ts'
import { stampedBytes } from './sector-stamp.ts'

const open = (sizeBytes: number) =>
  Promise.resolve({ device: new MemoryDevice(sizeBytes), end: () => Promise.resolve() })

describeBlockDevice('MemoryDevice', { sizeBytes: 1_000_001, open })
describeBlockDevice('FaultyBlockDevice without faults', {
  sizeBytes: 1_000_448,
  open: (sizeBytes) =>
    Promise.resolve({ device: new FaultyBlockDevice(new MemoryDevice(sizeBytes)), end: () => Promise.resolve() }),
})

it('MemoryDevice.from() keeps content and makes pages of zeros holes', async () => {
  const bytes = Buffer.concat([
    stampedBytes({ disk: 0, version: 1 }, 0, 65_536),
    Buffer.alloc(65_536),
    Buffer.from([7]),
  ])
  const device = MemoryDevice.from(bytes)
  assert.deepEqual(Buffer.from(device.toBytes()), bytes)
  assert.deepEqual(
    (await device.extents(0, device.sizeBytes)).map((extent) => extent.kind),
    ['data', 'hole', 'data'],
  )
})

it('FaultyBlockDevice fails in the order of its queue, one call each', async () => {
  const failure = new BlockError('block_io_error', 'planted')
  const faulty = new FaultyBlockDevice(new MemoryDevice(4096)).fail('read', undefined, failure)
  await faulty.read(0, new Uint8Array(1))
  await assert.rejects(faulty.read(0, new Uint8Array(1)), failure)
  await faulty.read(0, new Uint8Array(1))
  assert.equal(faulty.calls('read'), 3)
})
