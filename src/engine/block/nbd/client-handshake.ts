/**
 * The client's negotiation (doc/proto.md, "Fixed newstyle negotiation"): TLS when asked for, structured replies, meta
 * contexts, then NBD_OPT_GO. Every reply is bounded and checked; a server that does not speak fixed newstyle or knows no
 * NBD_OPT_GO (older than 2017) is refused rather than guessed at.
 */
import { DISK_BYTES_MAX } from '#base'
import { BlockError } from '../errors.ts'
import type { ByteChannel } from './byte-channel.ts'
import { DataCursor } from './data-cursor.ts'
import type { HandshakeReader } from './handshake-reader.ts'
import {
  encodeOption,
  encodeString,
  encodeU32,
  FIXED_NEWSTYLE,
  FLAG,
  INFO,
  NBD_MAGIC,
  NO_ZEROES,
  OPT,
  OPTION_BYTES_MAX,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_BYTES,
  OPTION_REPLY_MAGIC,
  PAYLOAD_BYTES_MAX,
  REP,
  violation,
} from './wire.ts'

/** What the server said of the export. Block sizes in bytes; `contexts` maps a meta context's name to its id. */
export type NbdExportInfo = Readonly<{
  sizeBytes: number
  flags: number
  structured: boolean
  contexts: ReadonlyMap<string, number>
  blockBytesMin: number
  payloadBytesMax: number
}>

/** A server may answer one option with this many replies; more is a flood. */
const REPLIES_MAX = 1024

export class ClientHandshake {
  #channel: ByteChannel
  #reader: HandshakeReader

  constructor(channel: ByteChannel, reader: HandshakeReader) {
    this.#channel = channel
    this.#reader = reader
  }

  /** The greeting of both sides. */
  async greet(): Promise<void> {
    const greeting = await this.#reader.take(18)
    const magics = greeting.readBigUInt64BE(0) === NBD_MAGIC && greeting.readBigUInt64BE(8) === OPTION_MAGIC
    if (!magics) throw violation('The server does not greet as an NBD server does.')
    const flags = greeting.readUInt16BE(16)
    if ((flags & FIXED_NEWSTYLE) === 0) throw violation('The NBD server does not offer fixed newstyle negotiation.')
    this.#channel.send(encodeU32(FIXED_NEWSTYLE | (flags & NO_ZEROES)))
  }

  /** Asks for TLS; afterwards the stream belongs to TLS. @throws BlockError nbd_refused: never goes on in plain text. */
  async startTls(): Promise<void> {
    const accepted = await this.#ask(OPT.STARTTLS, Buffer.alloc(0), 'TLS', () => undefined)
    if (!accepted) throw refused('TLS', REP.ERR_UNSUP, '')
    if (this.#reader.leftover().length > 0) throw violation('The server sent plain bytes where TLS has to begin.')
  }

  /** After TLS: the same conversation on the new channel. */
  moveTo(channel: ByteChannel, reader: HandshakeReader): void {
    this.#channel = channel
    this.#reader = reader
  }

  /** Negotiates everything up to the first request. */
  async enter(exportName: string, metaContexts: readonly string[]): Promise<NbdExportInfo> {
    const structured = await this.#ask(OPT.STRUCTURED_REPLY, Buffer.alloc(0), 'structured replies', () => undefined)
    const contexts = structured ? await this.#setContexts(exportName, metaContexts) : new Map<string, number>()
    const info = await this.#go(exportName)
    return { ...info, structured, contexts }
  }

  async #setContexts(exportName: string, wanted: readonly string[]): Promise<Map<string, number>> {
    const contexts = new Map<string, number>()
    if (wanted.length === 0) return contexts
    const data = Buffer.concat([encodeString(exportName), encodeU32(wanted.length), ...wanted.map(encodeString)])
    const ids = new Set<number>()
    await this.#ask(OPT.SET_META_CONTEXT, data, `the export "${exportName}"`, (type, payload) => {
      if (type !== REP.META_CONTEXT) throw violation('The server answers meta contexts with something else.', { type })
      const cursor = new DataCursor(payload)
      const id = cursor.u32()
      const name = cursor.text()
      if (!wanted.includes(name) || contexts.has(name) || ids.has(id)) {
        throw violation('The server names a meta context that was not asked for, or one twice.', { name, id })
      }
      ids.add(id)
      contexts.set(name, id)
    })
    return contexts
  }

  async #go(exportName: string): Promise<Omit<NbdExportInfo, 'structured' | 'contexts'>> {
    const wish = Buffer.from([0, 1, 0, INFO.BLOCK_SIZE])
    const data = Buffer.concat([encodeString(exportName), wish])
    let found: { sizeBytes: number; flags: number } | undefined
    let sizes = { blockBytesMin: 1, payloadBytesMax: PAYLOAD_BYTES_MAX }
    const known = await this.#ask(OPT.GO, data, `the export "${exportName}"`, (type, payload) => {
      if (type !== REP.INFO) throw violation('The server answers NBD_OPT_GO with something else.', { type })
      const cursor = new DataCursor(payload)
      const info = cursor.u16()
      if (info === INFO.EXPORT) found = readExport(cursor)
      else if (info === INFO.BLOCK_SIZE) sizes = readBlockSizes(cursor)
    })
    if (!known) throw refused('NBD_OPT_GO', REP.ERR_UNSUP, '')
    if (found === undefined) throw violation('The server let us in without telling the size of the export.')
    return { ...found, ...sizes }
  }

  /**
   * Sends an option and hands every reply before the last to `onReply`. Resolves to false when the server does not know
   * the option. @throws BlockError nbd_refused, nbd_export_not_found, nbd_protocol_violation
   */
  async #ask(
    option: number,
    data: Buffer,
    what: string,
    onReply: (type: number, payload: Buffer) => void,
  ): Promise<boolean> {
    this.#channel.send(encodeOption(option, data))
    for (let replies = 0; replies < REPLIES_MAX; replies += 1) {
      const header = await this.#reader.take(OPTION_REPLY_HEADER_BYTES)
      const [answers, type, length] = [header.readUInt32BE(8), header.readUInt32BE(12), header.readUInt32BE(16)]
      if (header.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC || answers !== option) {
        throw violation('The server sent an option reply that does not belong to what was asked.', { option, answers })
      }
      if (length > OPTION_BYTES_MAX) throw violation('The server sent an option reply that is too long.', { length })
      const payload = await this.#reader.take(length)
      if (type === REP.ACK) {
        if (length !== 0) throw violation('The server sent data with an acknowledgement.', { length })
        return true
      }
      if (type === REP.ERR_UNSUP) return false
      if (type >= 0x8000_0000) throw refused(what, type, payload.subarray(0, 500).toString('utf8'))
      onReply(type, payload)
    }
    throw violation('The server answers one option without end.', { option })
  }
}

function readExport(cursor: DataCursor): { sizeBytes: number; flags: number } {
  const high = cursor.u32()
  const sizeBytes = high * 0x1_0000_0000 + cursor.u32()
  const flags = cursor.u16()
  cursor.end()
  if (sizeBytes > DISK_BYTES_MAX) {
    throw new BlockError('image_too_large', 'The NBD export is larger than any disk that Holdfast handles.', {
      facts: { sizeBytes, sizeBytesMax: DISK_BYTES_MAX },
    })
  }
  if ((flags & FLAG.HAS_FLAGS) === 0) throw violation('The server sent transmission flags without their first bit.')
  return { sizeBytes, flags }
}

function readBlockSizes(cursor: DataCursor): { blockBytesMin: number; payloadBytesMax: number } {
  const [min, preferred, max] = [cursor.u32(), cursor.u32(), cursor.u32()]
  cursor.end()
  const powers = [min, preferred].every((size) => size > 0 && Number.isInteger(Math.log2(size)))
  if (!powers || min > 64 * 1024 || preferred < min || max < min) {
    throw violation('The server names block sizes that NBD does not allow.', { min, preferred, max })
  }
  const payloadBytesMax = Math.min(PAYLOAD_BYTES_MAX, max - (max % min))
  return { blockBytesMin: min, payloadBytesMax }
}

const REFUSALS: Readonly<Record<number, string>> = {
  [REP.ERR_UNSUP]: 'the server does not know it',
  [REP.ERR_POLICY]: 'the server forbids it',
  [REP.ERR_INVALID]: 'the server calls the request invalid',
  [REP.ERR_TLS_REQD]: 'the server wants TLS first',
  [REP.ERR_SHUTDOWN]: 'the server is shutting down',
  [REP.ERR_BLOCK_SIZE_REQD]: 'the server wants block sizes to be negotiated',
}

function refused(what: string, type: number, said: string): BlockError {
  if (type === REP.ERR_UNKNOWN) {
    return new BlockError('nbd_export_not_found', `The NBD server has no such thing as ${what}.`, {
      facts: { said },
      hint: 'Name one of its exports: "nbdinfo --list ADDRESS" shows them.',
    })
  }
  return new BlockError('nbd_refused', `The NBD server refused ${what}: ${REFUSALS[type] ?? 'an unknown reason'}.`, {
    facts: { type, said },
    retry: type === REP.ERR_SHUTDOWN ? 'later' : 'never',
  })
}
