/**
 * Sees to it that a watchdog process watches a journal, and that it does watch: a living process whose beat has stopped
 * counts as none. Two watchdogs would be harmless (QEMU's monitor serves one at a time, and taking apart can be repeated),
 * so another one is started without asking what the silent one may still do.
 *
 *   watchdog.json       which process watches, and its version
 *   watchdog-PID.beat   the time of its last beat on the host's monotonic clock, rewritten in place: needs no space
 *
 * Both lie in the journal's folder, or in the folder above for one that watches all journals there (a server's).
 * The watchdog leaves when the journal has been empty for a while: it removes the file first and looks again, so that an
 * instant whose owner saw the file before is not left unwatched.
 */
import { spawn } from 'node:child_process'
import { readdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Clock, errnoOf, PROGRAM_VERSION } from '#base'
import { type HostProcess, identityOf, isAlive, makeFolderDurable, replaceFile } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { isObject } from '../qmp/shape.ts'

/** A watchdog beats this often, and counts as hung when it has not for so long. */
export const BEAT_EVERY_MS = 500
export const BEAT_AGE_MS_MAX = 10_000
const START_MS_MAX = 10_000
const POLL_MS = 25

export type WatchdogProcess = HostProcess &
  Readonly<{
    /** Of the Holdfast that it runs. */
    version: string
    /** Whether it watches every journal in the folder, not one. */
    watchesAll: boolean
  }>

function recordIn(folder: string): string {
  return join(folder, 'watchdog.json')
}

export function beatPath(folder: string, pid: number): string {
  return join(folder, `watchdog-${pid}.beat`)
}

async function readOrUndefined(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function parse(text: string): WatchdogProcess | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) && typeof value['pid'] === 'number' ? (value as WatchdogProcess) : undefined
  } catch {
    return undefined // Not one of ours: as if there were none.
  }
}

/** The living process on record in this folder, whether it beats or not. */
export async function recordedWatchdog(folder: string): Promise<WatchdogProcess | undefined> {
  const text = await readOrUndefined(recordIn(folder))
  const found = text === undefined ? undefined : parse(text)
  return found !== undefined && isAlive(found) ? found : undefined
}

/** The living watchdog of this folder, if it beats. */
export async function beatingWatchdog(clock: Clock, folder: string): Promise<WatchdogProcess | undefined> {
  const found = await recordedWatchdog(folder)
  if (found === undefined) return undefined
  const text = await readOrUndefined(beatPath(folder, found.pid))
  const ageMs = clock.monotonicMs() - Number(text ?? Number.NaN)
  return ageMs <= BEAT_AGE_MS_MAX ? found : undefined
}

/** Who watches this journal: a watchdog of its own, or one that watches all journals beside it. */
export async function findWatchdog(clock: Clock, journalFolder: string): Promise<WatchdogProcess | undefined> {
  const own = await beatingWatchdog(clock, journalFolder)
  if (own !== undefined) return own
  const shared = await beatingWatchdog(clock, dirname(journalFolder))
  return shared?.watchesAll === true ? shared : undefined
}

/** Says that this process watches. It beats already. */
export async function announceWatchdog(folder: string, self: HostProcess, watchesAll: boolean): Promise<void> {
  await replaceFile(recordIn(folder), [
    Buffer.from(JSON.stringify({ ...self, version: PROGRAM_VERSION, watchesAll } satisfies WatchdogProcess)),
  ])
}

/** Takes the word back, unless another process has given its own since. */
export async function withdrawWatchdog(folder: string, self: HostProcess): Promise<void> {
  const recorded = await recordedWatchdog(folder)
  if (recorded?.pid === self.pid) await rm(recordIn(folder), { force: true })
}

/** Removes the beats of processes that are gone. */
export async function removeOldBeats(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const pid = /^watchdog-(\d+)\.beat$/.exec(name)?.[1]
    if (pid !== undefined && identityOf(Number(pid)) === undefined) await rm(join(folder, name), { force: true })
  }
}

/** How a watchdog is started: of one journal, or of all journals in `folder` for as long as `keeper.json` there names a living process. */
export function watchdogEntry(folder: string, of: 'journal' | 'all'): { program: string; args: string[] } {
  const main = join(import.meta.dirname, 'watchdog-main.ts')
  return { program: process.execPath, args: [main, of, folder] }
}

/** Names the process for which the watchdog of all journals stays, though there may be nothing to watch. */
export async function keepWatchdog(folder: string, keeper: HostProcess): Promise<void> {
  await makeFolderDurable(folder)
  await replaceFile(join(folder, 'keeper.json'), [Buffer.from(JSON.stringify(keeper))])
}

export async function hasKeeper(folder: string): Promise<boolean> {
  const text = await readOrUndefined(join(folder, 'keeper.json'))
  const keeper = text === undefined ? undefined : parse(text)
  return keeper !== undefined && isAlive(keeper)
}

/** Starts a watchdog unless one watches, and waits until it does. @throws `instant_failed`: then nothing may be frozen. */
export async function ensureWatchdog(clock: Clock, journalFolder: string): Promise<WatchdogProcess> {
  const watching = await findWatchdog(clock, journalFolder)
  if (watching !== undefined) return watching
  const { program, args } = watchdogEntry(journalFolder, 'journal')
  // Detached: it must outlive us, also when our whole process group is killed.
  spawn(program, args, { detached: true, stdio: 'ignore' })
    .on('error', () => {
      // It does not announce itself then, which is reported below.
    })
    .unref()
  const endMs = clock.monotonicMs() + START_MS_MAX
  while (clock.monotonicMs() < endMs) {
    const started = await findWatchdog(clock, journalFolder)
    if (started !== undefined) return started
    await clock.sleep(POLL_MS)
  }
  throw new HypervisorError('instant_failed', 'The watchdog did not start, so no guest may be paused or frozen.', {
    facts: { journalFolder, program: args[0] },
    retry: 'later',
  })
}
