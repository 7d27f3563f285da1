/**
 * Fixed VHDs over signed URLs, as a client of Azure writes and reads them: pages of at most 4 MiB in any order, ranges, and a
 * whole download that is held against what should be there, byte for byte. The footer is made and read here, not by our own
 * code. Source: Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format"; Azure "Put Page", "Get Blob".
 */
import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { MIB, SECTOR_BYTES } from '#base'

const PAGES_BYTES_MAX = 4 * MIB
const FOOTER_BYTES = 512
const STORAGE_VERSION = '2024-08-04'

export type Piece = Readonly<{ offset: number; data: Buffer }>
/** Zeros where no piece is. */
export type SparseDisk = Readonly<{ sizeBytes: number; pieces: readonly Piece[] }>

type Sent = Readonly<{ method: string; ca: string; headers?: Readonly<Record<string, string>>; body?: Buffer }>

function send(url: string, { method, ca, headers = {}, body }: Sent): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const length = { 'content-length': String(body?.length ?? 0) }
    const sent = request(
      url,
      { method, ca, headers: { 'x-ms-version': STORAGE_VERSION, ...headers, ...length } },
      resolve,
    )
    sent.on('error', reject)
    sent.end(body)
  })
}

async function bytesOf(response: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of response as AsyncIterable<Buffer>) parts.push(part)
  return Buffer.concat(parts)
}

/** The checksum field counts as zeros. */
function checksumOf(footer: Buffer): number {
  let sum = 0
  for (const [i, byte] of footer.entries()) if (i < 64 || i >= 68) sum += byte
  return ~sum >>> 0
}

export function vhdFooter(sizeBytes: number): Buffer {
  const footer = Buffer.alloc(FOOTER_BYTES)
  footer.write('conectix', 0, 'latin1')
  footer.writeUInt32BE(2, 8)
  footer.writeUInt32BE(0x10000, 12)
  footer.fill(0xff, 16, 24) // a fixed disk has nothing else
  footer.write('test', 28, 'latin1')
  footer.writeUInt32BE(0x10000, 32)
  footer.write('Wi2k', 36, 'latin1')
  footer.writeBigUInt64BE(BigInt(sizeBytes), 40)
  footer.writeBigUInt64BE(BigInt(sizeBytes), 48)
  const sectors = Math.min(sizeBytes / SECTOR_BYTES, 65535 * 16 * 255)
  footer.writeUInt16BE(Math.min(65535, Math.floor(sectors / (16 * 63))), 56)
  footer.writeUInt8(16, 58)
  footer.writeUInt8(63, 59)
  footer.writeUInt32BE(2, 60)
  footer.fill(0x5a, 68, 84)
  footer.writeUInt32BE(checksumOf(footer), 64)
  return footer
}

function bytesAt({ pieces }: SparseDisk, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (const { offset, data } of pieces) {
    const [start, end] = [Math.max(from, offset), Math.min(from + length, offset + data.length)]
    if (start < end) data.copy(bytes, start - from, start - offset, end - offset)
  }
  return bytes
}

/** Writes the pieces and the footer; what is not written is zeros. */
export async function uploadVhd(url: string, ca: string, disk: SparseDisk): Promise<void> {
  const pieces = [...disk.pieces, { offset: disk.sizeBytes, data: vhdFooter(disk.sizeBytes) }].reverse()
  for (const { offset, data } of pieces)
    for (let at = 0; at < data.length; at += PAGES_BYTES_MAX) {
      const body = data.subarray(at, at + PAGES_BYTES_MAX)
      const range = `bytes=${offset + at}-${offset + at + body.length - 1}`
      const headers = { 'x-ms-page-write': 'update', 'x-ms-range': range }
      const response = await send(`${url}&comp=page`, { method: 'PUT', ca, headers, body })
      const said = await bytesOf(response)
      assert.equal(response.statusCode, 201, said.toString())
    }
}

/** Reads it whole: the disk's bytes as they should be, zeros after them, and a footer that says its size. */
export async function assertVhd(url: string, ca: string, disk: SparseDisk, vhdDiskBytes: number): Promise<void> {
  const response = await send(url, { method: 'GET', ca })
  assert.equal(response.statusCode, 200)
  assert.equal(Number(response.headers['content-length']), vhdDiskBytes + FOOTER_BYTES)
  const footer: Buffer[] = []
  let at = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    const inDisk = part.subarray(0, Math.max(0, vhdDiskBytes - at))
    if (!inDisk.equals(bytesAt(disk, at, inDisk.length))) assert.fail(`bytes differ from ${at} on`)
    footer.push(part.subarray(inDisk.length))
    at += part.length
  }
  assert.equal(at, vhdDiskBytes + FOOTER_BYTES)
  assertFooter(Buffer.concat(footer), vhdDiskBytes)
}

function assertFooter(footer: Buffer, diskBytes: number): void {
  assert.equal(footer.subarray(0, 8).toString('latin1'), 'conectix')
  assert.equal(Number(footer.readBigUInt64BE(48)), diskBytes)
  assert.equal(footer.readUInt32BE(60), 2, 'a fixed disk')
  assert.equal(footer.readUInt32BE(64), checksumOf(footer))
}

/** Reads [from, from + length) by a range. */
export async function assertRange(
  url: string,
  ca: string,
  disk: SparseDisk,
  from: number,
  length: number,
): Promise<void> {
  const response = await send(url, {
    method: 'GET',
    ca,
    headers: { 'x-ms-range': `bytes=${from}-${from + length - 1}` },
  })
  const bytes = await bytesOf(response)
  assert.equal(response.statusCode, 206)
  assert.ok(bytes.equals(bytesAt(disk, from, length)), `bytes differ from ${from} on`)
}

/** A signed URL that must not be heeded any more. */
export async function assertRefused(url: string, ca: string): Promise<void> {
  const response = await send(url, { method: 'GET', ca })
  await bytesOf(response)
  assert.equal(response.statusCode, 403)
}
