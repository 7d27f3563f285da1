/**
 * The processes that `serve` keeps running: the watchdog of all instants of this home, and the worker.
 *
 * A hung watchdog is replaced at once: its only memory is the journal. A hung worker is ended only while the watchdog is
 * well, which then frees the guests of its instants within a second (engine/hypervisor, watchdog.ts); its tasks begin again
 * on the next one.
 */
import { join } from 'node:path'
import { type Clock, PROGRAM_VERSION } from '#base'
import { beatingWatchdog, watchdogEntry } from '#engine/hypervisor'
import { identityOf, type Logger, type RpcAddress, RpcClient } from '#runtime'
import type { Home } from './home.ts'
import { isIdentity, type ProcessEntry } from './start-process.ts'
import { type Sighting, Supervised, type SupervisionTiming } from './supervisor.ts'
import type { WorkerClient } from './worker/worker-client.ts'

const ANSWER_MS_DEFAULT = 5_000

export function journalsFolder(home: Home): string {
  return join(home.folder, 'instants')
}

/** Looks by exchanging hellos, for at most `answerMs`. */
function greet(address: RpcAddress, answerMs = ANSWER_MS_DEFAULT): () => Promise<Sighting | undefined> {
  return async () => {
    try {
      const client = await RpcClient.open(address, 'control', PROGRAM_VERSION, answerMs)
      client.close()
      const { identity } = client.peer.facts
      return isIdentity(identity) ? { identity, version: client.peer.version } : undefined
    } catch {
      return undefined // Nobody answers: that is the question that was asked.
    }
  }
}

/** Looks at the watchdog's beat. */
function beatOf(folder: string, clock: Clock): () => Promise<Sighting | undefined> {
  return async () => {
    const found = await beatingWatchdog(clock, folder)
    const identity = found === undefined ? undefined : identityOf(found.pid)
    return found === undefined || identity === undefined ? undefined : { identity, version: found.version }
  }
}

export type ChildrenOptions = Readonly<{
  home: Home
  clock: Clock
  logger: Logger
  workerEntry: ProcessEntry
  tasks: WorkerClient
  supervision?: Partial<SupervisionTiming>
}>

export function childrenOf({ home, clock, logger, workerEntry, tasks, supervision }: ChildrenOptions): Supervised[] {
  const watchdog = new Supervised(
    {
      name: 'watchdog',
      entry: watchdogEntry(journalsFolder(home), 'all'),
      look: beatOf(journalsFolder(home), clock),
      makeWay: { kind: 'beside' },
    },
    home,
    clock,
    logger,
    supervision,
  )
  const mayEnd = (): boolean => watchdog.state.health === 'well'
  const worker = new Supervised(
    {
      name: 'worker',
      entry: workerEntry,
      look: greet(home.socket('worker'), supervision?.answerMs),
      makeWay: { kind: 'first', ask: () => tasks.retire(), mayEnd },
    },
    home,
    clock,
    logger,
    supervision,
  )
  return [watchdog, worker]
}
