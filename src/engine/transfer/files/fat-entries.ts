/** The records of a FAT folder: 32 bytes each, long names in records of their own before the one that they belong to. */

export type FatEntry = Readonly<{
  name: string
  isFolder: boolean
  isLabel: boolean
  isReadOnly: boolean
  sizeBytes: number
  /** 0: an empty file. */
  firstCluster: number
  /** The guest's local time taken as UTC. */
  modifiedMs: number
}>

const RECORD_BYTES = 32
const ATTRIBUTE_READ_ONLY = 0x01
const ATTRIBUTE_LABEL = 0x08
const ATTRIBUTE_FOLDER = 0x10
const ATTRIBUTE_LONG_NAME = 0x0f
const LAST_LONG = 0x40
const DELETED = 0xe5
/** Windows NT writes names in lower case without a long name and marks them here. */
const LOWER_BASE = 0x08
const LOWER_EXTENSION = 0x10

/** Code page 437 above 127, as DOS wrote short names. */
const CP437 =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0'

function dosText(bytes: Buffer): string {
  const text = Array.from(bytes, (byte) => (byte < 0x80 ? String.fromCharCode(byte) : (CP437[byte - 0x80] ?? '?')))
  return text.join('').trimEnd()
}

function shortName(record: Buffer): string {
  const bytes = Buffer.from(record.subarray(0, 11))
  if (bytes.readUInt8(0) === 0x05) bytes.writeUInt8(DELETED, 0) // 0x05 stands for a real 0xE5
  const flags = record.readUInt8(12)
  const base = dosText(bytes.subarray(0, 8))
  const extension = dosText(bytes.subarray(8, 11))
  const shownBase = (flags & LOWER_BASE) !== 0 ? base.toLowerCase() : base
  const shownExtension = (flags & LOWER_EXTENSION) !== 0 ? extension.toLowerCase() : extension
  return extension === '' ? shownBase : `${shownBase}.${shownExtension}`
}

function checksumOf(record: Buffer): number {
  let sum = 0
  for (const byte of record.subarray(0, 11)) sum = (((sum & 1) << 7) + (sum >>> 1) + byte) & 0xff
  return sum
}

function timeOf(record: Buffer): number {
  const time = record.readUInt16LE(22)
  const date = record.readUInt16LE(24)
  if (date === 0) return 0
  const day = [1980 + (date >>> 9), ((date >>> 5) & 15) - 1, date & 31] as const
  // oxlint-disable-next-line no-restricted-globals -- arithmetic on the record, not the time of day
  return Date.UTC(...day, time >>> 11, (time >>> 5) & 63, (time & 31) * 2)
}

/** Collects the records of a long name, which come last part first. */
class LongName {
  #parts: string[] = []
  #expected = 0
  #checksum = -1

  add(record: Buffer): void {
    const order = record.readUInt8(0)
    const checksum = record.readUInt8(13)
    if ((order & LAST_LONG) !== 0) {
      this.#parts = []
      this.#expected = order & 0x3f
      this.#checksum = checksum
    }
    const isNext = (order & 0x3f) === this.#expected && checksum === this.#checksum && this.#expected > 0
    if (!isNext) return this.clear()
    const text = Buffer.concat([record.subarray(1, 11), record.subarray(14, 26), record.subarray(28, 32)])
    this.#parts.unshift(text.toString('utf16le'))
    this.#expected -= 1
  }

  /** The name, if it is complete and belongs to this record. */
  take(record: Buffer): string | undefined {
    const isWhole = this.#parts.length > 0 && this.#expected === 0 && this.#checksum === checksumOf(record)
    const name = isWhole ? this.#parts.join('').replace(/\0[\s\S]*$/, '') : undefined
    this.clear()
    return name === '' ? undefined : name
  }

  clear(): void {
    this.#parts = []
    this.#expected = 0
    this.#checksum = -1
  }
}

/** The records in use, `.`, `..` and the volume label among them. */
export function* parseEntries(folder: Buffer): Generator<FatEntry> {
  const longName = new LongName()
  for (let at = 0; at + RECORD_BYTES <= folder.length; at += RECORD_BYTES) {
    const record = folder.subarray(at, at + RECORD_BYTES)
    const first = record.readUInt8(0)
    if (first === 0) return
    const attributes = record.readUInt8(11)
    if (first === DELETED) longName.clear()
    else if ((attributes & 0x3f) === ATTRIBUTE_LONG_NAME) longName.add(record)
    else yield entryOf(record, attributes, longName.take(record))
  }
}

function entryOf(record: Buffer, attributes: number, longName: string | undefined): FatEntry {
  const isLabel = (attributes & ATTRIBUTE_LABEL) !== 0
  return {
    name: isLabel ? dosText(record.subarray(0, 11)) : (longName ?? shortName(record)),
    isFolder: (attributes & ATTRIBUTE_FOLDER) !== 0,
    isLabel,
    isReadOnly: (attributes & ATTRIBUTE_READ_ONLY) !== 0,
    sizeBytes: record.readUInt32LE(28),
    firstCluster: record.readUInt16LE(20) * 65536 + record.readUInt16LE(26),
    modifiedMs: timeOf(record),
  }
}
