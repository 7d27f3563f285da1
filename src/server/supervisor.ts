/**
 * Keeps a process of its own running: starts it so that it survives us, finds it again, starts it anew when it is dead,
 * when it hangs, and when it is of another version than we are.
 *
 *   we die after                     what is left                       the next one
 *   starting it, before the record   a process that nobody wrote down   finds it by looking (or its own lock refuses a second)
 *   the record                       the process and its record         finds it by pid and start time
 *
 *   found        what is done
 *   dead         started at once; later each time when it dies again and again
 *   hung         it lives, and did not answer `looksMissedMax` times in a row. A process that stands beside others is replaced,
 *                then ended. One that must go first is ended only when `mayEnd` says that nobody suffers by it; else it is
 *                reported as hung, in the log and the health, until it may be ended or answers again
 *   of another   asked to make way (it goes when its work is done), or replaced and then ended
 *   version
 *
 * Missed looks are counted by our own, so a host that slept is not taken for a hung process.
 */
import { type Clock, messageOf, PROGRAM_VERSION } from '#base'
import { type Logger, type ProcessIdentity, processState, signalProcess } from '#runtime'
import { ServerError } from './errors.ts'
import type { Home } from './home.ts'
import { type ProcessEntry, ProcessRecord, type Restart, type Started, startDetached } from './start-process.ts'

/** What a process said when it was looked at. */
export type Sighting = Readonly<{ identity: ProcessIdentity; version: string }>

export type SupervisedSpec = Readonly<{
  name: string
  entry: ProcessEntry
  env?: Readonly<Record<string, string>>
  /** Looks whether it works; undefined when nobody answers, within seconds. */
  look: () => Promise<Sighting | undefined>
  /** How one of another version, or one that hangs, makes way for the next. */
  makeWay: Readonly<
    | { kind: 'beside' }
    | {
        kind: 'first'
        /** Asks it to end when its work is done. */
        ask: () => Promise<void>
        mayEnd: () => boolean
      }
  >
}>

export type SupervisedHealth =
  | 'well'
  /** It lives; whether it works is not known yet, or it missed some looks. */
  | 'silent'
  | 'hung'
  | 'dead'

export type SupervisedState = Readonly<{
  name: string
  identity: ProcessIdentity | undefined
  alive: boolean
  health: SupervisedHealth
  /** Of the Holdfast that it runs, once it has said so. */
  version: string | undefined
  /** It was asked to make way, and ends when its work is done. */
  retiring: boolean
  /** How often this server started it. */
  starts: number
  /** The last time that one took the place of another, and why. Known across servers. */
  lastRestart: Restart | undefined
}>

export type SupervisionTiming = Readonly<{
  watchMs: number
  lookEveryMs: number
  looksMissedMax: number
  readyMs: number
  /** A process that lived this long before it died is started again at once. */
  steadyMs: number
  /** How long a look may wait for an answer. */
  answerMs: number
}>

const TIMING_DEFAULT: Omit<SupervisionTiming, 'answerMs'> = {
  watchMs: 500,
  lookEveryMs: 2_000,
  looksMissedMax: 6,
  readyMs: 20_000,
  steadyMs: 60_000,
}
const READY_POLL_MS = 25
const END_MS_MAX = 5_000
const RESTART_DELAY_MS_MAX = 30_000

export class Supervised {
  readonly #spec: SupervisedSpec
  readonly #home: Home
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #timing: Omit<SupervisionTiming, 'answerMs'>
  readonly #record: ProcessRecord
  readonly #over = new AbortController()
  #identity: ProcessIdentity | undefined
  #version: string | undefined
  #retiring = false
  #missed = 0
  #seen = false
  #starts = 0
  #delayMs = 0
  #startedMs: number
  #started: Started | undefined
  #lastRestart: Restart | undefined
  #watching: Promise<void> = Promise.resolve()

  constructor(spec: SupervisedSpec, home: Home, clock: Clock, logger: Logger, timing: Partial<SupervisionTiming> = {}) {
    this.#spec = spec
    this.#home = home
    this.#clock = clock
    this.#logger = logger
    this.#timing = { ...TIMING_DEFAULT, ...timing }
    this.#record = new ProcessRecord(home.record(spec.name))
    this.#startedMs = clock.monotonicMs()
  }

  /** Finds the process or starts it, and keeps it running from now on. @throws ServerError `process_not_started` */
  async begin(): Promise<void> {
    const recorded = this.#record.read()
    this.#lastRestart = recorded?.lastRestart
    await this.#look()
    if (!this.#seen && recorded !== undefined && processState(recorded.identity) === 'alive') {
      this.#identity = recorded.identity // It may be hung: the watch decides.
    }
    if (this.#identity === undefined) await this.#start()
    else this.#logger.info({ process: this.#spec.name, processId: this.#identity.pid }, 'found running')
    this.#watching = this.#watch()
  }

  /** Stops watching. The process stays. */
  async leave(): Promise<void> {
    this.#over.abort()
    await this.#watching
  }

  get state(): SupervisedState {
    const alive = this.#identity !== undefined && processState(this.#identity) === 'alive'
    return {
      name: this.#spec.name,
      identity: this.#identity,
      alive,
      health: this.#health(alive),
      version: this.#version,
      retiring: this.#retiring,
      starts: this.#starts,
      lastRestart: this.#lastRestart,
    }
  }

  #health(alive: boolean): SupervisedHealth {
    if (!alive) return 'dead'
    if (this.#missed >= this.#timing.looksMissedMax) return 'hung'
    return this.#seen && this.#missed === 0 ? 'well' : 'silent'
  }

  /** Looks once and takes what it learns. */
  async #look(): Promise<boolean> {
    const sighting = await this.#spec.look()
    if (sighting === undefined) {
      this.#missed += 1
      return false
    }
    this.#seen = true
    this.#missed = 0
    this.#identity = sighting.identity
    this.#version = sighting.version
    return true
  }

  /** @param restart why it takes the place of another; undefined for the first */
  async #start(restart?: string): Promise<void> {
    const { name, entry, env } = this.#spec
    this.#forget()
    this.#starts += 1
    this.#startedMs = this.#clock.monotonicMs()
    if (restart !== undefined) this.#lastRestart = { atMs: this.#clock.nowMs(), reason: restart }
    const started = startDetached(entry, this.#home.output(name), { HOLDFAST_HOME: this.#home.folder, ...env })
    this.#started = started
    this.#identity = started.identity
    await this.#writeRecord()
    await this.#untilReady(started)
    await this.#writeRecord()
    this.#logger.info({ process: name, processId: started.identity?.pid, reason: restart }, 'started')
  }

  async #writeRecord(): Promise<void> {
    if (this.#identity === undefined) return
    await this.#record.write({ identity: this.#identity, lastRestart: this.#lastRestart })
  }

  #forget(): void {
    this.#identity = undefined
    this.#version = undefined
    this.#retiring = false
    this.#seen = false
    this.#missed = 0
  }

  async #untilReady(started: Started): Promise<void> {
    const deadline = this.#clock.monotonicMs() + this.#timing.readyMs
    for (;;) {
      await this.#clock.sleep(READY_POLL_MS)
      const failure = started.end ?? (this.#clock.monotonicMs() > deadline ? 'it does not answer' : undefined)
      if (failure !== undefined) throw this.#notStarted(failure)
      const sighting = await this.#spec.look()
      // Another one may answer that was there before: one that is being replaced, or that nobody wrote down.
      const isIt = this.#spec.makeWay.kind === 'first' || sighting?.identity.pid === started.identity?.pid
      if (sighting !== undefined && isIt) {
        await this.#look()
        return
      }
    }
  }

  #notStarted(failure: string): ServerError {
    const { name } = this.#spec
    const [log, output] = [this.#home.log(name), this.#home.output(name)]
    return new ServerError('process_not_started', `The ${name} could not be started: ${failure}.`, {
      facts: { process: name, log, output },
      retry: 'later',
      hint: `See ${output} and ${log}.`,
    })
  }

  async #watch(): Promise<void> {
    let lookAtMs = this.#clock.monotonicMs() + (this.#seen ? this.#timing.lookEveryMs : 0)
    while (await this.#pause(this.#timing.watchMs)) {
      try {
        if (this.#identity === undefined || processState(this.#identity) === 'dead') {
          await this.#replaceDead()
          continue
        }
        if (this.#clock.monotonicMs() < lookAtMs) continue
        lookAtMs = this.#clock.monotonicMs() + this.#timing.lookEveryMs
        await this.#attend()
      } catch (error) {
        // The next round tries again, later each time.
        this.#logger.error({ process: this.#spec.name, error: messageOf(error) }, 'it could not be started again')
      }
    }
  }

  async #replaceDead(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#startedMs > this.#timing.steadyMs) this.#delayMs = 0
    const facts = { process: this.#spec.name, processId: this.#identity?.pid, delayMs: this.#delayMs }
    this.#logger.warn(facts, 'it is gone; starting it again')
    if (!(await this.#pause(this.#delayMs))) return
    const ours = this.#started?.identity?.pid === this.#identity?.pid ? this.#started : undefined
    const reason = this.#retiring ? 'it made way when its work was done' : (ours?.end ?? 'it died')
    this.#delayMs = Math.min(Math.max(this.#delayMs * 2, 500), RESTART_DELAY_MS_MAX)
    await this.#start(reason)
  }

  async #attend(): Promise<void> {
    const before = this.#identity
    if (await this.#look()) {
      // Another process answers in its place, or one that we found by its record told its name.
      if (before?.pid !== this.#identity?.pid) await this.#writeRecord()
      if (this.#version !== PROGRAM_VERSION && !this.#retiring) await this.#replaceVersion()
      return
    }
    if (this.#missed >= this.#timing.looksMissedMax) await this.#replaceHung()
  }

  async #replaceVersion(): Promise<void> {
    const { makeWay, name } = this.#spec
    const reason = `it was of version ${this.#version}, the server is of ${PROGRAM_VERSION}`
    this.#logger.info({ process: name, processId: this.#identity?.pid, version: this.#version }, 'it is to make way')
    if (makeWay.kind === 'beside') return this.#replaceBeside(reason)
    await makeWay.ask()
    this.#retiring = true
  }

  async #replaceHung(): Promise<void> {
    const { makeWay, name } = this.#spec
    const hung = this.#identity
    if (hung === undefined) return
    const reason = `it did not answer ${this.#missed} times in a row`
    const facts = { process: name, processId: hung.pid, reason }
    if (makeWay.kind === 'beside') return this.#replaceBeside(reason)
    if (!makeWay.mayEnd()) return this.#logger.error(facts, 'it hangs; it is not ended while nobody watches the guests')
    this.#logger.error(facts, 'it hangs and is ended')
    signalProcess(hung, 'SIGKILL')
    if (await this.#isGone(hung)) return this.#start(reason)
    this.#logger.error(facts, 'it hangs and does not end, not even killed')
  }

  /** The new one first, so that there is no time without any. */
  async #replaceBeside(reason: string): Promise<void> {
    const old = this.#identity
    await this.#start(reason)
    if (old === undefined) return
    signalProcess(old, 'SIGKILL')
    await this.#isGone(old)
  }

  async #isGone(identity: ProcessIdentity): Promise<boolean> {
    const endMs = this.#clock.monotonicMs() + END_MS_MAX
    while (processState(identity) === 'alive') {
      if (this.#clock.monotonicMs() > endMs) return false
      await this.#clock.sleep(READY_POLL_MS)
    }
    return true
  }

  /** False when we are to leave. */
  async #pause(ms: number): Promise<boolean> {
    try {
      await this.#clock.sleep(ms, this.#over.signal)
    } catch {
      return false // The sleep only ends early because we leave.
    }
    return !this.#over.signal.aborted
  }
}
