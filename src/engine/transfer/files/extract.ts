/**
 * Brings files and folders out of a guest's file system into a folder of the host. The guest is not trusted:
 *
 *   - Everything is created new (O_EXCL, mkdir, symlink): nothing that exists is opened, followed or replaced, so a link that
 *     the guest planted can never lead a later write out of the target.
 *   - Names that are not one plain step (`..`, with `/` or a zero byte, empty, too long) are refused.
 *   - Set-id bits are dropped unless asked for; device nodes, pipes and sockets are never made.
 *   - Folders that contain themselves, and more data than the disk could hold, end the work as damage.
 *
 * What could not be brought out is in `skipped`, each with its reason; the rest is still done. A crash leaves what was brought
 * out so far; folders have mode 0700 until they are complete. Hard links become separate files; extended attributes are lost.
 */
import { constants } from 'node:fs'
import { type FileHandle, lchown, lutimes, mkdir, open, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { assert, errnoOf, isHoldfastError, messageOf, type ProgressSink, silentProgress } from '#base'
import { TransferError } from '../errors.ts'
import { damaged } from './disk-view.ts'
import { type FileEntry, type FileTree, namesOf } from './file-tree.ts'

export type ExtractOptions = Readonly<{
  /** An existing folder in which nobody else may write; the file or folder is created in it under its own name. The root's content goes into it directly. */
  targetFolder: string
  /** Give the files to the numeric owners that they had in the guest. Needs root; default: when running as root. */
  restoresOwners?: boolean
  /** Keep set-user-id and set-group-id bits: only for a target that no user of this host can run programs from. */
  keepsSetId?: boolean
  /** What the file system could hold; more data than twice that is damage. */
  fileSystemBytes: number
  progress?: ProgressSink
  signal?: AbortSignal
}>
export type Skipped = Readonly<{ path: string; reason: string }>
export type Extracted = Readonly<{
  files: number
  folders: number
  links: number
  bytes: number
  skipped: readonly Skipped[]
}>

const NAME_BYTES_MAX = 255
const DEPTH_MAX = 256
const SET_ID_BITS = 0o6000
export const NOT_BROUGHT_OUT = {
  damaged: 'Its record on the disk is damaged.',
  other: 'It is a device, a pipe or a socket.',
} as const
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

/** @throws `files_name_unsafe` unless the name is one plain step. */
export function checkName(name: string): void {
  const isPlain =
    name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name) && Buffer.byteLength(name) <= NAME_BYTES_MAX
  if (isPlain) return
  throw new TransferError('files_name_unsafe', 'The name cannot be a file name on this host.', { facts: { name } })
}

async function writeAll(file: FileHandle, data: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < data.length;) {
    const { bytesWritten } = await file.write(data, done, data.length - done, offset + done)
    assert(bytesWritten > 0, 'A write that does not fail writes')
    done += bytesWritten
  }
}

class Extraction {
  readonly #tree: FileTree
  readonly #options: ExtractOptions
  readonly #restoresOwners: boolean
  readonly #foldersSeen = new Set<string>()
  readonly #skipped: Skipped[] = []
  #files = 0
  #folders = 0
  #links = 0
  #bytes = 0

  constructor(tree: FileTree, options: ExtractOptions) {
    this.#tree = tree
    this.#options = options
    this.#restoresOwners = options.restoresOwners ?? process.getuid?.() === 0
  }

  get result(): Extracted {
    const counts = { files: this.#files, folders: this.#folders, links: this.#links, bytes: this.#bytes }
    return { ...counts, skipped: this.#skipped }
  }

  /** Brings out one entry; what belongs to that entry alone is noted as skipped. */
  async entry(path: string, entry: FileEntry, folder: string, depth: number): Promise<void> {
    this.#options.signal?.throwIfAborted()
    try {
      checkName(entry.name)
      await this.#create(path, entry, join(folder, entry.name), depth)
    } catch (error) {
      if (!isHoldfastError(error, 'files_name_unsafe', 'files_target_exists', 'files_unsupported')) throw error
      this.#skipped.push({ path, reason: messageOf(error) })
    }
  }

  /** What is in a folder, into an existing folder of the host. */
  async content(path: string, folder: string, depth: number): Promise<void> {
    const key = await this.#tree.keyOf(path)
    if (depth > DEPTH_MAX || this.#foldersSeen.has(key)) throw damaged('a folder contains itself', { depth })
    this.#foldersSeen.add(key)
    for (const entry of await this.#tree.list(path)) {
      await this.entry(`${path === '/' ? '' : path}/${entry.name}`, entry, folder, depth)
    }
  }

  async #create(path: string, entry: FileEntry, target: string, depth: number): Promise<void> {
    try {
      if (entry.kind === 'folder') await this.#createFolder(path, entry, target, depth)
      else if (entry.kind === 'link') await this.#createLink(entry, target)
      else if (entry.kind === 'file') await this.#createFile(path, entry, target)
      else this.#skipped.push({ path, reason: NOT_BROUGHT_OUT[entry.kind] })
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
      throw new TransferError('files_target_exists', `${target} exists already; nothing is replaced.`, { cause: error })
    }
  }

  async #createFolder(path: string, entry: FileEntry, target: string, depth: number): Promise<void> {
    await mkdir(target, { mode: 0o700 })
    this.#folders += 1
    await this.content(path, target, depth + 1)
    const folder = await open(target, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
    try {
      await this.#attributes(folder, entry)
    } finally {
      await folder.close()
    }
  }

  async #createLink(entry: FileEntry, target: string): Promise<void> {
    await symlink(entry.linkTarget ?? '', target)
    this.#links += 1
    if (this.#restoresOwners) await lchown(target, entry.userId, entry.groupId)
    await lutimes(target, entry.modifiedMs / 1000, entry.modifiedMs / 1000)
  }

  async #createFile(path: string, entry: FileEntry, target: string): Promise<void> {
    const file = await open(target, NEW_FILE, 0o600)
    try {
      for await (const piece of this.#tree.readPieces(path)) {
        this.#count(piece.data.length, path)
        await writeAll(file, piece.data, piece.offset)
      }
      await file.truncate(entry.sizeBytes)
      await this.#attributes(file, entry)
      await file.sync()
    } finally {
      await file.close()
    }
    this.#files += 1
  }

  /** Last of all, and owner before mode: a change of owner clears set-id bits. */
  async #attributes(made: FileHandle, entry: FileEntry): Promise<void> {
    if (this.#restoresOwners) await made.chown(entry.userId, entry.groupId)
    await made.chmod(this.#options.keepsSetId === true ? entry.mode : entry.mode & ~SET_ID_BITS)
    await made.utimes(entry.modifiedMs / 1000, entry.modifiedMs / 1000)
  }

  #count(bytes: number, path: string): void {
    this.#bytes += bytes
    if (this.#bytes > 2 * this.#options.fileSystemBytes) throw damaged('there is more data than the disk can hold')
    this.#options.signal?.throwIfAborted()
    const progress = this.#options.progress ?? silentProgress
    progress({ task: `Copying ${path}`, doneBytes: this.#bytes, totalBytes: 0 })
  }
}

/**
 * Copies the file, link or folder (with all that is in it) at `path` into `options.targetFolder`.
 * @throws TransferError `files_not_found`, `files_damaged`; BlockError; a system error when the host cannot write
 */
export async function extractFiles(tree: FileTree, path: string, options: ExtractOptions): Promise<Extracted> {
  const extraction = new Extraction(tree, options)
  const clean = `/${namesOf(path).join('/')}`
  if (clean === '/') await extraction.content('/', options.targetFolder, 0)
  else await extraction.entry(clean, await tree.stat(clean), options.targetFolder, 0)
  return extraction.result
}
