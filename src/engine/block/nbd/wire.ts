/**
 * The numbers of the NBD protocol and the fixed-size messages (NetworkBlockDevice/nbd, doc/proto.md). Pure: bytes in,
 * values out. Everything that a peer sends is checked where it is decoded, and what is wrong is a BlockError
 * `nbd_protocol_violation`; lengths are checked against a bound before anything is allocated for them.
 */
import { BlockError } from '../errors.ts'

export const NBD_MAGIC = 0x4e42444d_41474943n
export const OPTION_MAGIC = 0x49484156_454f5054n
export const OPTION_REPLY_MAGIC = 0x0003e889_045565a9n
export const REQUEST_MAGIC = 0x25609513
export const SIMPLE_REPLY_MAGIC = 0x67446698
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef

/** Handshake flags of the server and of the client. */
export const FIXED_NEWSTYLE = 1
export const NO_ZEROES = 2

export const OPT = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const

export const REP = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_POLICY: 0x8000_0002,
  ERR_INVALID: 0x8000_0003,
  ERR_TLS_REQD: 0x8000_0005,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_SHUTDOWN: 0x8000_0007,
  ERR_BLOCK_SIZE_REQD: 0x8000_0008,
  ERR_TOO_BIG: 0x8000_0009,
} as const

export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const

/** Transmission flags. */
export const FLAG = {
  HAS_FLAGS: 1,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
} as const

export const CMD = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const

export const CMD_FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16 } as const

export const REPLY_FLAG_DONE = 1
export const REPLY = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const
export const REPLY_ERROR_BIT = 0x8000

/** Error numbers on the wire; they are Linux errno values whatever the system. */
export const ERRNO = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
}

/** The meta context that every export of ours has, and the bits of its extents. */
export const BASE_ALLOCATION = 'base:allocation'
export const STATE_HOLE = 1
export const STATE_ZERO = 2

export const REQUEST_BYTES = 28
export const SIMPLE_REPLY_BYTES = 16
export const STRUCTURED_REPLY_BYTES = 20
export const READ_CHUNK_HEADER_BYTES = STRUCTURED_REPLY_BYTES + 8
export const OPTION_HEADER_BYTES = 16
export const OPTION_REPLY_HEADER_BYTES = 20

/** The longest string of the protocol (doc/proto.md, "Values"): names, queries, messages. */
export const STRING_BYTES_MAX = 4096
/** Longest option either side sends: one SET_META_CONTEXT with a few dozen queries. */
export const OPTION_BYTES_MAX = 64 * 1024
/** Options a peer may send before it must start; nbdkit's bound is 32, qemu has none. */
export const OPTIONS_MAX = 64
/** Largest payload of one request, the size that every server must accept unless it says otherwise (proto.md). */
export const PAYLOAD_BYTES_MAX = 32 * 1024 * 1024
/** Extents in one BLOCK_STATUS chunk; nbdkit sends up to 1 Mi, qemu 128 Ki. */
export const STATUS_EXTENTS_MAX = 1024 * 1024

export function violation(message: string, facts: BlockError['facts'] = {}): BlockError {
  return new BlockError('nbd_protocol_violation', message, {
    facts,
    retry: 'never',
    hint: 'Check that the address is that of an NBD server, and which one: what it sent cannot be believed, and nothing of it was used.',
  })
}

/** A view of bytes with the readers of Buffer. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A 64-bit number that is exact as a JavaScript number; anything larger becomes Infinity, which fails every range check. */
export function readU64(buffer: Buffer, at: number): number {
  const high = buffer.readUInt32BE(at)
  return high > 0x1f_ffff ? Number.POSITIVE_INFINITY : high * 0x1_0000_0000 + buffer.readUInt32BE(at + 4)
}

export function writeU64(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at)
  buffer.writeUInt32BE(value % 0x1_0000_0000, at + 4)
}

/** cookieHigh and cookieLow are the two halves of the 64-bit cookie, kept apart to stay clear of BigInt. */
export type Request = Readonly<{
  flags: number
  type: number
  cookieHigh: number
  cookieLow: number
  offset: number
  length: number
}>

export function encodeRequest(request: Request): Buffer {
  const buffer = Buffer.allocUnsafe(REQUEST_BYTES)
  buffer.writeUInt32BE(REQUEST_MAGIC, 0)
  buffer.writeUInt16BE(request.flags, 4)
  buffer.writeUInt16BE(request.type, 6)
  buffer.writeUInt32BE(request.cookieHigh, 8)
  buffer.writeUInt32BE(request.cookieLow, 12)
  writeU64(buffer, request.offset, 16)
  buffer.writeUInt32BE(request.length, 24)
  return buffer
}

/** @param buffer at least REQUEST_BYTES. An offset beyond 2^53 comes out as Infinity. */
export function decodeRequest(buffer: Buffer): Request {
  const magic = buffer.readUInt32BE(0)
  if (magic !== REQUEST_MAGIC) throw violation('The client sent a request that does not begin like one.', { magic })
  return {
    flags: buffer.readUInt16BE(4),
    type: buffer.readUInt16BE(6),
    cookieHigh: buffer.readUInt32BE(8),
    cookieLow: buffer.readUInt32BE(12),
    offset: readU64(buffer, 16),
    length: buffer.readUInt32BE(24),
  }
}

type Cookie = Readonly<{ cookieHigh: number; cookieLow: number }>

export function encodeSimpleReply(cookie: Cookie, error: number): Buffer {
  const buffer = Buffer.allocUnsafe(SIMPLE_REPLY_BYTES)
  writeSimpleReply(buffer, 0, cookie, error)
  return buffer
}

export function writeSimpleReply(buffer: Buffer, at: number, cookie: Cookie, error: number): void {
  buffer.writeUInt32BE(SIMPLE_REPLY_MAGIC, at)
  buffer.writeUInt32BE(error, at + 4)
  buffer.writeUInt32BE(cookie.cookieHigh, at + 8)
  buffer.writeUInt32BE(cookie.cookieLow, at + 12)
}

/** The header of the one chunk that carries a whole read: READ_CHUNK_HEADER_BYTES, the payload comes right behind it. */
export function writeReadChunkHeader(buffer: Buffer, at: number, request: Request): void {
  writeChunkHeader(buffer, at, request, REPLY.OFFSET_DATA, REPLY_FLAG_DONE, 8 + request.length)
  writeU64(buffer, request.offset, at + STRUCTURED_REPLY_BYTES)
}

/** The header of a chunk with room for `extraBytes` of its own payload behind it; `length` counts the whole payload. */
export function encodeChunkHeader(cookie: Cookie, type: number, flags: number, length: number, extraBytes = 0): Buffer {
  const buffer = Buffer.allocUnsafe(STRUCTURED_REPLY_BYTES + extraBytes)
  writeChunkHeader(buffer, 0, cookie, type, flags, length)
  return buffer
}

function writeChunkHeader(
  buffer: Buffer,
  at: number,
  cookie: Cookie,
  type: number,
  flags: number,
  length: number,
): void {
  buffer.writeUInt32BE(STRUCTURED_REPLY_MAGIC, at)
  buffer.writeUInt16BE(flags, at + 4)
  buffer.writeUInt16BE(type, at + 6)
  buffer.writeUInt32BE(cookie.cookieHigh, at + 8)
  buffer.writeUInt32BE(cookie.cookieLow, at + 12)
  buffer.writeUInt32BE(length, at + 16)
}

/** A whole ERROR chunk, which ends its reply. */
export function encodeErrorChunk(cookie: Cookie, error: number, message: string): Buffer {
  const text = Buffer.from(message).subarray(0, STRING_BYTES_MAX)
  const buffer = encodeChunkHeader(cookie, REPLY.ERROR, REPLY_FLAG_DONE, 6 + text.length, 6 + text.length)
  buffer.writeUInt32BE(error, STRUCTURED_REPLY_BYTES)
  buffer.writeUInt16BE(text.length, STRUCTURED_REPLY_BYTES + 4)
  text.copy(buffer, STRUCTURED_REPLY_BYTES + 6)
  return buffer
}

export function encodeOption(option: number, data: Uint8Array): Buffer {
  const header = Buffer.allocUnsafe(OPTION_HEADER_BYTES)
  header.writeBigUInt64BE(OPTION_MAGIC, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(data.length, 12)
  return Buffer.concat([header, data])
}

export function encodeOptionReply(option: number, type: number, data: Uint8Array = new Uint8Array(0)): Buffer {
  const header = Buffer.allocUnsafe(OPTION_REPLY_HEADER_BYTES)
  header.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(type, 12)
  header.writeUInt32BE(data.length, 16)
  return Buffer.concat([header, data])
}

/** A string behind its 32-bit length, as option data carries it. */
export function encodeString(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8')
  const buffer = Buffer.allocUnsafe(4 + bytes.length)
  buffer.writeUInt32BE(bytes.length, 0)
  bytes.copy(buffer, 4)
  return buffer
}

export function encodeU32(value: number): Buffer {
  const buffer = Buffer.allocUnsafe(4)
  buffer.writeUInt32BE(value, 0)
  return buffer
}
