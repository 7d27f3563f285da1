/**
 * Whether a folder can hold what Holdfast puts there: it is tried, not assumed. A file is written, synced, renamed over
 * another and the folder synced; file systems that cannot do that lose copies at the next power cut.
 */
import { randomBytes } from 'node:crypto'
import { readdir, realpath, rm, stat, statfs } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import { errnoOf, formatBytes, messageOf } from '#base'
import { makeFolderDurable, replaceFile } from '#runtime'
import { ServerError } from '../errors.ts'

export type FolderFacts = Readonly<{
  /** Without links. */
  path: string
  /** Of the file system (stat(2), st_dev): two folders with one number share one device. */
  device: string
  totalBytes: number
  /** What this user may still write. */
  freeBytes: number
}>

/** Folders of one host: this one, or one elsewhere by its worker (src/server/hosts/host-folders.ts). */
export type Folders = Readonly<{
  /** @throws the system's error, or what reaching the host raises */
  facts: (folder: string) => Promise<FolderFacts>
  /** @throws ServerError `place_unusable` */
  prepare: (folder: string, reserveBytes: number) => Promise<FolderFacts>
  real: (path: string) => Promise<string>
  contents: (folder: string) => Promise<string[]>
}>

function unusable(path: string, why: string, cause?: unknown): ServerError {
  return new ServerError('place_unusable', `The folder ${path} cannot be used: ${why}.`, {
    facts: { path },
    hint: 'Give a folder on a local file system (or NFS) that the server’s user may write to.',
    cause,
  })
}

/** @throws the system's error */
export async function folderFacts(folder: string): Promise<FolderFacts> {
  const path = await realpath(folder)
  const [{ dev }, { bsize, blocks, bavail }] = await Promise.all([stat(path), statfs(path)])
  return { path, device: String(dev), totalBytes: blocks * bsize, freeBytes: bavail * bsize }
}

/** Writes, syncs, replaces, reads back the name, removes. Leaves nothing but, after a crash, a `.holdfast-probe-*` file. */
export async function tryFolder(folder: string): Promise<void> {
  const probe = join(folder, `.holdfast-probe-${randomBytes(6).toString('hex')}`)
  try {
    await replaceFile(probe, [Buffer.from('first')])
    await replaceFile(probe, [Buffer.from('second')])
    const { size } = await stat(probe)
    if (size !== 'second'.length) throw new Error('a file that was replaced is not the new one')
  } finally {
    await rm(probe, { force: true })
  }
}

/** Makes the folder where it is missing and tries it. @throws ServerError `place_unusable` */
export async function prepareFolder(folder: string, reserveBytes: number): Promise<FolderFacts> {
  try {
    await makeFolderDurable(folder)
    await tryFolder(folder)
    const facts = await folderFacts(folder)
    if (facts.freeBytes > reserveBytes) return facts
    const [free, reserve] = [facts.freeBytes, reserveBytes].map(formatBytes)
    throw unusable(folder, `${free} are free there, and ${reserve} are to stay free`)
  } catch (error) {
    if (error instanceof ServerError) throw error
    throw unusable(folder, messageOf(error), error)
  }
}

/** The path without links, as far as it is there: a folder that is to be made lies where its nearest parent really is. */
export async function withoutLinks(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || dirname(path) === path) return path
    return join(await withoutLinks(dirname(path)), basename(path))
  }
}

/** Whether one folder is the other or lies in it. */
export function overlap(left: string, right: string): boolean {
  const [a, b] = [left, right].map((path) => (path.endsWith(sep) ? path : `${path}${sep}`)) as [string, string]
  return a.startsWith(b) || b.startsWith(a)
}

/** Names in the folder that are not leftovers of a trial; none when there is no such folder. */
export async function contentsOf(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.holdfast-probe-') && !name.startsWith('.tmp-'))
  } catch {
    return [] // Gone, or not readable any more: nothing of it can be used either way.
  }
}

export const foldersHere: Folders = {
  facts: folderFacts,
  prepare: prepareFolder,
  real: withoutLinks,
  contents: contentsOf,
}
