/**
 * The watchdog frees guests from instants whose owner cannot: it died, or it hangs in a step in which the guest suffers.
 *
 *   owner   step                         the watchdog
 *   dead    any but `dismantled`         takes the instant apart at once (recover.ts); bitmaps wait for the log
 *   any     `dismantled`, and a          runs it as soon as the guest's agent answers, for OWED_MS_MAX
 *           post-script is owed          (post-script-debt.ts: not beside another instant of the machine)
 *   alive   pause                        waits STEP_MS_MAX[step] from when it first saw the step, then continues the guest
 *                                        through the rescue monitor; the owner notices when it wakes
 *   alive   pause without such a         waits as long, then ends the owner's process, which holds the only way to the
 *           monitor, quiesce, freeze,    guest (monitor, agent) and may wake up and go on; and takes over
 *           thaw, wake
 *   alive   any other                    does nothing, however long it takes
 *
 * A post-script may run for half an hour. So an instant that owes one is taken apart beside the looking, which goes on.
 *
 * It is a process of its own (watchdog-process.ts), knows no repository and needs no clock but its own: times of steps are
 * counted from when it saw them. Its only memory is the journal; killing and restarting it loses nothing.
 */
import { type Clock, messageOf } from '#base'
import { isAlive } from '#runtime'
import { InstantJournal, type InstantRecord, STEP_MS_MAX } from './journal.ts'
import { continueForOwner, payOwed, takeOver } from './recover.ts'

/** The guest waits at most this long beyond the step's limit. */
export const LOOK_EVERY_MS = 250
const RETRY_AFTER_MS = 2_000
/** An agent that is silent for longer is left to the next backup's recovery. */
const OWED_MS_MAX = 10 * 60_000

/** What the watchdog did, for its log: one line each. */
export type WatchdogReport = Readonly<{ id: string; did: string; detail: string }>

export type WatchdogOptions = Readonly<{
  clock: Clock
  journalFolder: string
  report: (report: WatchdogReport) => void
  /** Ends a process at once. Given so that a test can watch it. */
  endProcess: (pid: number) => void
}>

type Seen = { step: string; sinceMs: number }

export class Watchdog {
  readonly #options: WatchdogOptions
  readonly #journal: InstantJournal
  readonly #seen = new Map<string, Seen>()
  readonly #retryAtMs = new Map<string, number>()
  /** Ids of instants that are worked on beside the looks. */
  readonly #busy = new Set<string>()
  readonly #owedSinceMs = new Map<string, number>()

  constructor(options: WatchdogOptions) {
    this.#options = options
    this.#journal = new InstantJournal(options.journalFolder)
  }

  /** One look at the journal. Returns how many instants need watching. Never throws: what fails is reported and retried. */
  async look(): Promise<number> {
    let watched = 0
    for (const id of await this.#journal.ids()) {
      try {
        watched += (await this.#lookAt(id)) ? 1 : 0
      } catch (error) {
        watched += 1
        this.#retryAtMs.set(id, this.#options.clock.monotonicMs() + RETRY_AFTER_MS)
        this.#options.report({ id, did: 'failed', detail: messageOf(error) })
      }
    }
    return watched
  }

  async #lookAt(id: string): Promise<boolean> {
    const record = await this.#journal.read(id)
    if (record === undefined) return false
    if (this.#busy.has(id) || (this.#retryAtMs.get(id) ?? 0) > this.#options.clock.monotonicMs()) return true
    const owes = record.kind === 'running' && record.postScript !== undefined
    if (record.step === 'dismantled') return owes && this.#isOwedStill(id) && this.#pay(record)
    if (isAlive(record.owner)) {
      if (!this.#isOverdue(record)) return true
      if (record.step === 'pause' && (await continueForOwner(this.#options.clock, record))) {
        this.#seen.delete(id)
        this.#options.report({ id, did: 'continued', detail: `machine ${record.machine}; its owner hangs` })
        return true
      }
      await this.#endOwner(record)
    }
    const taking = async (): Promise<string> => takeOver(this.#options.clock, this.#journal, id)
    if (owes) return this.#beside(record, taking)
    this.#options.report({ id, did: await taking(), detail: `machine ${record.machine}, step ${record.step}` })
    return false
  }

  #isOwedStill(id: string): boolean {
    const nowMs = this.#options.clock.monotonicMs()
    const sinceMs = this.#owedSinceMs.get(id) ?? nowMs
    this.#owedSinceMs.set(id, sinceMs)
    return nowMs - sinceMs < OWED_MS_MAX
  }

  #pay(record: InstantRecord): true {
    return this.#beside(record, async () => {
      const payment = await payOwed(this.#options.clock, this.#journal, record.id)
      if (payment === 'paid') return 'ran_post_script'
      // What waits for another instant of the machine has not waited for the agent.
      if (payment === 'waits') this.#owedSinceMs.delete(record.id)
      return payment === 'waits' ? undefined : 'owes_post_script'
    })
  }

  /** Works on the instant while the looks go on. */
  #beside(record: InstantRecord, work: () => Promise<string | undefined>): true {
    this.#busy.add(record.id)
    void this.#workOn(record, work)
    return true
  }

  async #workOn({ id, machine, step }: InstantRecord, work: () => Promise<string | undefined>): Promise<void> {
    const did = await work().catch((error: unknown) => `failed: ${messageOf(error)}`)
    if (did !== undefined) this.#options.report({ id, did, detail: `machine ${machine}, step ${step}` })
    this.#retryAtMs.set(id, this.#options.clock.monotonicMs() + RETRY_AFTER_MS)
    this.#busy.delete(id)
  }

  #isOverdue(record: InstantRecord): boolean {
    const nowMs = this.#options.clock.monotonicMs()
    const seen = this.#seen.get(record.id)
    if (seen?.step !== record.step) {
      this.#seen.set(record.id, { step: record.step, sinceMs: nowMs })
      return false
    }
    const own = record.kind === 'running' ? record.stepMsMax : undefined
    const limitMs = own ?? STEP_MS_MAX[record.step]
    return limitMs !== undefined && nowMs - seen.sinceMs > limitMs
  }

  async #endOwner(record: InstantRecord): Promise<void> {
    const { pid } = record.owner
    this.#options.report({ id: record.id, did: 'ended_owner', detail: `process ${pid} hung in step ${record.step}` })
    this.#options.endProcess(pid)
    const endMs = this.#options.clock.monotonicMs() + RETRY_AFTER_MS
    while (isAlive(record.owner)) {
      if (this.#options.clock.monotonicMs() > endMs) throw new Error(`Process ${pid} does not end`)
      await this.#options.clock.sleep(LOOK_EVERY_MS / 10)
    }
  }
}
