import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { inflateSync } from 'node:zlib'
import { encodePng, parsePpm, pngSize } from './png.ts'

const WIDTH = 5
const HEIGHT = 3
/** Every byte names its place, so that a shifted or swapped pixel shows. */
const RGB = Buffer.from(Array.from({ length: WIDTH * HEIGHT * 3 }, (_, index) => index + 10))
const PPM = Buffer.concat([Buffer.from(`P6\n# QEMU\n${WIDTH} ${HEIGHT}\n255\n`), RGB])

describe('encodePng()', () => {
  it('keeps every pixel of a PPM in its place', () => {
    const png = encodePng(parsePpm(PPM))
    assert.deepEqual(pngSize(png), { widthPx: WIDTH, heightPx: HEIGHT })
    const idat = png.indexOf('IDAT')
    const data = inflateSync(png.subarray(idat + 4, idat + 4 + png.readUInt32BE(idat - 4)))
    const rows = Array.from({ length: HEIGHT }, (_, y) => data.subarray(y * (WIDTH * 3 + 1), (y + 1) * (WIDTH * 3 + 1)))
    assert.ok(rows.every((row) => row[0] === 0))
    assert.deepEqual(Buffer.concat(rows.map((row) => row.subarray(1))), RGB)
    assert.equal(png.toString('hex', png.length - 12), '0000000049454e44ae426082')
  })
})

describe('parsePpm()', () => {
  it('refuses every truncation, a byte too many and an impossible size', () => {
    for (let length = 0; length < PPM.length; length += 1)
      assert.throws(() => parsePpm(PPM.subarray(0, length)), { code: 'qmp_protocol_violation' })
    assert.throws(() => parsePpm(Buffer.concat([PPM, Buffer.of(1)])), { code: 'qmp_protocol_violation' })
    assert.throws(() => parsePpm(Buffer.from('P6\n99999 99999\n255\n')), { code: 'qmp_protocol_violation' })
  })
})
