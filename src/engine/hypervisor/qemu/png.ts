/**
 * Turns QEMU's other screenshot format into PNG, for a QEMU that was built without libpng: binary PPM (netpbm ppm(5), "P6",
 * 8 bits a channel) to 8-bit RGB PNG without interlacing (W3C PNG, 2nd edition, sections 5 and 11). Pure over its bytes.
 */
import { crc32, deflateSync } from 'node:zlib'
import { HypervisorError } from '../errors.ts'

export type RgbImage = Readonly<{ widthPx: number; heightPx: number; rgb: Buffer }>

/** Larger than any display QEMU emulates; keeps a lying header from reserving memory. */
const SIDE_PX_MAX = 16_384
export const PNG_SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

function broken(what: string): HypervisorError {
  return new HypervisorError('qmp_protocol_violation', `The screenshot that QEMU wrote is broken: ${what}.`)
}

/** @throws `qmp_protocol_violation` unless it is a whole P6 image. */
export function parsePpm(bytes: Buffer): RgbImage {
  const header = /^P6\s+(?:#[^\n]*\n\s*)*(\d{1,5})\s+(\d{1,5})\s+255\s/.exec(bytes.subarray(0, 256).toString('latin1'))
  if (header === null) throw broken('no P6 header')
  const [widthPx, heightPx] = [Number(header[1]), Number(header[2])]
  if (widthPx < 1 || heightPx < 1 || widthPx > SIDE_PX_MAX || heightPx > SIDE_PX_MAX) throw broken('impossible size')
  const rgb = bytes.subarray(header[0].length)
  if (rgb.length !== widthPx * heightPx * 3) throw broken(`${rgb.length} bytes for ${widthPx} by ${heightPx} pixels`)
  return { widthPx, heightPx, rgb }
}

function chunk(type: string, data: Buffer): Buffer {
  const framed = Buffer.alloc(12 + data.length)
  framed.writeUInt32BE(data.length, 0)
  framed.write(type, 4, 'latin1')
  data.copy(framed, 8)
  framed.writeUInt32BE(crc32(framed.subarray(4, 8 + data.length)), 8 + data.length)
  return framed
}

export function encodePng(image: RgbImage): Buffer {
  const { widthPx, heightPx, rgb } = image
  const header = Buffer.alloc(13)
  header.writeUInt32BE(widthPx, 0)
  header.writeUInt32BE(heightPx, 4)
  header.set([8, 2, 0, 0, 0], 8) // 8 bits, RGB, deflate, adaptive filters, not interlaced
  const stride = widthPx * 3
  const lines = Buffer.alloc((stride + 1) * heightPx) // each line begins with filter type 0
  for (let y = 0; y < heightPx; y += 1) rgb.copy(lines, y * (stride + 1) + 1, y * stride, (y + 1) * stride)
  return Buffer.concat([
    PNG_SIGNATURE,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(lines)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

/** The size that a PNG states in its first chunk. @throws `qmp_protocol_violation` when it is no PNG. */
export function pngSize(png: Buffer): { widthPx: number; heightPx: number } {
  if (png.length < 33 || !png.subarray(0, 8).equals(PNG_SIGNATURE)) throw broken('no PNG signature')
  if (png.toString('latin1', 12, 16) !== 'IHDR') throw broken('no PNG header')
  return { widthPx: png.readUInt32BE(16), heightPx: png.readUInt32BE(20) }
}
