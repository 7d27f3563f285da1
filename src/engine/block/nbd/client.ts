/**
 * NbdClient is the disk behind an NBD export: a BlockSource, a BlockTarget where the export allows it, and the reader of
 * its dirty bitmaps. Requests are cut to what the server takes (at most 32 MiB); several connections are used when asked
 * for and when the server says that they see one another's writes (CAN_MULTI_CONN).
 *
 * One dead connection makes the client dead: it does not reconnect, because what an instant's server held may be gone with
 * it. Where the server's smallest block is larger than what is asked, reads go through a bounce buffer, and writes read
 * the blocks at their ends first, one such write at a time, so that two of them in one block cannot undo each other.
 */
import { assert, GIB } from '#base'
import { processPace } from '#runtime'
import { assertInside, type BlockDevice } from '../device.ts'
import { BlockError } from '../errors.ts'
import { appendExtent, type ByteRange, type Extent } from '../extent.ts'
import type { NbdExportInfo } from './client-handshake.ts'
import { describeAddress, type NbdAddress } from './connect.ts'
import type { NbdConnection } from './connection.ts'
import { openConnection, type OpenConnectionOptions } from './open-connection.ts'
import type { RequestInput } from './pending-request.ts'
import { walkStatus } from './status-walk.ts'
import { BASE_ALLOCATION, CMD, FLAG, STATE_HOLE, STATE_ZERO, violation } from './wire.ts'

/** The address, the export and how to talk to it; times in milliseconds (10 s to connect, 60 s a request). */
export type OpenNbdOptions = NbdAddress &
  OpenConnectionOptions &
  Readonly<{
    /** How many connections to use if the server allows several; 1 by default. */
    connections?: number
  }>

const CONNECTIONS_MAX = 16
const PARALLELISM = 16
/** Zeroing carries no payload, so the server's limit on that does not bind it; this keeps one request short. */
const ZERO_BYTES_MAX = GIB
/** Bit 0 of a dirty bitmap's extent (QEMU, docs/interop/nbd.txt). */
const DIRTY = 1

/** @throws BlockError nbd_unreachable, nbd_refused, nbd_export_not_found, nbd_tls_failed, nbd_timed_out, … */
export async function openNbd(options: OpenNbdOptions): Promise<NbdClient> {
  const first = await openConnection(options, options)
  const several = (first.info.flags & FLAG.CAN_MULTI_CONN) !== 0
  const wanted = several ? Math.min(options.connections ?? 1, CONNECTIONS_MAX) : 1
  const connections = [first]
  try {
    while (connections.length < wanted) {
      const next = await openConnection(options, options)
      connections.push(next)
      if (!sameExport(first.info, next.info)) throw violation('The export changed between two connections.')
    }
  } catch (error) {
    await Promise.all(connections.map((connection) => connection.close()))
    throw error
  }
  return new NbdClient(connections, describeAddress(options))
}

function sameExport(a: NbdExportInfo, b: NbdExportInfo): boolean {
  const contexts = [...a.contexts.keys()].every((name) => b.contexts.has(name))
  return a.sizeBytes === b.sizeBytes && a.flags === b.flags && contexts && a.contexts.size === b.contexts.size
}

/** An open export; see the header of this file. Made by `openNbd`. */
export class NbdClient implements BlockDevice {
  readonly sizeBytes: number
  readonly parallelism: number
  /** The server takes no writes on this export. */
  readonly isReadOnly: boolean
  /** Requests that are no multiple of it cost a detour; 1 nearly always. */
  readonly blockBytesMin: number
  /** The meta contexts that the server granted, without base:allocation. */
  readonly metaContexts: readonly string[]
  readonly #connections: readonly NbdConnection[]
  readonly #info: NbdExportInfo
  readonly #address: string
  /** The unaligned write that is under way. */
  #unaligned: Promise<void> = Promise.resolve()

  constructor(connections: readonly NbdConnection[], address: string) {
    const [first] = connections
    assert(first !== undefined, 'A client has a connection')
    this.#connections = connections
    this.#address = address
    this.#info = first.info
    this.sizeBytes = first.info.sizeBytes
    this.isReadOnly = (first.info.flags & FLAG.READ_ONLY) !== 0
    this.blockBytesMin = first.info.blockBytesMin
    this.metaContexts = [...first.info.contexts.keys()].filter((name) => name !== BASE_ALLOCATION)
    this.parallelism = PARALLELISM * connections.length
  }

  async read(offset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    assertInside(this, offset, into.length)
    if (!this.#isAligned(offset, into.length)) return await this.#readBounced(offset, into, signal)
    const turn = processPace.take(into.length, signal)
    if (turn !== undefined) await turn
    await this.#split(into.length, (at, length) =>
      this.#request({
        type: CMD.READ,
        flags: 0,
        offset: offset + at,
        length,
        data: into.subarray(at, at + length),
        signal,
      }),
    )
  }

  async write(offset: number, data: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#assertWritable(offset, data.length)
    if (!this.#isAligned(offset, data.length)) return await this.#writeBounced(offset, data, signal)
    const turn = processPace.take(data.length, signal)
    if (turn !== undefined) await turn
    await this.#split(data.length, (at, length) =>
      this.#request({
        type: CMD.WRITE,
        flags: 0,
        offset: offset + at,
        length,
        data: data.subarray(at, at + length),
        signal,
      }),
    )
  }

  async writeZeroes(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    this.#assertWritable(offset, length)
    if (!this.#isAligned(offset, length)) return await this.#zeroBounced(offset, length, signal)
    if ((this.#info.flags & FLAG.SEND_WRITE_ZEROES) === 0) return await this.#writeZerosOut(offset, length, signal)
    await this.#split(
      length,
      (at, part) => this.#request({ type: CMD.WRITE_ZEROES, flags: 0, offset: offset + at, length: part, signal }),
      ZERO_BYTES_MAX,
    )
  }

  /**
   * Says that the range is not wanted any more; what it reads afterwards is the server's affair. Nothing is sent to a server
   * that takes no discards.
   */
  async discard(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    this.#assertWritable(offset, length)
    if ((this.#info.flags & FLAG.SEND_TRIM) === 0 || !this.#isAligned(offset, length)) return
    await this.#split(
      length,
      (at, part) => this.#request({ type: CMD.TRIM, flags: 0, offset: offset + at, length: part, signal }),
      ZERO_BYTES_MAX,
    )
  }

  async flush(): Promise<void> {
    if (this.isReadOnly || (this.#info.flags & FLAG.SEND_FLUSH) === 0) return
    // CAN_MULTI_CONN: a flush on one connection covers what was completed on all (doc/proto.md).
    await this.#request({ type: CMD.FLUSH, flags: 0, offset: 0, length: 0 })
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    assertInside(this, offset, length)
    const extents: Extent[] = []
    if (!this.#info.contexts.has(BASE_ALLOCATION)) {
      appendExtent(extents, { offset, length, kind: 'data' })
      return extents
    }
    await this.#walk({ context: BASE_ALLOCATION, offset, length, signal }, (range, flags) => {
      const reads = (flags & STATE_ZERO) === 0
      const kind = reads ? 'data' : (flags & STATE_HOLE) === 0 ? 'zero' : 'hole'
      appendExtent(extents, { ...range, kind })
    })
    return extents
  }

  /**
   * The ranges of [offset, offset + length) of which the server says neither that they hold data nor that they read as zeros:
   * QEMU's word for what an image itself does not hold. (`extents` calls them data, for they must be read.)
   */
  async unheld(offset: number, length: number, signal?: AbortSignal): Promise<ByteRange[]> {
    assertInside(this, offset, length)
    if (!this.#info.contexts.has(BASE_ALLOCATION)) return []
    const found: ByteRange[] = []
    await this.#walk({ context: BASE_ALLOCATION, offset, length, signal }, (range, flags) => {
      if (flags === STATE_HOLE) found.push({ ...range })
    })
    return found
  }

  /**
   * The ranges of [offset, offset + length) that are dirty in `context` (`qemu:dirty-bitmap:NAME`), ascending, joined.
   * @throws BlockError nbd_refused when the server did not grant the context at open.
   */
  async dirtyExtents(context: string, offset: number, length: number, signal?: AbortSignal): Promise<ByteRange[]> {
    assertInside(this, offset, length)
    if (!this.#info.contexts.has(context)) {
      const facts = { context, address: this.#address, granted: this.metaContexts }
      throw new BlockError('nbd_refused', `The NBD server does not offer ${context} on this export.`, { facts })
    }
    const dirty: { offset: number; length: number }[] = []
    await this.#walk({ context, offset, length, signal }, (range, flags) => {
      if ((flags & DIRTY) === 0) return
      const last = dirty.at(-1)
      if (last !== undefined && last.offset + last.length === range.offset) last.length += range.length
      else dirty.push({ ...range })
    })
    return dirty
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()))
  }

  async #request(input: RequestInput): Promise<void> {
    await this.#leastBusy().request(input)
  }

  #leastBusy(): NbdConnection {
    for (const connection of this.#connections) if (connection.failure !== undefined) throw connection.failure
    return this.#connections.reduce((best, other) => (other.load < best.load ? other : best))
  }

  /** Runs `act` on pieces of what the server takes at once, all at the same time; the connection bounds them. */
  async #split(
    length: number,
    act: (at: number, length: number) => Promise<void>,
    max = this.#info.payloadBytesMax,
  ): Promise<void> {
    if (length === 0) return
    if (length <= max) return await act(0, length)
    const pieces: Promise<void>[] = []
    for (let at = 0; at < length; at += max) pieces.push(act(at, Math.min(max, length - at)))
    const results = await Promise.allSettled(pieces)
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  /** For servers without NBD_CMD_WRITE_ZEROES. */
  async #writeZerosOut(offset: number, length: number, signal: AbortSignal | undefined): Promise<void> {
    const zeros = new Uint8Array(Math.min(length, this.#info.payloadBytesMax))
    await this.#split(length, (at, part) => this.write(offset + at, zeros.subarray(0, part), signal))
  }

  #assertWritable(offset: number, length: number): void {
    assertInside(this, offset, length)
    if (this.isReadOnly) {
      throw new BlockError('nbd_refused', 'The NBD export is read-only.', { facts: { address: this.#address } })
    }
  }

  #isAligned(offset: number, length: number): boolean {
    return offset % this.blockBytesMin === 0 && length % this.blockBytesMin === 0
  }

  /** The blocks that hold the range. */
  #widen(offset: number, length: number): ByteRange {
    const block = this.blockBytesMin
    const start = offset - (offset % block)
    const end = Math.min(Math.ceil((offset + length) / block) * block, this.sizeBytes)
    return { offset: start, length: end - start }
  }

  async #readBounced(offset: number, into: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const range = this.#widen(offset, into.length)
    const wide = new Uint8Array(range.length)
    await this.read(range.offset, wide, signal)
    into.set(wide.subarray(offset - range.offset, offset - range.offset + into.length))
  }

  #writeBounced(offset: number, data: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const write = async (): Promise<void> => {
      const range = this.#widen(offset, data.length)
      const wide = new Uint8Array(range.length)
      const lastBlock = Math.max(0, range.length - this.blockBytesMin)
      await this.read(range.offset, wide.subarray(0, Math.min(this.blockBytesMin, range.length)), signal)
      if (lastBlock > 0) await this.read(range.offset + lastBlock, wide.subarray(lastBlock), signal)
      wide.set(data, offset - range.offset)
      await this.write(range.offset, wide, signal)
    }
    const done = this.#unaligned.then(write)
    this.#unaligned = done.catch(() => {
      // Whoever asked for that write hears of it; the next one only waits for its end.
    })
    return done
  }

  /** Zeros the whole blocks as such, and the parts at both ends by writing them. */
  async #zeroBounced(offset: number, length: number, signal: AbortSignal | undefined): Promise<void> {
    const block = this.blockBytesMin
    const end = offset + length
    const wholeStart = Math.min(Math.ceil(offset / block) * block, end)
    const wholeEnd = Math.max(wholeStart, end - (end % block))
    if (wholeEnd > wholeStart) await this.writeZeroes(wholeStart, wholeEnd - wholeStart, signal)
    if (wholeStart > offset) await this.#writeBounced(offset, new Uint8Array(wholeStart - offset), signal)
    if (end > wholeEnd) await this.#writeBounced(wholeEnd, new Uint8Array(end - wholeEnd), signal)
  }

  async #walk(
    what: Readonly<{ context: string; offset: number; length: number; signal: AbortSignal | undefined }>,
    visit: (range: ByteRange, flags: number) => void,
  ): Promise<void> {
    await walkStatus({ ...what, connection: () => this.#leastBusy() }, visit)
  }
}
