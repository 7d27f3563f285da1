/**
 * Takes the records of an XFS log apart into transactions, and these into items of regions. What was logged together may lie
 * in several records, among parts of others; only what was committed comes out.
 *
 * Bounded: what is kept of transactions that did not end is less than the log; a region belongs to exactly one item.
 */
import { damaged } from './disk-view.ts'
import type { LogRecord } from './xfs-log.ts'

/** One logged change: its description first, then what it describes. */
export type LogItem = Readonly<{ type: number; regions: readonly Buffer[] }>
/** `lsn` is where its first part stands. */
export type LogTransaction = Readonly<{ lsn: bigint; items: readonly LogItem[] }>

const FLAG = { start: 0x01, commit: 0x02, continues: 0x04, wasContinued: 0x08, end: 0x10, unmount: 0x20 } as const
const OPERATION_BYTES = 12
const CLIENT_TRANSACTION = 0x69
const HEADER_BYTES = 16
const HEADER_MAGIC = 0x5452_414e
const REGIONS_MAX = 16 * 1024

type OpenItem = { total: number; regions: Buffer[] }

class OpenTransaction {
  readonly lsn: bigint
  readonly #items: OpenItem[] = []
  #header = Buffer.alloc(0)

  constructor(lsn: bigint) {
    this.lsn = lsn
  }

  add(bytes: Buffer): void {
    if (bytes.length === 0) return
    if (this.#header.length < HEADER_BYTES) {
      this.#addHeader(bytes)
      return
    }
    let item = this.#items.at(-1)
    if (item === undefined || item.regions.length === item.total) {
      if (bytes.length < 4) throw damaged('an item of the log is cut off')
      item = { total: bytes.readUInt16LE(2), regions: [] }
      if (item.total === 0 || item.total > REGIONS_MAX) throw damaged('an item of the log has no parts')
      this.#items.push(item)
    }
    item.regions.push(bytes)
  }

  /** More of the region that was begun last. */
  continueWith(bytes: Buffer): void {
    const item = this.#items.at(-1)
    const region = item?.regions.pop()
    if (item === undefined || region === undefined) this.#addHeader(bytes)
    else item.regions.push(Buffer.concat([region, bytes]))
  }

  end(): LogTransaction {
    const items = this.#items.map(({ total, regions }) => {
      if (regions.length !== total) throw damaged('an item of the log is not whole')
      return { type: regions[0]?.readUInt16LE(0) ?? 0, regions }
    })
    return { lsn: this.lsn, items }
  }

  #addHeader(bytes: Buffer): void {
    this.#header = Buffer.concat([this.#header, bytes])
    const isRight = this.#header.length <= HEADER_BYTES && isPrefixOfMagic(this.#header)
    if (!isRight) throw damaged('a transaction of the log does not begin as one')
  }
}

function isPrefixOfMagic(header: Buffer): boolean {
  return header.length < 4 || header.readUInt32LE(0) === HEADER_MAGIC
}

/** The transactions that were committed in these records, in the order in which they were. */
export async function* committed(records: AsyncIterable<LogRecord>): AsyncGenerator<LogTransaction> {
  const open = new Map<number, OpenTransaction>()
  for await (const { lsn, operations, data } of records) {
    let at = 0
    for (let i = 0; i < operations; i += 1) {
      if (at + OPERATION_BYTES > data.length) throw damaged('a record of the log ends too early')
      const [id, length, flags] = [data.readUInt32BE(at), data.readUInt32BE(at + 4), data.readUInt8(at + 9)]
      const isTransaction = data.readUInt8(at + 8) === CLIENT_TRANSACTION
      at += OPERATION_BYTES
      if (at + length > data.length) throw damaged('a record of the log ends too early')
      const bytes = data.subarray(at, at + length)
      at += length
      if (!isTransaction) continue
      const done = step(open, id, flags, bytes, lsn)
      if (done !== undefined) yield done
    }
  }
}

function step(
  open: Map<number, OpenTransaction>,
  id: number,
  flags: number,
  bytes: Buffer,
  lsn: bigint,
): LogTransaction | undefined {
  if ((flags & FLAG.start) !== 0) {
    open.set(id, new OpenTransaction(lsn))
    return undefined
  }
  const transaction = open.get(id)
  if (transaction === undefined) return undefined // begun before the oldest record that is still needed
  if ((flags & FLAG.commit) !== 0) {
    open.delete(id)
    return transaction.end()
  }
  if ((flags & FLAG.wasContinued) !== 0) transaction.continueWith(bytes)
  else transaction.add(bytes)
  return undefined
}
