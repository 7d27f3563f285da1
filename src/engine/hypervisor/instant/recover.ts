/**
 * What to do with instants whose owner died. Run at start-up, before anything new is opened; the watchdog runs the same
 * code within seconds, only that it cannot ask the repository and leaves open questions about bitmaps to us.
 *
 * The verdict on the bitmaps: what the journal says; for steps before `open` nothing can be in the log, so abort; else the
 * log decides. Repeating is harmless. A second recoverer waits for the monitor and then finds the record gone.
 */
import { type Clock, errnoOf, type HoldfastError, isHoldfastError } from '#base'
import { isAlive } from '#runtime'
import { HypervisorError } from '../errors.ts'
import type { Generation, TrackerId } from '../port.ts'
import { QmpClient } from '../qmp/client.ts'
import { continueIfLeftPaused, dismantle, relieveGuest, removeFiles, type Verdict } from './dismantle.ts'
import { InstantJournal, type InstantRecord, type RunningRecord } from './journal.ts'
import { payDebt, type Payment, payPostScript } from './post-script-debt.ts'
import { dismantleStopped } from './storage-daemon.ts'

/** Whether the repository's log holds this generation. */
export type IsCommitted = (tracker: TrackerId, generation: Generation) => Promise<boolean>

export type Recovered = Readonly<{
  id: string
  /** owned: its owner lives, nothing was done. failed: stays in the journal, to be tried again. */
  outcome: 'owned' | 'committed' | 'aborted' | 'left_undecided' | 'failed'
  error?: HoldfastError
}>

const OUTCOMES = { commit: 'committed', abort: 'aborted', undecided: 'left_undecided' } as const

/** What the journal alone tells. Pure. */
export function verdictOf(record: InstantRecord): Verdict {
  if (record.step === 'commit') return 'commit'
  if (record.step === 'open' || record.step === 'dismantled')
    return record.tracking === undefined ? 'abort' : 'undecided'
  return 'abort'
}

async function decide(record: InstantRecord, isCommitted: IsCommitted | undefined): Promise<Verdict> {
  const verdict = verdictOf(record)
  if (verdict !== 'undecided' || record.tracking === undefined || isCommitted === undefined) return verdict
  return (await isCommitted(record.tracking.tracker, record.tracking.next)) ? 'commit' : 'abort'
}

/** Nobody listens on the monitor's socket: that QEMU is gone, and what was in it with it. */
function isGone(error: unknown): boolean {
  if (!isHoldfastError(error, 'qmp_unreachable')) return false
  return ['ECONNREFUSED', 'ENOENT'].includes(errnoOf(error.cause) ?? '')
}

/** The monitor for recovery; undefined when that QEMU is gone. */
async function connectRescue(clock: Clock, record: RunningRecord): Promise<QmpClient | undefined> {
  try {
    return await QmpClient.connect(record.access.rescueSocketPath ?? record.access.qmpSocketPath, { clock })
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

/**
 * Continues a guest that a hanging owner paused, without disturbing anything else. The owner finds out when it wakes: QEMU
 * told it of the RESUME before it answers its next command. Returns false when there is no monitor but the owner's.
 */
export async function continueForOwner(clock: Clock, record: InstantRecord): Promise<boolean> {
  if (record.kind !== 'running' || record.access.rescueSocketPath === undefined) return false
  const qmp = await connectRescue(clock, record)
  if (qmp === undefined) return true
  try {
    await continueIfLeftPaused(qmp, record)
    return true
  } finally {
    await qmp.close()
  }
}

/** @returns whether nothing is owed to the guest any more */
async function cleanRunning(
  clock: Clock,
  journal: InstantJournal,
  record: RunningRecord,
  verdict: Verdict,
): Promise<boolean> {
  const pay = async (): Promise<boolean> =>
    record.step === 'dismantled'
      ? (await payDebt(clock, journal.folder, record)) === 'paid'
      : payPostScript(clock, record)
  const qmp = await connectRescue(clock, record)
  // The next instant judges the bitmaps by what is in the images; and who waited for a post-script is gone.
  if (qmp === undefined) return true
  let paying: Promise<boolean>
  try {
    const relieved = await relieveGuest(qmp, clock, record).then(
      () => undefined,
      (error: unknown) => error,
    )
    paying = relieved === undefined ? pay() : Promise.resolve(false)
    const [dismantled] = await Promise.allSettled([dismantle(qmp, clock, record, verdict)])
    for (const error of [relieved, dismantled.status === 'rejected' ? dismantled.reason : undefined])
      if (error !== undefined)
        throw await paying.then(
          () => error,
          () => error,
        )
  } finally {
    await qmp.close()
  }
  // A post-script may take long, and others need the monitor meanwhile.
  return paying
}

/** Runs what a record still owes to the guest's application, of which nothing else is left. */
export async function payOwed(clock: Clock, journal: InstantJournal, id: string): Promise<Payment> {
  const record = await journal.read(id)
  if (record?.kind !== 'running' || record.postScript === undefined) return 'paid'
  const payment = await payDebt(clock, journal.folder, record)
  if (payment !== 'paid') return payment
  if (record.tracking === undefined) await journal.remove(id)
  else await journal.replaceIfThere({ ...record, postScript: undefined })
  return 'paid'
}

/** Takes over one instant whose owner is dead. @throws what has to be tried again; the record stays then. */
export async function takeOver(
  clock: Clock,
  journal: InstantJournal,
  id: string,
  isCommitted?: IsCommitted,
): Promise<Recovered['outcome']> {
  const record = await journal.read(id)
  if (record === undefined) return 'aborted' // another recoverer was faster
  if (isAlive(record.owner)) return 'owned'
  const verdict = await decide(record, isCommitted)
  if (record.kind === 'stopped') {
    await dismantleStopped(clock, record, verdict)
    if (verdict === 'undecided') await journal.replaceIfThere({ ...record, step: 'dismantled' })
    else await journal.remove(id)
    return OUTCOMES[verdict]
  }
  const isPaid = await cleanRunning(clock, journal, record, verdict)
  await removeFiles(record)
  if (!isPaid) await journal.leaveOwing(record)
  else if (verdict === 'undecided')
    await journal.replaceIfThere({ ...record, step: 'dismantled', postScript: undefined })
  else await journal.remove(id)
  return OUTCOMES[verdict]
}

/** A machine's instants one after another, as they need the same monitor; what is only owed last, as it waits for the others. */
async function byMachine(journal: InstantJournal): Promise<string[][]> {
  const machines = new Map<string, { id: string; isOnlyOwed: boolean }[]>()
  for (const id of await journal.ids()) {
    // What cannot be read is reported by whoever takes it over.
    const record = await journal.read(id).catch(() => undefined)
    const key = record?.machineUuid ?? id
    const one = { id, isOnlyOwed: record?.step === 'dismantled' }
    machines.set(key, [...(machines.get(key) ?? []), one])
  }
  const last = (one: Readonly<{ isOnlyOwed: boolean }>): number => (one.isOnlyOwed ? 1 : 0)
  return [...machines.values()].map((all) => all.toSorted((a, b) => last(a) - last(b)).map(({ id }) => id))
}

/**
 * Recovers every instant in the journal whose owner is dead. Reports each; one failure, or one machine's long post-script, does
 * not keep the others.
 */
export async function recoverInstants(
  options: Readonly<{ clock: Clock; journalFolder: string; isCommitted: IsCommitted }>,
): Promise<Recovered[]> {
  const journal = new InstantJournal(options.journalFolder)
  const recover = async (id: string): Promise<Recovered> => {
    try {
      return { id, outcome: await takeOver(options.clock, journal, id, options.isCommitted) }
    } catch (cause) {
      const error = isHoldfastError(cause)
        ? cause
        : new HypervisorError('instant_failed', 'An instant that was left behind could not be recovered.', { cause })
      return { id, outcome: 'failed', error }
    }
  }
  const recoverMachine = async (ids: readonly string[]): Promise<Recovered[]> => {
    const recovered: Recovered[] = []
    for (const id of ids) recovered.push(await recover(id))
    return recovered
  }
  return (await Promise.all((await byMachine(journal)).map(recoverMachine))).flat()
}
