/**
 * Files of disks as tasks make them: a draft beside the disk, which gets the disk's name when it is whole and durable.
 *
 * A crash leaves a draft (`.making-<name>-<epoch>`); the next attempt at the same disk removes it, or the sweep.
 */
import { open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '#base'
import { makeFolderDurable, syncFolder } from '#runtime'

export const DRAFT_PREFIX = '.making-'

export async function isThere(file: string): Promise<boolean> {
  try {
    await stat(file)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

/** What earlier attempts at this disk left. */
export async function removeDrafts(file: string): Promise<void> {
  const mine = `${DRAFT_PREFIX}${basename(file)}-`
  for (const name of await readdir(dirname(file)))
    if (name.startsWith(mine)) await rm(join(dirname(file), name), { force: true })
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Lets `fill` write the draft, then gives it the name. Nothing of it is left when that fails. @throws what `fill` raises */
export async function throughDraft<T>(file: string, epoch: number, fill: (draft: string) => Promise<T>): Promise<T> {
  await makeFolderDurable(dirname(file))
  await removeDrafts(file)
  const draft = join(dirname(file), `${DRAFT_PREFIX}${basename(file)}-${epoch}`)
  try {
    const made = await fill(draft)
    await syncFile(draft)
    await rename(draft, file)
    await syncFolder(dirname(file))
    return made
  } catch (error) {
    await removeDrafts(file)
    throw error
  }
}
