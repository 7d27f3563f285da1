/**
 * Makes and inspects the image files of a machine's disks, through qemu-img. Formats are always named: probing would let a
 * guest that writes a qcow2 header into its raw disk choose a backing file of the host.
 *
 * A new image gets a name of its own (the disk's id) and is synced; a crash leaves at most an image of no machine.
 */
import { open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DISK_BYTES_MAX, errnoOf, SECTOR_BYTES } from '#base'
import { checkCommand, syncFolder } from '#runtime'
import type { BackingImage, DiskSource } from '../driver.ts'
import { HypervisorError } from '../errors.ts'
import { isObject, textOr } from '../qmp/shape.ts'
import { SOCKET_PATH_BYTES_MAX } from './machine-paths.ts'
import { isAbsolutePath } from './validate.ts'

/** `backing`: another file that the image's header names, for its backing or its data. */
export type ImageInfo = Readonly<{ sizeBytes: number; backing: string | undefined }>

function unsupported(message: string, facts: Record<string, string | number> = {}): HypervisorError {
  return new HypervisorError('disk_unsupported', message, { facts })
}

/** @throws `disk_unsupported` unless it is a positive whole number of sectors within DISK_BYTES_MAX. */
export function requireDiskSize(sizeBytes: number): void {
  const isUsable = Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes <= DISK_BYTES_MAX
  if (isUsable && sizeBytes % SECTOR_BYTES === 0) return
  throw unsupported(`A disk cannot have ${sizeBytes} bytes: whole 512-byte sectors, at most 64 TiB.`, { sizeBytes })
}

function requirePath(path: string): void {
  if (!isAbsolutePath(path)) throw unsupported(`The path ${JSON.stringify(path.slice(0, 200))} is not absolute.`)
}

/** @throws `disk_unsupported` for a file that is not an image of that format. Takes no lock, so it may be in use. */
export async function inspectImage(path: string, format: 'qcow2' | 'raw'): Promise<ImageInfo> {
  requirePath(path)
  const { stdout } = await checkCommand('qemu-img', ['info', '-U', '--output=json', '-f', format, path])
  const info: unknown = JSON.parse(stdout.toString('utf8'))
  if (!isObject(info) || typeof info['virtual-size'] !== 'number') throw unsupported(`${path} is no ${format} image.`)
  const specific = isObject(info['format-specific']) ? info['format-specific']['data'] : undefined
  // A qcow2 may keep its data in another file ("data-file"), which is as much of the host's as a backing file.
  const dataFile = isObject(specific) ? textOr(specific['data-file'], '') : ''
  const backing = textOr(info['backing-filename'], dataFile)
  return { sizeBytes: info['virtual-size'], backing: backing === '' ? undefined : backing }
}

/** QEMU keeps trying to reach the server for as long; more than an hour of hanging reads helps no guest. */
const RECONNECT_SECONDS_MAX = 3_600
/** NBD_MAX_STRING_SIZE of the protocol. */
const EXPORT_NAME_BYTES_MAX = 4_096

function requireBacking(backing: BackingImage): void {
  if (backing.kind === 'image') return requirePath(backing.path)
  requirePath(backing.socketPath)
  const { reconnectDelaySeconds: delay, exportName, socketPath } = backing
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX)
    throw unsupported(`${socketPath} is too long for a socket.`)
  if (!Number.isInteger(delay) || delay < 0 || delay > RECONNECT_SECONDS_MAX)
    throw unsupported(`A delay of ${delay} s is not between 0 and ${RECONNECT_SECONDS_MAX}.`)
  if (Buffer.byteLength(exportName) > EXPORT_NAME_BYTES_MAX) throw unsupported('The name of the export is too long.')
}

/** How the backing image is named in an overlay's header, and its format there. */
export function backingReference(backing: BackingImage): { file: string; format: string } {
  if (backing.kind === 'image') return { file: backing.path, format: backing.format }
  const node = {
    driver: 'raw',
    file: {
      driver: 'nbd',
      server: { type: 'unix', path: backing.socketPath },
      export: backing.exportName,
      'reconnect-delay': backing.reconnectDelaySeconds,
    },
  }
  return { file: `json:${JSON.stringify(node)}`, format: 'raw' }
}

/** Makes the file and its name durable. */
export async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
  await syncFolder(dirname(path))
}

/** Claims the name, so that nothing that exists is ever overwritten. */
async function claim(path: string): Promise<void> {
  requirePath(path)
  try {
    const handle = await open(path, 'wx', 0o600)
    await handle.close()
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    throw new HypervisorError('disk_in_use', `There is a file at ${path} already.`, { facts: { path }, cause: error })
  }
}

function createArguments(source: Exclude<DiskSource, { from: 'image' }>, path: string): string[] {
  if (source.from === 'empty') {
    const format = source.format ?? 'qcow2'
    return ['create', '-q', '-f', format, path, `${source.sizeBytes}`]
  }
  const { file, format } = backingReference(source.backing)
  const size = source.sizeBytes
  // With a size the backing image need not be there yet (-u): an instant boot makes the overlay before the server is up.
  const tail = size === undefined ? [path] : ['-u', path, `${size}`]
  return ['create', '-q', '-f', 'qcow2', '-b', file, '-F', format, ...tail]
}

/** What a source becomes on disk. `made` tells whether the image is new and may be removed when the rest fails. */
export type PreparedImage = Readonly<{ path: string; format: 'qcow2' | 'raw'; made: boolean }>

/** Makes the image of a new disk, or checks the one that is given. @throws `disk_unsupported`, `disk_in_use`. */
export async function prepareImage(
  source: DiskSource,
  defaultPath: (format: string) => string,
): Promise<PreparedImage> {
  if (source.from === 'image') {
    const { backing } = await inspectImage(source.path, source.format)
    if (backing !== undefined && source.allowBacking !== true)
      throw unsupported(`The image ${source.path} has a backing file, which was not expected.`, { backing })
    return { path: source.path, format: source.format, made: false }
  }
  if (source.sizeBytes !== undefined) requireDiskSize(source.sizeBytes)
  if (source.from === 'overlay') requireBacking(source.backing)
  if (source.from === 'overlay' && source.backing.kind === 'image') {
    await inspectImage(source.backing.path, source.backing.format)
  }
  const format = source.from === 'empty' ? (source.format ?? 'qcow2') : 'qcow2'
  const path = source.path ?? defaultPath(format)
  await claim(path)
  try {
    await checkCommand('qemu-img', createArguments(source, path))
    await syncFile(path)
  } catch (error) {
    await rm(path, { force: true })
    throw error
  }
  return { path, format, made: true }
}

/** Grows the image of a stopped machine. @throws CommandError `command_failed`, for one in use or with a broken bitmap. */
export async function growImage(path: string, format: 'qcow2' | 'raw', sizeBytes: number): Promise<void> {
  await checkCommand('qemu-img', ['resize', '-q', '-f', format, path, `${sizeBytes}`])
  await syncFile(path)
}
