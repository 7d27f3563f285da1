import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MIB } from '#base'
import { FaultyBlockDevice, MemoryDevice, stampedBytes } from '#engine/block'
import { DiskView } from './disk-view.ts'

const SIZE = 40 * MIB + 512

describe('DiskView', () => {
  it('gives the bytes of its own part, across pages and beyond the cache', async () => {
    const bytes = stampedBytes({ disk: 1, version: 1 }, 0, SIZE)
    const part = DiskView.of(MemoryDevice.from(bytes)).slice(700, SIZE - 700)
    for (const [offset, length] of [
      [0, 3],
      [65_000, 200_000],
      [SIZE - 800, 100],
      [33 * MIB, 9],
      [1, 12],
    ] as const) {
      const expected = bytes.subarray(700 + offset, 700 + offset + length)
      assert.ok((await part.read(offset, length)).equals(expected), `read at ${offset}`)
      assert.ok((await part.readContent(offset, length)).equals(expected), `readContent at ${offset}`)
    }
    for (let offset = 0; offset + 4096 < SIZE; offset += 65_536) await part.read(offset, 16)
    assert.ok((await part.read(0, 512)).equals(bytes.subarray(700, 1212)), 'after its page was dropped')
  })

  it('refuses to read or cut outside itself, even where the disk goes on', async () => {
    const view = DiskView.of(new MemoryDevice(MIB)).slice(4096, 4096)
    for (const [offset, length] of [
      [4095, 2],
      [-1, 1],
      [2 ** 60, 1],
      [Number.NaN, 1],
    ] as const) {
      await assert.rejects(view.read(offset, length), { code: 'files_damaged' })
      await assert.rejects(view.readContent(offset, length), { code: 'files_damaged' })
      assert.throws(() => view.slice(offset, length), { code: 'files_damaged' })
    }
  })

  it('asks the disk again after a read that failed', async () => {
    const bytes = stampedBytes({ disk: 1, version: 1 }, 0, MIB)
    const device = new FaultyBlockDevice(MemoryDevice.from(bytes)).fail('read', new Error('the network went away'))
    const view = DiskView.of(device)
    await assert.rejects(view.read(512, 512), /network/)
    assert.ok((await view.read(512, 512)).equals(bytes.subarray(512, 1024)))
    await view.read(1024, 512)
    assert.equal(device.calls('read'), 2)
  })
})
