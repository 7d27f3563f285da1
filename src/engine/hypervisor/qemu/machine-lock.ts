/**
 * One change of a machine at a time on this host, across processes: the command line and the server may both be asked.
 *
 * The lock is an abstract unix socket (unix(7)) named after the machine's folder: the kernel gives it to one process and
 * takes it back when that process dies, however it dies, so there is no stale lock to judge. It holds within one network
 * namespace. A local user could squat on the name; that costs availability, never a disk.
 */
import { createHash } from 'node:crypto'
import { createServer, type Server } from 'node:net'
import { type Clock, errnoOf } from '#base'
import { HypervisorError } from '../errors.ts'

const POLL_MS = 50
/** A machine is held for as long as a start or a graceful shutdown takes. */
const WAIT_MS_DEFAULT = 15_000

function listen(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error) => (errnoOf(error) === 'EADDRINUSE' ? resolve(undefined) : reject(error)))
    server.listen({ path: name }, () => resolve(server))
  })
}

/** Runs `act` while this process alone holds the machine. @throws `machine_state_conflict` when the lock does not come. */
export async function withMachineLock<T>(
  clock: Clock,
  machineFolder: string,
  act: () => Promise<T>,
  waitMs = WAIT_MS_DEFAULT,
): Promise<T> {
  const name = `\0holdfast-machine-${createHash('sha256').update(machineFolder).digest('hex').slice(0, 32)}`
  const endMs = clock.monotonicMs() + waitMs
  let server = await listen(name)
  while (server === undefined) {
    if (clock.monotonicMs() >= endMs)
      throw new HypervisorError('machine_state_conflict', 'Another task is changing this machine.', {
        facts: { machineFolder, waitMs },
        retry: 'later',
      })
    await clock.sleep(POLL_MS)
    server = await listen(name)
  }
  server.unref()
  const held = server
  try {
    return await act()
  } finally {
    await new Promise<void>((resolve) => held.close(() => resolve()))
  }
}
