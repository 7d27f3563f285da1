import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MIB, TIB } from '#base'
import { makeFixedVhdFooter, readVhdFooter } from './vhd-footer.ts'

const ID = Uint8Array.from({ length: 16 }, (_, i) => i + 1)
/** 2026-11-22 15:00:00 UTC. */
const NOW_MS = 1_795_359_600_000

describe('a fixed VHD footer', () => {
  it('lies as the specification lays it out', () => {
    const footer = makeFixedVhdFooter(100 * MIB, ID, NOW_MS)
    assert.equal(footer.length, 512)
    assert.equal(footer.toString('latin1', 0, 8), 'conectix')
    assert.equal(footer.toString('hex', 8, 24), '0000000200010000ffffffffffffffff')
    assert.equal(footer.readUInt32BE(24), NOW_MS / 1000 - 946_684_800)
    assert.equal(footer.readBigUInt64BE(40), 104_857_600n)
    assert.equal(footer.readBigUInt64BE(48), 104_857_600n)
    assert.equal(footer.readUInt32BE(60), 2)
    assert.deepEqual(Uint8Array.from(footer.subarray(68, 84)), ID)
    assert.ok(footer.subarray(84).every((byte) => byte === 0))
  })

  it('has the cylinders, heads and sectors of the specification', () => {
    // From the specification's algorithm by hand: 204800 sectors / 17 / 12 heads; large disks end at 65535/16/255.
    const geometry = (sizeBytes: number): string => makeFixedVhdFooter(sizeBytes, ID, NOW_MS).toString('hex', 56, 60)
    assert.equal(geometry(100 * MIB), '03eb0c11')
    assert.equal(geometry(4 * TIB), 'ffff10ff')
  })

  it('reads back as what was made, of the exact size', () => {
    for (const sizeBytes of [512, 3 * MIB + 512, 4 * TIB]) {
      const footer = readVhdFooter('disk.vhd', makeFixedVhdFooter(sizeBytes, ID, NOW_MS))
      assert.deepEqual(footer, { kind: 'fixed', virtualSizeBytes: sizeBytes })
    }
  })

  it('is refused with any byte changed, or when it is a differencing disk', () => {
    const good = makeFixedVhdFooter(MIB, ID, NOW_MS)
    for (let at = 0; at < 512; at += 1) {
      const bad = Buffer.from(good)
      bad[at] = (bad[at] ?? 0) ^ 0x10
      assert.throws(() => readVhdFooter('disk.vhd', bad), { code: 'image_invalid' }, `byte ${at}`)
    }
    const differencing = Buffer.from(good)
    differencing.writeUInt32BE(4, 60)
    differencing.writeUInt32BE(differencing.readUInt32BE(64) - 2, 64)
    assert.throws(() => readVhdFooter('disk.vhd', differencing), { code: 'image_backing_refused' })
  })
})
