/**
 * Puts a listening unix socket under its path: mode 0600 from its first moment, a stale socket of a dead owner replaced,
 * a live one never. It listens in a private folder beside the path and is linked into place, so that there is no moment
 * in which somebody else could connect, and of two servers that start at once one is refused. A crash in between leaves a
 * `.nbd-*` folder with a dead socket.
 */
import { chmod, link, lstat, mkdtemp, open, rm, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { BaseError, errnoOf, HoldfastError } from '#base'
import { BlockError } from '../errors.ts'
import { fileError } from '../file-errors.ts'

/** sun_path holds 108 bytes with its NUL (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107

/** Listens; resolves to the function that removes the socket file again, if it is still ours. */
export async function listenOnSocketFile(server: Server, socketPath: string): Promise<() => Promise<void>> {
  const deadIno = await findDeadSocket(socketPath)
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
    if (deadIno !== undefined) await removeDeadSocket(socketPath, deadIno)
    // Unlike rename, link takes the name only if nobody has it by now.
    await link(privatePath, socketPath)
    return () => removeOwnSocket(socketPath, ino)
  } catch (error) {
    server.close()
    if (errnoOf(error) === 'EEXIST') throw inUse(socketPath)
    throw error instanceof HoldfastError ? error : fileError('create', socketPath, error)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * Removes a dead socket, under a claim that only one server can have: else one of two that start at once would remove what
 * the other has just put there. Looked at again under the claim, because it may have been replaced meanwhile.
 */
async function removeDeadSocket(socketPath: string, deadIno: number): Promise<void> {
  const claim = join(dirname(socketPath), `.nbd-claim-${deadIno}`)
  try {
    await (await open(claim, 'wx', 0o600)).close()
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw inUse(socketPath, `If no server is starting there, delete ${claim}.`)
    throw error
  }
  try {
    if ((await findDeadSocket(socketPath)) === deadIno) await unlink(socketPath)
  } finally {
    await unlink(claim)
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

/** The inode of a socket that nobody listens on any more. @throws BlockError when the path is taken otherwise */
async function findDeadSocket(socketPath: string): Promise<number | undefined> {
  try {
    const stats = await lstat(socketPath)
    if (stats.isSocket() && !(await answers(socketPath))) return stats.ino
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw fileError('open', socketPath, error)
  }
  throw inUse(socketPath)
}

function inUse(socketPath: string, hint?: string): BlockError {
  return new BlockError('nbd_address_in_use', `Another program serves ${socketPath}, or it is not a socket.`, {
    facts: { socketPath },
    retry: 'later',
    hint,
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
