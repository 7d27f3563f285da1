/**
 * The folder for cached indexes. One that was named must be usable; where the usual one is not (a home that is read-only, a
 * sandboxed unit), a private one serves, which goes with this process. That costs time, and one thing more: what this user
 * saw of the log before is not known then, so a roll-back of the store would not be noticed. Hence the warning.
 * After kill -9 the private folder is left in the system's temporary folder.
 */
import { rmSync } from 'node:fs'
import { access, constants, mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { messageOf } from '#base'
import { cachesFolder } from '../cache-folder.ts'
import { CliError } from '../errors.ts'

let privateFolder: Promise<string> | undefined

async function makePrivateFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-cache-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function makeUsable(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await access(folder, constants.W_OK)
}

/** @param named by --cache-dir @throws CliError `cache_folder_unusable` */
export async function openCacheFolder(named: string | undefined, warn: (sentence: string) => void): Promise<string> {
  if (privateFolder !== undefined && named === undefined) return privateFolder
  const folder = resolve(named ?? cachesFolder())
  try {
    await makeUsable(folder)
    return folder
  } catch (cause) {
    if (named !== undefined) {
      throw new CliError('cache_folder_unusable', `The cache folder ${folder} cannot be used: ${messageOf(cause)}`, {
        facts: { folder },
        hint: 'Name another with --cache-dir; an empty one on a temporary file system will do.',
        cause,
      })
    }
    privateFolder ??= makePrivateFolder()
    const instead = await privateFolder
    warn(
      `Warning: the cache folder ${folder} cannot be used (${messageOf(cause)}). ${instead} serves until this command ends: ` +
        'indexes are read anew, and a store that went back to an older state is not noticed. Name a folder with --cache-dir.',
    )
    return instead
  }
}
