/**
 * Ends everything of a home: the server, then its worker, then the watchdog. Guests go on: they are QEMU's, not ours.
 *
 * The worker gives its tasks up in order; their steps begin again with the next server. The watchdog goes last, and only when
 * no instant is open any more: until then somebody must watch over the guests.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, isHoldfastError } from '#base'
import { type ProcessIdentity, processState, signalProcess } from '#runtime'
import { journalsFolder } from './children.ts'
import { stopServe } from './control-client.ts'
import { ServerError } from './errors.ts'
import type { Home } from './home.ts'
import { ProcessRecord } from './start-process.ts'

const END_MS_MAX = 60_000
const POLL_MS = 50

export type Stopped = Readonly<{ name: string; pid: number }>

async function waitUntil(clock: Clock, holds: () => boolean): Promise<boolean> {
  const endMs = clock.monotonicMs() + END_MS_MAX
  while (!holds()) {
    if (clock.monotonicMs() > endMs) return false
    await clock.sleep(POLL_MS)
  }
  return true
}

function openInstants(home: Home): number {
  const folder = journalsFolder(home)
  if (!existsSync(folder)) return 0
  const journals = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  return journals
    .flatMap(({ name }) => readdirSync(join(folder, name)))
    .filter((name) => name.endsWith('.instant.json')).length
}

function notStopped(home: Home, name: string, why: string): ServerError {
  return new ServerError('serve_not_stopped', `The ${name} of ${home.folder} did not end: ${why}.`, {
    facts: { home: home.folder, process: name },
    retry: 'later',
    hint: 'Look again in a while; its log is in the home.',
  })
}

async function end(home: Home, clock: Clock, name: string, identity: ProcessIdentity): Promise<void> {
  signalProcess(identity, 'SIGTERM')
  if (!(await waitUntil(clock, () => processState(identity) !== 'alive')))
    throw notStopped(home, name, 'it is still at work')
}

/** What was running and has ended, in that order. @throws ServerError `serve_not_stopped` */
export async function stopAll(home: Home, clock: Clock): Promise<Stopped[]> {
  const stopped: Stopped[] = []
  try {
    const { pid } = await stopServe(home, clock)
    stopped.push({ name: 'server', pid })
  } catch (error) {
    if (!isHoldfastError(error, 'serve_not_running')) throw error
  }
  for (const name of ['worker', 'watchdog'] as const) {
    const identity = new ProcessRecord(home.record(name)).read()?.identity
    if (identity === undefined || processState(identity) !== 'alive') continue
    if (name === 'watchdog' && !(await waitUntil(clock, () => openInstants(home) === 0)))
      throw notStopped(home, name, `${openInstants(home)} instants are open, and it watches over their guests`)
    await end(home, clock, name, identity)
    stopped.push({ name, pid: identity.pid })
  }
  return stopped
}
