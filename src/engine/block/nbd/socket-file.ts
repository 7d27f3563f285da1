/**
 * Puts a listening unix socket under its path: mode 0600 from its first moment, a stale socket of a dead owner replaced,
 * a live one never. It listens in a private folder beside the path and is renamed into place, so that there is no moment
 * in which somebody else could connect. A crash between the two leaves an empty or dead `.nbd-*` folder.
 */
import { chmod, lstat, mkdtemp, rename, rm, rmdir, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { BaseError, errnoOf } from '#base'
import { BlockError } from '../errors.ts'
import { fileError } from '../file-errors.ts'

/** sun_path holds 108 bytes with its NUL (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107

/** Listens; resolves to the function that removes the socket file again, if it is still ours. */
export async function listenOnSocketFile(server: Server, socketPath: string): Promise<() => Promise<void>> {
  await refuseLiveSocket(socketPath)
  let folder: string
  try {
    folder = await mkdtemp(join(dirname(socketPath), '.nbd-'))
  } catch (error) {
    throw fileError('create', socketPath, error)
  }
  const privatePath = join(folder, 's')
  try {
    for (const path of [socketPath, privatePath]) checkLength(path)
    await listening(server, privatePath)
    await chmod(privatePath, 0o600)
    const { ino } = await lstat(privatePath)
    await rename(privatePath, socketPath)
    await rmdir(folder)
    return () => removeOwnSocket(socketPath, ino)
  } catch (error) {
    server.close()
    await rm(folder, { recursive: true, force: true })
    throw error instanceof BaseError ? error : fileError('create', socketPath, error)
  }
}

function checkLength(path: string): void {
  const bytes = Buffer.byteLength(path)
  if (bytes <= SOCKET_PATH_BYTES_MAX) return
  throw new BaseError('invalid_argument', `The socket path ${path} is longer than the system allows.`, {
    facts: { path, bytes, bytesMax: SOCKET_PATH_BYTES_MAX },
    hint: 'Use a shorter folder, such as /run/holdfast.',
  })
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function refuseLiveSocket(socketPath: string): Promise<void> {
  try {
    const stats = await lstat(socketPath)
    const free = stats.isSocket() && !(await answers(socketPath))
    if (free) return
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw fileError('open', socketPath, error)
  }
  throw new BlockError('nbd_address_in_use', `Another program serves ${socketPath}, or it is not a socket.`, {
    facts: { socketPath },
    retry: 'later',
  })
}

/** Whether somebody accepts connections there. Anything but a clear refusal counts as yes. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socketPath)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', (error) => resolve(errnoOf(error) !== 'ECONNREFUSED' && errnoOf(error) !== 'ENOENT'))
  })
}

async function removeOwnSocket(socketPath: string, ino: number): Promise<void> {
  try {
    if ((await lstat(socketPath)).ino === ino) await unlink(socketPath)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw fileError('open', socketPath, error)
  }
}
