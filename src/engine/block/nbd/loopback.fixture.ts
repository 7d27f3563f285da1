/**
 * Test rig: a client and a server joined in this process, and peers that send what a test wrote down. Streams are shredded
 * into pieces of any size, so that every boundary of a message falls between two reads once.
 */
import { Duplex } from 'node:stream'
import type { ManualClock } from '#base'
import { BufferPool } from './buffer-pool.ts'
import { ByteChannel } from './byte-channel.ts'
import { NbdClient } from './client.ts'
import { openConnection, type OpenConnectionOptions } from './open-connection.ts'
import { serveStream, type ServeStreamOptions } from './serve-stream.ts'
import {
  CMD,
  encodeOption,
  encodeRequest,
  encodeU32,
  FIXED_NEWSTYLE,
  NO_ZEROES,
  OPT,
  SIMPLE_REPLY_BYTES,
} from './wire.ts'

/** One end of a pipe in memory. Bytes are copied, as a kernel does; `shred` bytes at most arrive at once. */
export class PipeEnd extends Duplex {
  other: PipeEnd | undefined
  readonly #shred: () => number
  #waiting: { bytes: Buffer; callback: () => void } | undefined

  constructor(shred: () => number) {
    super({ highWaterMark: 64 * 1024 })
    this.#shred = shred
    this.once('close', () => this.other?.destroy())
  }

  override _read(): void {
    this.other?.pump()
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.#waiting = { bytes: Buffer.from(chunk), callback }
    this.pump()
  }

  override _final(callback: () => void): void {
    this.other?.push(null)
    callback()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#waiting = undefined
    callback(error)
  }

  /** Moves what waits to the other end until that end wants no more. */
  pump(): void {
    let wants = true
    while (this.#waiting !== undefined && wants) {
      const { bytes, callback } = this.#waiting
      const count = Math.min(bytes.length, this.#shred())
      wants = this.other?.push(bytes.subarray(0, count)) ?? false
      if (count < bytes.length) this.#waiting = { bytes: bytes.subarray(count), callback }
      else {
        this.#waiting = undefined
        callback()
      }
    }
  }
}

export function pipe(shred: () => number = () => 65_536): [PipeEnd, PipeEnd] {
  const ends: [PipeEnd, PipeEnd] = [new PipeEnd(shred), new PipeEnd(shred)]
  ends[0].other = ends[1]
  ends[1].other = ends[0]
  return ends
}

/** A client of whatever answers on `stream`. */
export async function clientOn(
  stream: Duplex,
  options: Partial<OpenConnectionOptions> & { exportName?: string } = {},
): Promise<NbdClient> {
  const address = { socketPath: 'in memory' }
  const connection = await openConnection(address, { exportName: '', ...options }, (sink) => ({
    channel: new ByteChannel(stream, sink).readByEvents(),
    connected: Promise.resolve(),
  }))
  return new NbdClient([connection], 'in memory')
}

/** Serves one client on a fresh pipe and gives the client's end. */
export function serverOn(options: ServeStreamOptions, shred?: () => number): Duplex {
  const [near, far] = pipe(shred)
  void serveStream(far, options, { tls: undefined, pool: new BufferPool(1024 * 1024) })
  return near
}

/** Lets everything happen that can happen without time passing. */
export async function settle(turns = 30): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

/**
 * The outcome of `work`, where every wait that lasts is ended by its deadline: the clock is moved on when nothing moves.
 * @throws when it does not end even then: it hangs.
 */
export async function outcomeOf<T>(clock: ManualClock, work: Promise<T>): Promise<{ value: T } | { error: unknown }> {
  const outcomes: ({ value: T } | { error: unknown })[] = []
  work.then(
    (value) => outcomes.push({ value }),
    (error: unknown) => outcomes.push({ error }),
  )
  for (let round = 0; round < 10 && outcomes.length === 0; round += 1) {
    await settle()
    if (outcomes.length === 0) clock.advance(61_000)
  }
  const [outcome] = outcomes
  if (outcome === undefined) throw new Error('It hangs: no deadline ended it.')
  return outcome
}

/** Negotiates without structured replies, then sends `count` reads of one byte at once; counts the replies. */
export async function burstOfReads(stream: Duplex, count: number): Promise<{ replies: () => number }> {
  let received = 0
  stream.on('data', (bytes: Buffer) => (received += bytes.length))
  stream.write(Buffer.concat([encodeU32(FIXED_NEWSTYLE | NO_ZEROES), encodeOption(OPT.EXPORT_NAME, Buffer.alloc(0))]))
  await settle()
  const negotiatedBytes = received
  const request = { flags: 0, type: CMD.READ, cookieHigh: 0, offset: 0, length: 1 }
  stream.write(Buffer.concat(Array.from({ length: count }, (_, i) => encodeRequest({ ...request, cookieLow: i }))))
  await settle()
  return { replies: () => (received - negotiatedBytes) / (SIMPLE_REPLY_BYTES + 1) }
}
