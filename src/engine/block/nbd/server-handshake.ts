/**
 * The server's negotiation (doc/proto.md). A client that breaks the protocol is dropped; one that asks for what is not
 * there gets the error reply that the protocol has for it and may ask on. Bounds: OPTIONS_MAX options of OPTION_BYTES_MAX.
 *
 * With TLS configured nothing but STARTTLS and ABORT is answered in plain text (FORCEDTLS), and bytes that arrive between
 * STARTTLS and its answer are refused: they could not have come from the TLS peer.
 */
import type { ByteChannel } from './byte-channel.ts'
import { DataCursor } from './data-cursor.ts'
import type { NbdExport } from './export.ts'
import type { HandshakeReader } from './handshake-reader.ts'
import {
  BASE_ALLOCATION,
  encodeOptionReply,
  encodeString,
  encodeU32,
  FIXED_NEWSTYLE,
  FLAG,
  INFO,
  NBD_MAGIC,
  NO_ZEROES,
  OPT,
  OPTION_BYTES_MAX,
  OPTION_HEADER_BYTES,
  OPTION_MAGIC,
  OPTIONS_MAX,
  PAYLOAD_BYTES_MAX,
  REP,
  violation,
  writeU64,
} from './wire.ts'

const BLOCK_BYTES_PREFERRED = 64 * 1024

export type ExportLookup = (name: string) => NbdExport | undefined | Promise<NbdExport | undefined>

export type HandshakeOptions = Readonly<{
  exports: ExportLookup
  /** Names that NBD_OPT_LIST tells; without it listing is refused. */
  list?: (() => readonly string[]) | undefined
  /** Turns the stream into TLS; given when TLS is required. */
  startTls?: ((channel: ByteChannel) => Promise<{ channel: ByteChannel; reader: HandshakeReader }>) | undefined
}>

/** What was agreed: the export, its transmission flags, and the ids of the meta contexts by name. */
export type Agreement = Readonly<{
  export: NbdExport
  flags: number
  structured: boolean
  contexts: ReadonlyMap<string, number>
}>

export class ServerHandshake {
  #channel: ByteChannel
  #reader: HandshakeReader
  readonly #options: HandshakeOptions
  #secure = false
  #structured = false
  #noZeroes = false
  #contexts: { exportName: string; ids: ReadonlyMap<string, number> } | undefined

  constructor(channel: ByteChannel, reader: HandshakeReader, options: HandshakeOptions) {
    this.#channel = channel
    this.#reader = reader
    this.#options = options
  }

  get channel(): ByteChannel {
    return this.#channel
  }

  /** What came after the negotiation's last byte. */
  leftover(): Buffer {
    return this.#reader.leftover()
  }

  /** @returns undefined when the client took its leave. @throws BlockError nbd_protocol_violation, nbd_disconnected */
  async run(): Promise<Agreement | undefined> {
    await this.#greet()
    for (let count = 0; count < OPTIONS_MAX; count += 1) {
      const header = await this.#reader.take(OPTION_HEADER_BYTES)
      if (header.readBigUInt64BE(0) !== OPTION_MAGIC) throw violation('The client sent an option that is none.')
      const option = header.readUInt32BE(8)
      const length = header.readUInt32BE(12)
      if (length > OPTION_BYTES_MAX) throw violation('The client sent an option that is too long.', { option, length })
      const data = await this.#reader.take(length)
      if (option === OPT.ABORT) {
        this.#reply(option, REP.ACK)
        return undefined
      }
      const agreement = await this.#answer(option, data)
      if (agreement !== undefined) return agreement
    }
    throw violation('The client negotiates without end.')
  }

  async #greet(): Promise<void> {
    const greeting = Buffer.allocUnsafe(18)
    greeting.writeBigUInt64BE(NBD_MAGIC, 0)
    greeting.writeBigUInt64BE(OPTION_MAGIC, 8)
    greeting.writeUInt16BE(FIXED_NEWSTYLE | NO_ZEROES, 16)
    this.#channel.send(greeting)
    const flags = (await this.#reader.take(4)).readUInt32BE(0)
    if ((flags & FIXED_NEWSTYLE) === 0 || (flags & ~(FIXED_NEWSTYLE | NO_ZEROES)) !== 0) {
      throw violation('The client does not speak fixed newstyle negotiation.', { flags })
    }
    this.#noZeroes = (flags & NO_ZEROES) !== 0
  }

  async #answer(option: number, data: Buffer): Promise<Agreement | undefined> {
    const needsTls = this.#options.startTls !== undefined && !this.#secure
    if (option === OPT.STARTTLS) return await this.#startTls(option, data)
    if (needsTls) {
      if (option === OPT.EXPORT_NAME) throw violation('The client named an export before TLS.')
      return this.#reply(option, REP.ERR_TLS_REQD, 'TLS is required.')
    }
    switch (option) {
      case OPT.EXPORT_NAME:
        return await this.#exportName(data)
      case OPT.STRUCTURED_REPLY:
        if (data.length !== 0) return this.#reply(option, REP.ERR_INVALID, 'This option has no data.')
        this.#structured = true
        return this.#reply(option, REP.ACK)
      case OPT.LIST:
        return this.#list(option, data)
      case OPT.INFO:
      case OPT.GO:
        return await this.#infoOrGo(option, data)
      case OPT.LIST_META_CONTEXT:
      case OPT.SET_META_CONTEXT:
        return await this.#metaContext(option, data)
      default:
        return this.#reply(option, REP.ERR_UNSUP, 'This option is not known here.')
    }
  }

  async #startTls(option: number, data: Buffer): Promise<undefined> {
    const { startTls } = this.#options
    if (startTls === undefined) return this.#reply(option, REP.ERR_POLICY, 'TLS is not offered here.')
    if (data.length !== 0 || this.#secure) return this.#reply(option, REP.ERR_INVALID, 'TLS cannot begin here.')
    if (this.#reader.leftover().length > 0) throw violation('The client sent plain bytes where TLS has to begin.')
    this.#reply(option, REP.ACK)
    const secured = await startTls(this.#channel)
    this.#channel = secured.channel
    this.#reader = secured.reader
    this.#secure = true
    // What was agreed in plain text may have been somebody else's wish (doc/proto.md, "Upgrade from a plain connection").
    this.#structured = false
    this.#contexts = undefined
    return undefined
  }

  async #exportName(data: Buffer): Promise<Agreement> {
    const name = new DataCursor(data).text()
    const found = await this.#options.exports(name)
    if (found === undefined) throw violation('The client asked for an export that is not here.', { exportName: name })
    const agreement = this.#agree(name, found)
    this.#channel.send(Buffer.concat([exportInfo(agreement), Buffer.alloc(this.#noZeroes ? 0 : 124)]))
    return agreement
  }

  #list(option: number, data: Buffer): undefined {
    const names = this.#options.list?.()
    if (names === undefined) return this.#reply(option, REP.ERR_POLICY, 'Exports are not listed here.')
    if (data.length !== 0) return this.#reply(option, REP.ERR_INVALID, 'This option has no data.')
    for (const name of names) this.#channel.send(encodeOptionReply(option, REP.SERVER, encodeString(name)))
    return this.#reply(option, REP.ACK)
  }

  async #infoOrGo(option: number, data: Buffer): Promise<Agreement | undefined> {
    const cursor = new DataCursor(data)
    const name = cursor.string()
    const wanted = new Set(Array.from({ length: cursor.u16() }, () => cursor.u16()))
    cursor.end()
    const found = await this.#options.exports(name)
    if (found === undefined) return this.#reply(option, REP.ERR_UNKNOWN, 'There is no such export.')
    const agreement = this.#agree(name, found)
    const info = (type: number, payload: Buffer): void => {
      const head = Buffer.from([0, type])
      this.#channel.send(encodeOptionReply(option, REP.INFO, Buffer.concat([head, payload])))
    }
    info(INFO.EXPORT, exportInfo(agreement))
    if (wanted.has(INFO.NAME)) info(INFO.NAME, Buffer.from(name))
    if (wanted.has(INFO.DESCRIPTION)) info(INFO.DESCRIPTION, Buffer.from(found.description ?? name))
    const sizes = [1, found.blockBytesPreferred ?? BLOCK_BYTES_PREFERRED, PAYLOAD_BYTES_MAX]
    info(INFO.BLOCK_SIZE, Buffer.concat(sizes.map(encodeU32)))
    this.#reply(option, REP.ACK)
    return option === OPT.GO ? agreement : undefined
  }

  async #metaContext(option: number, data: Buffer): Promise<undefined> {
    if (!this.#structured) return this.#reply(option, REP.ERR_INVALID, 'Structured replies have to be agreed first.')
    const cursor = new DataCursor(data)
    const exportName = cursor.string()
    const queries: string[] = []
    for (let left = cursor.u32(); left > 0; left -= 1) queries.push(cursor.string())
    cursor.end()
    const isList = option === OPT.LIST_META_CONTEXT
    if (!isList) this.#contexts = undefined
    const found = await this.#options.exports(exportName)
    if (found === undefined) return this.#reply(option, REP.ERR_UNKNOWN, 'There is no such export.')
    const names = [BASE_ALLOCATION, ...(found.contexts?.keys() ?? [])]
    const matched = names.filter((name) =>
      isList ? queries.length === 0 || queries.some((query) => lists(query, name)) : queries.includes(name),
    )
    const ids = new Map(matched.map((name) => [name, isList ? 0 : names.indexOf(name) + 1]))
    for (const [name, id] of ids) {
      const payload = Buffer.concat([encodeU32(id), Buffer.from(name)])
      this.#channel.send(encodeOptionReply(option, REP.META_CONTEXT, payload))
    }
    if (!isList) this.#contexts = { exportName, ids }
    return this.#reply(option, REP.ACK)
  }

  #agree(name: string, found: NbdExport): Agreement {
    const contexts = this.#contexts?.exportName === name ? this.#contexts.ids : new Map<string, number>()
    let flags = FLAG.HAS_FLAGS | FLAG.CAN_MULTI_CONN | FLAG.SEND_CACHE | FLAG.SEND_FLUSH
    if (found.target === undefined) flags |= FLAG.READ_ONLY
    else flags |= FLAG.SEND_FUA | FLAG.SEND_TRIM | FLAG.SEND_WRITE_ZEROES
    if (this.#structured) flags |= FLAG.SEND_DF
    return { export: found, flags, structured: this.#structured, contexts }
  }

  #reply(option: number, type: number, message = ''): undefined {
    this.#channel.send(encodeOptionReply(option, type, Buffer.from(message)))
    return undefined
  }
}

/** A query that ends in ":" lists the whole namespace (doc/proto.md, "Metadata querying"). */
function lists(query: string, name: string): boolean {
  return query === name || (query.endsWith(':') && name.startsWith(query))
}

function exportInfo(agreement: Agreement): Buffer {
  const buffer = Buffer.allocUnsafe(10)
  writeU64(buffer, agreement.export.source.sizeBytes, 0)
  buffer.writeUInt16BE(agreement.flags, 8)
  return buffer
}
