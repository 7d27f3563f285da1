/**
 * Walks what lies below a path of a guest's file system, parents before children, for those that pack it. The guest is not
 * trusted: a name that is not one plain step is left out, a folder that contains itself ends the walk as damage.
 *
 * What is left out (devices, damaged records, such names) is told with its reason, so that whoever packs can say so.
 */
import { isHoldfastError, messageOf } from '#base'
import { damaged } from './disk-view.ts'
import { checkName, NOT_BROUGHT_OUT, type Skipped } from './extract.ts'
import { type FileEntry, type FileTree, namesOf } from './file-tree.ts'

const DEPTH_MAX = 256

/** `name`: the path in the archive, without a leading slash. */
export type Walked = Readonly<{ path: string; name: string; entry: FileEntry }>

type Walk = Readonly<{ tree: FileTree; skipped: Skipped[]; seen: Set<string>; signal: AbortSignal | undefined }>

function isPlain({ skipped }: Walk, path: string, { name, kind }: FileEntry): boolean {
  try {
    checkName(name)
  } catch (error) {
    if (!isHoldfastError(error, 'files_name_unsafe')) throw error
    skipped.push({ path, reason: messageOf(error) })
    return false
  }
  if (kind !== 'other' && kind !== 'damaged') return true
  skipped.push({ path, reason: NOT_BROUGHT_OUT[kind] })
  return false
}

async function* inFolder(walk: Walk, path: string, prefix: string, depth: number): AsyncGenerator<Walked> {
  const key = await walk.tree.keyOf(path)
  if (depth > DEPTH_MAX || walk.seen.has(key)) throw damaged('a folder contains itself', { depth })
  walk.seen.add(key)
  for (const entry of await walk.tree.list(path)) {
    walk.signal?.throwIfAborted()
    const child = `${path === '/' ? '' : path}/${entry.name}`
    if (!isPlain(walk, child, entry)) continue
    const name = prefix === '' ? entry.name : `${prefix}/${entry.name}`
    yield { path: child, name, entry }
    if (entry.kind === 'folder') yield* inFolder(walk, child, name, depth + 1)
  }
}

async function* oneEntry(walk: Walk, path: string): AsyncGenerator<Walked> {
  const entry = await walk.tree.stat(path)
  if (isPlain(walk, path, entry)) {
    yield { path, name: entry.name, entry }
    if (entry.kind === 'folder') yield* inFolder(walk, path, entry.name, 1)
  }
}

/**
 * The entry at `path` and all below it; of the root, what is in it.
 * @param skipped what was left out is added here @throws TransferError `files_not_found`, `files_damaged`
 */
export async function* walkTree(
  tree: FileTree,
  path: string,
  skipped: Skipped[],
  signal?: AbortSignal,
): AsyncGenerator<Walked> {
  const walk: Walk = { tree, skipped, seen: new Set(), signal }
  const clean = `/${namesOf(path).join('/')}`
  if (clean === '/') yield* inFolder(walk, '/', '', 0)
  else yield* oneEntry(walk, clean)
}
