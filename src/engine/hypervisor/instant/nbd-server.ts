/**
 * QEMU's NBD server, of which a process has one. It listens on a socket whose name only one instant has.
 *
 * Stopping it is dangerous: QEMU waits inside its main loop, with the guest standing still, until every connection has
 * ended, and one that never finished its handshake does not end (7.2.22: for ever). So the socket is unlinked first, the
 * connections are counted from outside, and the server is stopped only when there is none. Connections to an export end
 * when the export is removed; what remains is a client of ours that hangs.
 */
import { readFile } from 'node:fs/promises'
import { type Clock, errnoOf } from '#base'
import { HypervisorError } from '../errors.ts'
import type { QmpClient } from '../qmp/client.ts'
import { removeFile } from './files.ts'

/** Newer QEMUs end a handshake after 10 s by themselves (NBD_DEFAULT_HANDSHAKE_MAX_SECS). */
const CONNECTIONS_MS_MAX = 12_000
const POLL_MS = 25

export type NbdServer = Readonly<{
  socketPath: string
  /** QEMU's process, whose network namespace lists its sockets; undefined: it shares ours. */
  processId: number | undefined
}>

/** @throws `nbd_server_foreign` when somebody else's runs in this QEMU. */
export async function startNbdServer(qmp: QmpClient, server: NbdServer): Promise<void> {
  const { socketPath } = server
  try {
    await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socketPath } } })
  } catch (error) {
    if (!(error instanceof HypervisorError) || !/already running/i.test(String(error.facts['desc']))) throw error
    throw new HypervisorError('nbd_server_foreign', 'Another program runs the NBD server of this QEMU.', {
      facts: { socketPath },
      retry: 'later',
      hint: 'A QEMU has one NBD server. Stop the other backup tool or migration that started it.',
      cause: error,
    })
  }
}

/**
 * The sockets bound to `socketPath` in a text of /proc/net/unix (proc(5)): "Num RefCount Protocol Flags Type St Inode Path".
 * A listener has the flag 00010000; the server's end of a connection has its listener's path. Unlinked ones stay listed.
 */
export function countSockets(table: string, socketPath: string): Readonly<{ listening: number; connected: number }> {
  let listening = 0
  let connected = 0
  for (const line of table.split('\n')) {
    const fields = line.trim().split(/\s+/)
    if (fields.slice(7).join(' ') !== socketPath) continue
    if (fields[3] === '00010000') listening += 1
    else connected += 1
  }
  return { listening, connected }
}

async function readSockets(server: NbdServer): Promise<ReturnType<typeof countSockets>> {
  const of = server.processId === undefined ? 'self' : String(server.processId)
  try {
    return countSockets(await readFile(`/proc/${of}/net/unix`, 'utf8'), server.socketPath)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return { listening: 0, connected: 0 } // it ended
    throw error
  }
}

/**
 * Stops the server if it listens on our socket; another program's is left alone. Idempotent.
 * @throws `instant_failed` when a client still hangs on it: to be tried again.
 */
export async function stopNbdServer(qmp: QmpClient, clock: Clock, server: NbdServer): Promise<void> {
  await removeFile(server.socketPath)
  const endMs = clock.monotonicMs() + CONNECTIONS_MS_MAX
  for (;;) {
    const { listening, connected } = await readSockets(server)
    if (listening === 0) return
    if (connected === 0) break
    if (clock.monotonicMs() >= endMs) {
      throw new HypervisorError('instant_failed', 'A client of the instant does not leave its NBD server.', {
        facts: { socketPath: server.socketPath, connected },
        retry: 'later',
        hint: 'Stop the program that is connected to this socket; then the instant closes.',
      })
    }
    await clock.sleep(POLL_MS)
  }
  await qmp.execute('nbd-server-stop')
}
