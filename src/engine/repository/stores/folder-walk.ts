/**
 * Walks a store's folder in the byte order of keys: a folder sorts as its name with a slash, because that is what its
 * keys begin with. Holds one folder's names at a time; repositories fan out, so that is some thousands.
 */
import type { Dirent } from 'node:fs'
import { lstat, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '#base'
import type { BlobInfo, BlobKey } from '../blob-store.ts'
import { StoreError } from '../errors.ts'
import { isKeySegment } from './blob-rules.ts'

const LSTATS_AT_ONCE = 32
const TEMPORARY = /^\.tmp-[0-9a-f]{16}$/

/** Objects below `root` in ascending order of key; files that cannot be objects by their name are passed over. */
export async function* listFolder(root: string, prefix: string, after?: BlobKey): AsyncGenerator<BlobInfo> {
  const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1)
  const entries = await entriesOf(root, folder, true)
  if (entries !== undefined) yield* walk(root, entries, prefix, after)
}

type Entry = Readonly<{ key: string; dirent: Dirent }>

async function* walk(
  root: string,
  entries: readonly Entry[],
  prefix: string,
  after: BlobKey | undefined,
): AsyncGenerator<BlobInfo> {
  const wanted = entries.filter(({ key, dirent }) =>
    dirent.isDirectory()
      ? (key.startsWith(prefix) || prefix.startsWith(key)) &&
        (after === undefined || key > after || after.startsWith(key))
      : key.startsWith(prefix) && (after === undefined || key > after),
  )
  for (let i = 0; i < wanted.length; i += LSTATS_AT_ONCE) {
    const batch = wanted.slice(i, i + LSTATS_AT_ONCE)
    const infos = await Promise.all(batch.map((entry) => infoOf(root, entry)))
    for (const [at, entry] of batch.entries()) {
      const info = infos[at]
      if (info !== undefined) yield info
      if (!entry.dirent.isDirectory()) continue
      const below = await entriesOf(root, entry.key, false)
      if (below !== undefined) yield* walk(root, below, prefix, after)
    }
  }
}

/** Undefined for folders, and for files deleted since the folder was read. */
async function infoOf(root: string, { key, dirent }: Entry): Promise<BlobInfo | undefined> {
  if (dirent.isDirectory()) return undefined
  if (!dirent.isFile()) throw notAFile(root, key)
  try {
    return { key, sizeBytes: (await lstat(join(root, key))).size }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Sorted entries of one folder of keys; undefined when `mayMiss` and there is no such folder. Folders are never removed. */
async function entriesOf(root: string, folder: string, mayMiss: boolean): Promise<Entry[] | undefined> {
  let dirents: Dirent[]
  try {
    dirents = await readdir(join(root, folder), { withFileTypes: true })
  } catch (error) {
    if (mayMiss && ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
  return dirents
    .filter((dirent) => isKeySegment(dirent.name))
    .map((dirent) => ({ key: folder + dirent.name + (dirent.isDirectory() ? '/' : ''), dirent }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
}

function notAFile(root: string, key: string): StoreError {
  return new StoreError('store_location_invalid', `${join(root, key)} is neither a file nor a folder.`, {
    facts: { location: root, key },
    hint: 'Symbolic links inside a store are not followed. Put the thing itself there, or use a bind mount.',
  })
}

/** Removes temporary files last modified before `beforeMs`, whatever folder they are in; gives their number. */
export async function sweepFolder(root: string, beforeMs: number): Promise<number> {
  let removed = 0
  for (const dirent of await readdir(root, { withFileTypes: true, recursive: true })) {
    if (!dirent.isFile() || !TEMPORARY.test(dirent.name)) continue
    const path = join(dirent.parentPath, dirent.name)
    try {
      if ((await lstat(path)).mtimeMs >= beforeMs) continue
      await unlink(path)
      removed += 1
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error // its writer, or another sweep, was faster
    }
  }
  return removed
}
