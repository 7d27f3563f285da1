/**
 * The post-script that a record owes to its guest's application: how it is paid, and when it must not be.
 *
 *   the QEMU of the record is gone                       nothing is owed: who waited for the script is gone with it
 *   another instant of the same machine is under way     wait: the script, and the end of a pre-script before it, would
 *                                                        disturb what that one quieted
 *   else                                                 run it
 *
 * In turn a new instant runs no scripts while an older record owes one (quiet-guest.ts): so of a machine's scripts at most one
 * pair is under way. Records lie in the journal of each repository; a server's journals lie side by side, and all count.
 */
import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Clock, isHoldfastError } from '#base'
import { isAlive } from '#runtime'
import { endGuestScript, runGuestScript } from '../quiesce/guest-script.ts'
import { InstantJournal, type RunningRecord } from './journal.ts'
import { recordedWatchdog } from './watchdog-process.ts'

/** paid: nothing is owed any more. owed: the agent is silent, or refuses. waits: another instant of the machine is under way. */
export type Payment = 'paid' | 'owed' | 'waits'

/** This journal, and those beside it where one watchdog watches all. */
async function journalsBeside(journalFolder: string): Promise<InstantJournal[]> {
  const parent = dirname(journalFolder)
  const folders = [journalFolder]
  if ((await recordedWatchdog(parent))?.watchesAll === true)
    for (const entry of await readdir(parent, { withFileTypes: true })) {
      const folder = join(parent, entry.name)
      if (entry.isDirectory() && folder !== journalFolder) folders.push(folder)
    }
  return folders.map((folder) => new InstantJournal(folder))
}

/** The other records of the same running machine. */
async function othersOf(journalFolder: string, { id, machineUuid }: RunningRecord): Promise<RunningRecord[]> {
  const others: RunningRecord[] = []
  for (const journal of await journalsBeside(journalFolder))
    for (const other of await journal.ids()) {
      if (other === id) continue
      const record = await journal.read(other).catch((error: unknown) => {
        // Whoever recovers that journal reports what cannot be read.
        if (isHoldfastError(error, 'instant_failed')) return undefined
        throw error
      })
      if (record?.kind === 'running' && record.machineUuid === machineUuid) others.push(record)
    }
  return others
}

/** The guest's application waits for another record's post-script. */
export async function isOwedByAnother(journalFolder: string, record: RunningRecord): Promise<boolean> {
  const others = await othersOf(journalFolder, record)
  return others.some((other) => other.postScript !== undefined && !isOfGoneGuest(other))
}

function isOfGoneGuest({ guestProcess }: RunningRecord): boolean {
  return guestProcess !== undefined && !isAlive(guestProcess)
}

/** Pays what is left of an instant, all else of which is taken apart. */
export async function payDebt(clock: Clock, journalFolder: string, record: RunningRecord): Promise<Payment> {
  if (record.postScript === undefined || isOfGoneGuest(record)) return 'paid'
  const others = await othersOf(journalFolder, record)
  if (others.some(({ step }) => step !== 'dismantled')) return 'waits'
  return (await payPostScript(clock, record)) ? 'paid' : 'owed'
}

/**
 * Runs the post-script that a record owes, after ending a pre-script that still runs. Its own failure is its end: it was run.
 * @returns whether nothing is owed any more: false while the agent is silent
 */
export async function payPostScript(clock: Clock, record: RunningRecord): Promise<boolean> {
  const { postScript, access } = record
  const { agentSocketPath } = access
  if (postScript === undefined || agentSocketPath === undefined) return true
  const channel = { agentSocketPath, clock }
  try {
    await endGuestScript(channel, 'pre')
    await runGuestScript(channel, 'post', postScript)
    return true
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    return false
  }
}
