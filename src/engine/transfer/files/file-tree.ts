/**
 * FileTree is what a user sees of a guest's file system: folders, files, links, by path, read-only.
 *
 * Links are shown and never followed, neither here nor on the host. Names are text where they are valid UTF-8; others are
 * shown with `\xNN` for their bytes and found by that name. The readers (ext.ts, fat.ts, ntfs.ts) know nodes, not paths.
 */
import { isHoldfastError } from '#base'
import { TransferError } from '../errors.ts'
import { damaged } from './disk-view.ts'

/** damaged: the name is there, what it leads to cannot be read. other: a device, a pipe, a socket. */
export type FileKind = 'file' | 'folder' | 'link' | 'other' | 'damaged'

export type FileAttributes = Readonly<{
  kind: FileKind
  sizeBytes: number
  /** Permission bits with set-id and sticky, 0o7777. */
  mode: number
  userId: number
  groupId: number
  /** Milliseconds since the Unix epoch. */
  modifiedMs: number
  /** Only for links. */
  linkTarget?: string
}>
export type FileEntry = FileAttributes & Readonly<{ name: string }>

/** Bytes of a file at `offset`; what lies between pieces reads as zeros. Pieces ascend. */
export type FilePiece = Readonly<{ offset: number; data: Buffer }>

/** One file system's reader. `Node` identifies a file in it. */
export interface NodeReader<Node> {
  readonly root: Node
  attributes(node: Node): Promise<FileAttributes>
  /** Without `.` and `..`. Any order. */
  children(folder: Node): AsyncIterable<Readonly<{ name: string; node: Node }>>
  pieces(file: Node): AsyncIterable<FilePiece>
  /** The same for the same file, different for different ones. */
  keyOf(node: Node): string
}

/** Pieces are read at most so large. */
export const PIECE_BYTES_MAX = 1024 * 1024
/** A folder with more entries is taken for a hostile one. */
const FOLDER_ENTRIES_MAX = 5_000_000
const FOLDERS_KEPT = 16
const ZEROS = Buffer.alloc(PIECE_BYTES_MAX)

/** Text of a name in bytes; see the header. */
export function nameOf(bytes: Buffer): string {
  const text = bytes.toString('utf8')
  if (Buffer.from(text, 'utf8').equals(bytes)) return text
  return Array.from(bytes, (byte) =>
    byte >= 0x20 && byte < 0x7f && byte !== 0x5c
      ? String.fromCharCode(byte)
      : String.raw`\x${byte.toString(16).padStart(2, '0')}`,
  ).join('')
}

/** The names in a path; `.` and empty ones are left out. @throws `files_name_unsafe` for `..`. */
export function namesOf(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) {
    throw new TransferError('files_name_unsafe', `The path ${path} leads upwards.`, { facts: { path } })
  }
  return names
}

export class FileTree<Node = unknown> {
  readonly #reader: NodeReader<Node>
  readonly #folders = new Map<string, ReadonlyMap<string, Node>>()

  constructor(reader: NodeReader<Node>) {
    this.#reader = reader
  }

  async stat(path: string): Promise<FileEntry> {
    const node = await this.#find(path)
    return { name: namesOf(path).at(-1) ?? '/', ...(await this.#reader.attributes(node)) }
  }

  /** The entries of a folder, by name. @throws `files_not_found`, `files_not_a_folder`, `files_damaged`. */
  async list(path: string): Promise<FileEntry[]> {
    const entries: FileEntry[] = []
    for (const [name, node] of await this.#folder(path)) entries.push({ name, ...(await this.#attributesOf(node)) })
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** The file's bytes in order, holes as zeros. */
  async *readFile(path: string): AsyncGenerator<Buffer> {
    const { sizeBytes } = await this.stat(path)
    let at = 0
    for await (const piece of this.readPieces(path)) {
      yield* zeros(piece.offset - at)
      yield piece.data
      at = piece.offset + piece.data.length
    }
    yield* zeros(sizeBytes - at)
  }

  /** The file's data without its holes. Asserted: pieces ascend and lie inside the file. */
  async *readPieces(path: string): AsyncGenerator<FilePiece> {
    const node = await this.#find(path)
    const { kind, sizeBytes } = await this.#reader.attributes(node)
    if (kind !== 'file') throw new TransferError('files_not_a_file', `${path} is a ${kind}.`, { facts: { path, kind } })
    let at = 0
    for await (const piece of this.#reader.pieces(node)) {
      const end = piece.offset + piece.data.length
      if (piece.offset < at || end > sizeBytes) throw damaged('the parts of a file overlap', { at: piece.offset })
      yield piece
      at = end
    }
  }

  /** Identifies the file behind a path: a folder that is met twice in one walk is a damaged (or hostile) one. */
  async keyOf(path: string): Promise<string> {
    return this.#reader.keyOf(await this.#find(path))
  }

  /** One damaged file does not hide its neighbours. */
  async #attributesOf(node: Node): Promise<FileAttributes> {
    try {
      return await this.#reader.attributes(node)
    } catch (error) {
      if (!isHoldfastError(error, 'files_damaged')) throw error
      return { kind: 'damaged', sizeBytes: 0, mode: 0, userId: 0, groupId: 0, modifiedMs: 0 }
    }
  }

  /** What a folder holds, remembered for the folders that were looked at last: the disk does not change. */
  async #folder(path: string): Promise<ReadonlyMap<string, Node>> {
    const names = namesOf(path)
    const key = names.join('/')
    const known = this.#folders.get(key)
    if (known !== undefined) return known
    const folder = await this.#readFolder(await this.#find(path), path)
    this.#folders.set(key, folder)
    const oldest = this.#folders.keys().next().value
    if (this.#folders.size > FOLDERS_KEPT && oldest !== undefined) this.#folders.delete(oldest)
    return folder
  }

  async #readFolder(folder: Node, path: string): Promise<Map<string, Node>> {
    const { kind, linkTarget } = await this.#reader.attributes(folder)
    if (kind !== 'folder') throw notAFolder(path, kind, linkTarget)
    const children = new Map<string, Node>()
    let count = 0
    for await (const { name, node } of this.#reader.children(folder)) {
      count += 1
      if (count > FOLDER_ENTRIES_MAX) throw damaged('a folder does not end', { entries: count })
      if (children.has(name)) throw damaged('a folder holds the same name twice', { name })
      children.set(name, node)
    }
    return children
  }

  async #find(path: string): Promise<Node> {
    const names = namesOf(path)
    const name = names.pop()
    if (name === undefined) return this.#reader.root
    const parent = `/${names.join('/')}`
    const node = (await this.#folder(parent)).get(name)
    if (node !== undefined) return node
    throw new TransferError('files_not_found', `There is no ${name} in ${parent} on this disk.`, {
      facts: { path, parent },
    })
  }
}

function notAFolder(path: string, kind: FileKind, linkTarget: string | undefined): TransferError {
  const hint = linkTarget === undefined ? undefined : `It is a link to ${linkTarget}; ask for that path.`
  return new TransferError('files_not_a_folder', `${path} is not a folder.`, {
    facts: { path, kind, linkTarget },
    hint,
  })
}

function* zeros(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= PIECE_BYTES_MAX) yield ZEROS.subarray(0, Math.min(left, PIECE_BYTES_MAX))
}
