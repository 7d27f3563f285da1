/**
 * Keeps a process of its own running: starts it so that it survives us, finds it again, starts it anew when it is dead.
 *
 *   we die after                     what is left                       the next one
 *   starting it, before the record   a process that nobody wrote down   finds it by its socket (or its own lock refuses a second)
 *   the record                       the process and its record         finds it by pid and start time
 *
 * It never kills: a process that does not answer but lives is reported, not ended; its work may be the only copy of a step.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { type Clock, messageOf, PROGRAM_VERSION } from '#base'
import {
  identityOf,
  type Logger,
  type ProcessIdentity,
  processState,
  replaceFile,
  type RpcAddress,
  RpcClient,
} from '#runtime'
import { ServerError } from './errors.ts'
import type { Home } from './home.ts'

export type ProcessEntry = Readonly<{ program: string; args: readonly string[] }>

export type SupervisedSpec = Readonly<{
  name: string
  entry: ProcessEntry
  /** Where it says hello once it is ready. Without one it counts as ready as soon as it runs. */
  address?: RpcAddress
  env?: Readonly<Record<string, string>>
}>

export type SupervisedState = Readonly<{
  name: string
  identity: ProcessIdentity | undefined
  alive: boolean
  starts: number
}>

const WATCH_MS = 500
const READY_MS = 20_000
const READY_POLL_MS = 25
const RESTART_DELAY_MS_MAX = 30_000
/** A process that lived this long before it died is started again at once. */
const STEADY_MS = 60_000

export function isIdentity(value: unknown): value is ProcessIdentity {
  if (typeof value !== 'object' || value === null) return false
  const { bootId, pidNamespace, pid, startTicks } = value as Record<string, unknown>
  return (
    typeof bootId === 'string' &&
    typeof pidNamespace === 'string' &&
    typeof startTicks === 'string' &&
    typeof pid === 'number'
  )
}

export class Supervised {
  readonly #spec: SupervisedSpec
  readonly #home: Home
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #over = new AbortController()
  #identity: ProcessIdentity | undefined
  #starts = 0
  #watching: Promise<void> = Promise.resolve()

  constructor(spec: SupervisedSpec, home: Home, clock: Clock, logger: Logger) {
    this.#spec = spec
    this.#home = home
    this.#clock = clock
    this.#logger = logger
  }

  /** Finds the process or starts it, and keeps it running from now on. @throws ServerError `process_not_started` */
  async begin(): Promise<void> {
    this.#identity = await this.#find()
    if (this.#identity === undefined) await this.#start()
    else this.#logger.info({ process: this.#spec.name, pid: this.#identity.pid }, 'found running')
    this.#watching = this.#watch()
  }

  /** Stops watching. The process stays. */
  async leave(): Promise<void> {
    this.#over.abort()
    await this.#watching
  }

  get state(): SupervisedState {
    const identity = this.#identity
    const alive = identity !== undefined && processState(identity) === 'alive'
    return { name: this.#spec.name, identity, alive, starts: this.#starts }
  }

  async #find(): Promise<ProcessIdentity | undefined> {
    const greeted = await this.#greet()
    if (greeted !== undefined) return greeted
    const recorded = this.#readRecord()
    return recorded !== undefined && processState(recorded) === 'alive' ? recorded : undefined
  }

  async #greet(): Promise<ProcessIdentity | undefined> {
    if (this.#spec.address === undefined) return undefined
    try {
      const client = await RpcClient.open(this.#spec.address, 'control', PROGRAM_VERSION)
      client.close()
      const { identity } = client.peer.facts
      return isIdentity(identity) ? identity : undefined
    } catch {
      return undefined // Nobody answers: that is the question that was asked.
    }
  }

  #readRecord(): ProcessIdentity | undefined {
    try {
      const value: unknown = JSON.parse(readFileSync(this.#home.record(this.#spec.name), 'utf8'))
      return isIdentity(value) ? value : undefined
    } catch {
      return undefined // No record, or not one of ours: then it is as if it had never been started.
    }
  }

  async #start(): Promise<void> {
    const { name, entry, env } = this.#spec
    const log = openSync(this.#home.log(name), 'a', 0o600)
    const child = spawn(entry.program, entry.args, {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: '/',
      env: { ...process.env, HOLDFAST_HOME: this.#home.folder, ...env },
    })
    closeSync(log)
    let failure: string | undefined
    child.once('error', (error) => (failure = messageOf(error)))
    child.once('exit', (code, signal) => (failure ??= `it ended (${signal ?? code ?? 'unknown'})`))
    child.unref()
    this.#starts += 1
    this.#identity = child.pid === undefined ? undefined : identityOf(child.pid)
    if (this.#identity !== undefined) {
      await replaceFile(this.#home.record(name), [Buffer.from(`${JSON.stringify(this.#identity)}\n`)])
    }
    await this.#untilReady(() => failure)
    this.#logger.info({ process: name, pid: this.#identity?.pid }, 'started')
  }

  async #untilReady(failureOf: () => string | undefined): Promise<void> {
    const deadline = this.#clock.monotonicMs() + READY_MS
    for (;;) {
      await this.#clock.sleep(READY_POLL_MS)
      const failure = failureOf() ?? (this.#clock.monotonicMs() > deadline ? 'it does not answer' : undefined)
      if (failure !== undefined) {
        const { name } = this.#spec
        throw new ServerError('process_not_started', `The ${name} could not be started: ${failure}.`, {
          facts: { process: name, log: this.#home.log(name) },
          retry: 'later',
          hint: `See ${this.#home.log(name)}.`,
        })
      }
      if (this.#spec.address === undefined) return
      const greeted = await this.#greet()
      if (greeted !== undefined) {
        this.#identity = greeted
        return
      }
    }
  }

  async #watch(): Promise<void> {
    let delayMs = 0
    let sinceMs = this.#clock.monotonicMs()
    while (await this.#pause(WATCH_MS)) {
      if (this.#identity !== undefined && processState(this.#identity) !== 'dead') continue
      if (this.#clock.monotonicMs() - sinceMs > STEADY_MS) delayMs = 0
      this.#logger.warn(
        { process: this.#spec.name, pid: this.#identity?.pid, delayMs },
        'it is dead; starting it again',
      )
      if (!(await this.#pause(delayMs))) return
      delayMs = Math.min(Math.max(delayMs * 2, 500), RESTART_DELAY_MS_MAX)
      sinceMs = this.#clock.monotonicMs()
      try {
        await this.#start()
      } catch (error) {
        // The next round tries again, later each time.
        this.#logger.error({ process: this.#spec.name, error: messageOf(error) }, 'it could not be started again')
      }
    }
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
