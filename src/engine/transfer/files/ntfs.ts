/**
 * Reads NTFS without mounting it: the unnamed data of files, folders of any size, links of Windows and of its Linux
 * subsystem. Refused file by file: compressed and encrypted data, and data that lies elsewhere (deduplicated, in a cloud).
 * Not shown: alternate streams, access lists, the file system's own files.
 *
 * The log is not replayed; a volume that was not shut down cleanly is stated as a note.
 */
import { MIB } from '#base'
import { TransferError } from '../errors.ts'
import { type DiskView, damaged, readU64 } from './disk-view.ts'
import { type FileAttributes, type FilePiece, type NodeReader, PIECE_BYTES_MAX } from './file-tree.ts'
import {
  applyFixups,
  type IndexEntry,
  indexEntries,
  type NtfsAttribute,
  type NtfsLayout,
  type NtfsRecord,
  type NtfsRun,
  parseRecord,
  readNtfsLayout,
} from './ntfs-records.ts'

const TABLE_RECORD = 0
const VOLUME_RECORD = 3
const ROOT_RECORD = 5
/** Records below are the file system's own files. */
const FIRST_USER_RECORD = 16

const STANDARD_INFORMATION = 0x10
const ATTRIBUTE_LIST = 0x20
const VOLUME_NAME = 0x60
const VOLUME_INFORMATION = 0x70
const DATA = 0x80
const INDEX_ROOT = 0x90
const INDEX_ALLOCATION = 0xa0
const BITMAP = 0xb0
const REPARSE_POINT = 0xc0

const FOLDER_INDEX = '$I30'
const TAG_LINK = 0xa000000c
const TAG_MOUNT_POINT = 0xa0000003
const TAG_LINUX_LINK = 0xa000001d
const FILE_READ_ONLY = 1
/** NTFS itself keeps lists below 256 KiB. */
const LIST_BYTES_MAX = MIB
/** 100-nanosecond units from 1601 to 1970. */
const EPOCH_1601_MS = 11_644_473_600_000

type Node = Readonly<{ record: number; sequence: number | undefined }>

/** All parts of one attribute put together. */
type Stream = Readonly<{
  sizeBytes: number
  initializedBytes: number
  runs: readonly NtfsRun[]
  value: Buffer | undefined
}>

function joinParts(parts: readonly NtfsAttribute[]): Stream | undefined {
  const [first] = parts
  if (first === undefined) return undefined
  const { content } = first
  if (content.kind === 'resident') {
    const sizeBytes = content.value.length
    return { sizeBytes, initializedBytes: sizeBytes, runs: [], value: content.value }
  }
  const runs = parts
    .flatMap((part) => (part.content.kind === 'runs' ? part.content.runs : []))
    .sort((a, b) => a.start - b.start)
  let end = 0
  for (const run of runs) {
    if (run.start !== end) throw damaged('the parts of a file leave a gap or overlap', { start: run.start })
    end += run.count
  }
  const head = parts.find((part) => part.content.kind === 'runs' && part.content.firstStart === 0)?.content
  if (head?.kind !== 'runs') throw damaged('the first part of a file is missing')
  return { sizeBytes: head.sizeBytes, initializedBytes: head.initializedBytes, runs, value: undefined }
}

function find(record: NtfsRecord, type: number, name = ''): NtfsAttribute[] {
  return record.attributes.filter((attribute) => attribute.type === type && attribute.name === name)
}

function valueOf(record: NtfsRecord, type: number): Buffer | undefined {
  const content = find(record, type)[0]?.content
  return content?.kind === 'resident' ? content.value : undefined
}

/** The target of a link, or that data lies elsewhere; undefined for a plain file or folder. */
function reparseOf(record: NtfsRecord): Readonly<{ target: string | undefined }> | undefined {
  const value = valueOf(record, REPARSE_POINT)
  if (value === undefined) return find(record, REPARSE_POINT).length > 0 ? { target: undefined } : undefined
  if (value.length < 16) return { target: undefined }
  const tag = value.readUInt32LE(0)
  if (tag === TAG_LINUX_LINK) return { target: value.toString('utf8', 12) }
  if (tag !== TAG_LINK && tag !== TAG_MOUNT_POINT) return { target: undefined }
  const pathAt = tag === TAG_LINK ? 20 : 16
  const print = value.readUInt16LE(14) === 0 ? 8 : 12
  const at = pathAt + value.readUInt16LE(print)
  return { target: value.toString('utf16le', at, at + value.readUInt16LE(print + 2)) }
}

function refuse(message: string, record: NtfsRecord): TransferError {
  return new TransferError('files_unsupported', message, {
    facts: { record: record.number },
    hint: 'Boot or restore the whole disk instead.',
  })
}

export class NtfsReader implements NodeReader<Node> {
  readonly root: Node = { record: ROOT_RECORD, sequence: undefined }
  readonly #view: DiskView
  readonly #layout: NtfsLayout
  #table: Stream

  private constructor(view: DiskView, layout: NtfsLayout, table: Stream) {
    this.#view = view
    this.#layout = layout
    this.#table = table
  }

  /** undefined: no NTFS here. */
  static async open(view: DiskView): Promise<NtfsReader | undefined> {
    const layout = await readNtfsLayout(view)
    if (layout === undefined) return undefined
    // The table describes itself in its first record; where that record leads on to others, they lie in its first part.
    const first = parseRecord(TABLE_RECORD, await view.read(layout.tableAt, layout.recordBytes))
    const start = joinParts(find(first, DATA))
    if (start === undefined) throw damaged('the master file table does not describe itself')
    const reader = new NtfsReader(view, layout, start)
    const whole = await reader.#record({ record: TABLE_RECORD, sequence: undefined })
    reader.#table = joinParts(find(whole, DATA)) ?? start
    return reader
  }

  async volume(): Promise<Readonly<{ label: string; isDirty: boolean }>> {
    const record = await this.#record({ record: VOLUME_RECORD, sequence: undefined })
    const information = valueOf(record, VOLUME_INFORMATION)
    const isDirty = information !== undefined && information.length >= 12 && (information.readUInt16LE(10) & 1) !== 0
    return { label: valueOf(record, VOLUME_NAME)?.toString('utf16le') ?? '', isDirty }
  }

  keyOf(node: Node): string {
    return String(node.record)
  }

  async attributes(node: Node): Promise<FileAttributes> {
    const record = await this.#record(node)
    const information = valueOf(record, STANDARD_INFORMATION)
    if (information === undefined || information.length < 36)
      throw damaged('a file has no information', { record: record.number })
    const isReadOnly = (information.readUInt32LE(32) & FILE_READ_ONLY) !== 0
    const target = reparseOf(record)?.target
    const common = {
      mode: (record.isFolder ? 0o755 : 0o644) & (isReadOnly && !record.isFolder ? 0o555 : 0o777),
      userId: 0,
      groupId: 0,
      modifiedMs: Number(information.readBigUInt64LE(8) / 10_000n) - EPOCH_1601_MS,
    }
    if (target !== undefined) return { ...common, kind: 'link', sizeBytes: target.length, linkTarget: target }
    const sizeBytes = record.isFolder ? 0 : (joinParts(find(record, DATA))?.sizeBytes ?? 0)
    return { ...common, kind: record.isFolder ? 'folder' : 'file', sizeBytes }
  }

  async *children(folder: Node): AsyncGenerator<Readonly<{ name: string; node: Node }>> {
    const record = await this.#record(folder)
    for await (const entry of this.#entries(record)) {
      const isShown = !entry.isDosName && entry.record >= FIRST_USER_RECORD
      if (isShown) yield { name: entry.name, node: { record: entry.record, sequence: entry.sequence } }
    }
  }

  async *pieces(file: Node): AsyncGenerator<FilePiece> {
    const record = await this.#record(file)
    if (reparseOf(record) !== undefined)
      throw refuse('The data of the file lies elsewhere (deduplicated or in a cloud).', record)
    const parts = find(record, DATA)
    if (parts.some((part) => part.isEncrypted)) throw refuse('The file is encrypted inside the guest.', record)
    if (parts.some((part) => part.isCompressed))
      throw refuse('The file is compressed by NTFS, which is not read.', record)
    const stream = joinParts(parts)
    if (stream !== undefined) yield* this.#streamPieces(stream)
  }

  async *#streamPieces(stream: Stream): AsyncGenerator<FilePiece> {
    if (stream.value !== undefined) {
      if (stream.value.length > 0) yield { offset: 0, data: stream.value }
      return
    }
    const { clusterBytes } = this.#layout
    const bytes = Math.min(stream.sizeBytes, stream.initializedBytes)
    for (const { start, count, cluster } of stream.runs) {
      if (cluster === undefined) continue
      const end = Math.min((start + count) * clusterBytes, bytes)
      for (let offset = start * clusterBytes; offset < end; offset += PIECE_BYTES_MAX) {
        const at = cluster * clusterBytes + (offset - start * clusterBytes)
        yield { offset, data: await this.#view.readContent(at, Math.min(PIECE_BYTES_MAX, end - offset)) }
      }
    }
  }

  /** A folder's entries: those in its record, and those in the blocks of its index that are in use, in any order. */
  async *#entries(record: NtfsRecord): AsyncGenerator<IndexEntry> {
    const root = find(record, INDEX_ROOT, FOLDER_INDEX)[0]?.content
    if (root?.kind !== 'resident' || root.value.length < 32)
      throw damaged('a folder has no index', { record: record.number })
    yield* indexEntries(root.value.subarray(16))
    const blocks = joinParts(find(record, INDEX_ALLOCATION, FOLDER_INDEX))
    const bitmap = joinParts(find(record, BITMAP, FOLDER_INDEX))
    if (blocks === undefined || bitmap === undefined) return
    const blockBytes = root.value.readUInt32LE(8)
    if (blockBytes < 512 || blockBytes > 65_536 || blockBytes % 512 !== 0)
      throw damaged('a folder has impossible blocks')
    const used = await this.#wholeStream(bitmap)
    for (let i = 0; (i + 1) * blockBytes <= blocks.sizeBytes && i < used.length * 8; i += 1) {
      if (((used.readUInt8(i >>> 3) >>> (i & 7)) & 1) === 0) continue
      const block = await this.#streamBytes(blocks, i * blockBytes, blockBytes)
      applyFixups(block, 'INDX')
      yield* indexEntries(block.subarray(24))
    }
  }

  /** One record with the attributes of the records that extend it. */
  async #record(node: Node): Promise<NtfsRecord> {
    const record = await this.#oneRecord(node.record)
    if (record.baseRecord !== 0) throw damaged('a name leads to a part of a file', { record: node.record })
    if (node.sequence !== undefined && record.sequence !== node.sequence) {
      throw damaged('a name leads to a record that was used again', { record: node.record })
    }
    const list = joinParts(find(record, ATTRIBUTE_LIST))
    if (list === undefined) return record
    const attributes = [...record.attributes]
    for (const number of recordsIn(await this.#wholeStream(list))) {
      if (number === record.number) continue
      const extension = await this.#oneRecord(number)
      if (extension.baseRecord !== record.number) throw damaged('a file claims a part of another', { record: number })
      attributes.push(...extension.attributes)
    }
    return { ...record, attributes }
  }

  async #oneRecord(number: number): Promise<NtfsRecord> {
    const { recordBytes } = this.#layout
    return parseRecord(number, await this.#streamBytes(this.#table, number * recordBytes, recordBytes))
  }

  async #wholeStream(stream: Stream): Promise<Buffer> {
    if (stream.sizeBytes > LIST_BYTES_MAX) throw damaged('a list is impossibly long', { bytes: stream.sizeBytes })
    return stream.value ?? this.#streamBytes(stream, 0, stream.sizeBytes)
  }

  /** Structures in an attribute's runs; holes there are damage. */
  async #streamBytes(stream: Stream, offset: number, length: number): Promise<Buffer> {
    const { clusterBytes } = this.#layout
    if (offset + length > stream.sizeBytes)
      throw damaged('a record is said to lie past the end of its table', { offset })
    const parts: Buffer[] = []
    for (let at = offset; at < offset + length;) {
      const run = runAt(stream.runs, Math.floor(at / clusterBytes))
      if (run?.cluster === undefined) throw damaged('a record lies in a hole', { offset })
      const inRun = at - run.start * clusterBytes
      const bytes = Math.min(run.count * clusterBytes - inRun, offset + length - at)
      parts.push(await this.#view.read(run.cluster * clusterBytes + inRun, bytes))
      at += bytes
    }
    return Buffer.concat(parts)
  }
}

/** The run that holds a cluster of the attribute: by halving, for the table of a large volume has many. */
function runAt(runs: readonly NtfsRun[], cluster: number): NtfsRun | undefined {
  let low = 0
  let high = runs.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const run = runs[middle]
    if (run !== undefined && run.start + run.count <= cluster) low = middle + 1
    else high = middle
  }
  const run = runs[low]
  return run !== undefined && run.start <= cluster ? run : undefined
}

/** The records that an attribute list names. */
function recordsIn(list: Buffer): Set<number> {
  const records = new Set<number>()
  for (let at = 0; at + 26 <= list.length;) {
    const length = list.readUInt16LE(at + 4)
    if (length < 26) throw damaged('a list of attributes is broken', { at })
    records.add(readU64(Buffer.concat([list.subarray(at + 16, at + 22), Buffer.alloc(2)]), 0))
    at += length
  }
  return records
}
