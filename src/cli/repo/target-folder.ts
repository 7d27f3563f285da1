/** The folder that a restore writes into: refused before anything is written when it cannot hold what is to come. */
import { link, lstat, open, rename, statfs, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf, formatBytes, messageOf } from '#base'
import type { DiskRecord, PointRecord, Repository } from '#engine/repository'
import { CliError } from '../errors.ts'
import { pointJson } from './point-json.ts'

export type RestoredFile = Readonly<{ path: string; sizeBytes: number; lun?: number }>

/** Left free for the file system's own records, and for others. */
const RESERVE_BYTES = 16 * 1024 * 1024

/** @throws target_folder_invalid */
export async function makeTargetFolder(folder: string): Promise<void> {
  const { makeFolderDurable } = await import('#runtime')
  try {
    await makeFolderDurable(folder)
  } catch (cause) {
    throw new CliError('target_folder_invalid', `The folder ${folder} cannot be made: ${messageOf(cause)}`, {
      facts: { folder },
      cause,
    })
  }
}

/** @throws target_exists */
export async function refuseExisting(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) if (await exists(join(folder, name))) throw await targetExists(join(folder, name))
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

async function targetExists(path: string): Promise<Error> {
  const { BlockError } = await import('#engine/block')
  return new BlockError('target_exists', `The file ${path} exists already.`, {
    facts: { path },
    hint: 'Nothing was written. Choose another folder, or move the file away.',
  })
}

/** What the disks use has to fit; holes take no space. @throws target_full, with how much is missing */
export async function checkFreeSpace(folder: string, disks: readonly DiskRecord[]): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const freeBytes = bavail * bsize
  const neededBytes = disks.reduce((sum, disk) => sum + disk.usedBytes, RESERVE_BYTES)
  if (neededBytes <= freeBytes) return
  const { BlockError } = await import('#engine/block')
  const missing = formatBytes(neededBytes - freeBytes)
  throw new BlockError('target_full', `The disks do not fit into ${folder}: ${missing} are missing.`, {
    facts: { folder, neededBytes, freeBytes, missingBytes: neededBytes - freeBytes },
    hint: 'Nothing was written. Free space there, restore fewer disks (--disk), or choose another folder.',
  })
}

/** Makes the file durable and gives it its name, which must be free. @throws target_exists */
export async function giveName(temporary: string, final: string): Promise<void> {
  const { syncFolder } = await import('#runtime')
  const handle = await open(temporary, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
  try {
    await link(temporary, final)
    await unlink(temporary)
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw await targetExists(final)
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(error) ?? '')) throw error
    // A file system without hard links: the name was free a moment ago, and rename is all there is.
    if (await exists(final)) throw await targetExists(final)
    await rename(temporary, final)
  }
  await syncFolder(dirname(final))
}

/** What is known of the machine, as `show --output json` prints it. */
export async function writeDescription(point: PointRecord, folder: string): Promise<RestoredFile> {
  const { description, writer } = point
  const document = { ...pointJson(point), writer, ...(description === undefined ? {} : { description }) }
  return writeOnce(join(folder, 'machine.json'), Buffer.from(`${JSON.stringify(document, undefined, 2)}\n`))
}

/** The small files that belong to the machine: UEFI variables, TPM state, a seed. */
export async function writeAttachments(
  repository: Repository,
  point: PointRecord,
  folder: string,
): Promise<RestoredFile[]> {
  const { readAttachment } = await import('#engine/transfer')
  const files: RestoredFile[] = []
  for (const attachment of point.attachments) {
    const bytes = await readAttachment(repository, attachment)
    files.push(await writeOnce(join(folder, basename(attachment.name)), bytes))
  }
  return files
}

async function writeOnce(path: string, bytes: Uint8Array): Promise<RestoredFile> {
  const { createFileOnce } = await import('#runtime')
  if ((await createFileOnce(path, [bytes])) === 'exists') throw await targetExists(path)
  return { path, sizeBytes: bytes.length }
}
