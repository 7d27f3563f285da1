/**
 * The job engine on the catalog's SQLite file. Several processes of one host may run one on the same file.
 *
 * A *round* (`tick`) does what the time asks for: renews leases and drops what was lost, passes cancellations on, fires
 * schedules, takes over from dead owners, claims what is due. Runs end on their own and wake the next round. Nothing that
 * a round does is lost when the process dies in the middle: every piece is one transaction.
 */
import { BaseError, messageOf, randomUuid } from '#base'
import { isFinal } from '#domain'
import { JobsError } from '../errors.ts'
import type {
  JobDefinition,
  JobEngine,
  JobEvent,
  JobFilter,
  JobView,
  QueueLimits,
  ScheduleSpec,
  ScheduleView,
  StartOptions,
  StepView,
} from '../port.ts'
import { insertJob, planJob, Registry } from './create-job.ts'
import { recordOutcome, release } from './finish.ts'
import type { JobRun, Outcome } from './job-run.ts'
import { beginRun } from './begin-run.ts'
import {
  announce,
  cancelRequests,
  claimNext,
  type ClaimedJob,
  deadOwners,
  forgetOwners,
  type Ownership,
  renewLeases,
} from './ownership.ts'
import { requestCancel, sendSignal } from './requests.ts'
import { fireDue, listSchedules, putSchedule, removeSchedule } from './schedules.ts'
import { ENGINE_TIMING_DEFAULT, type EngineSettings, type EngineTiming } from './settings.ts'
import { forgetHistory, getJob, listEvents, listJobs, listSteps } from './views.ts'

const SLOTS_DEFAULT = 16
const HISTORY_SWEEP_MS = 3_600_000
/** A job that we lost and got again while a step of its last life has not stopped here yet is left alone for this long. */
const STILL_HERE_DELAY_MS = 1000

export class EmbeddedEngine implements JobEngine {
  readonly #settings: EngineSettings
  readonly #timing: EngineTiming
  readonly #ownership: Ownership
  readonly #registry = new Registry()
  readonly #runs = new Map<string, Readonly<{ run: JobRun | undefined; over: Promise<void> }>>()
  #wake = new AbortController()
  #stopping = false
  #loop: Promise<void> = Promise.resolve()
  #renewedMs = Number.NEGATIVE_INFINITY
  #sweptMs = Number.NEGATIVE_INFINITY

  constructor(settings: EngineSettings) {
    this.#settings = settings
    this.#timing = { ...ENGINE_TIMING_DEFAULT, ...settings.timing }
    const owner = `${settings.process.pid}-${randomUuid(settings.random)}`
    this.#ownership = { settings, owner, leaseMs: this.#timing.leaseMs }
  }

  define<Input, Output>(definition: JobDefinition<Input, Output>): void {
    this.#registry.define(definition as unknown as JobDefinition)
  }

  queue(name: string, limits: QueueLimits): void {
    this.#registry.queues.set(name, limits)
  }

  async start(job: string, input: unknown, options: StartOptions = {}): Promise<string> {
    const id = options.id ?? randomUuid(this.#settings.random)
    const row = planJob(this.#registry, { id, job, input, options }, this.#settings.clock.nowMs())
    await this.#settings.catalog.write((trx) => insertJob(trx, row))
    this.#wakeUp()
    return id
  }

  async signal(id: string, name: string, payload: unknown = null): Promise<void> {
    await sendSignal(this.#settings, id, name, payload)
    this.#wakeUp()
  }

  async cancel(id: string, reason = ''): Promise<boolean> {
    const asked = await requestCancel(this.#settings, id, reason)
    this.#wakeUp()
    return asked
  }

  get(id: string): Promise<JobView | undefined> {
    return getJob(this.#settings.catalog, id)
  }

  list(filter: JobFilter = {}): Promise<JobView[]> {
    return listJobs(this.#settings.catalog, filter)
  }

  steps(id: string): Promise<StepView[]> {
    return listSteps(this.#settings.catalog, id)
  }

  events(afterSequence: number, id?: string): Promise<JobEvent[]> {
    return listEvents(this.#settings.catalog, afterSequence, id)
  }

  async *tail(id: string, afterSequence = 0, signal?: AbortSignal): AsyncIterable<JobEvent> {
    let last = afterSequence
    for (;;) {
      const job = await this.#getOrThrow(id)
      const events = await this.events(last, id)
      yield* events
      last = events.at(-1)?.sequence ?? last
      if (events.length > 0) continue
      if (isFinal(job.status) || signal?.aborted === true) return
      await this.#settings.clock.sleep(this.#timing.pollMs)
    }
  }

  async wait(id: string, signal?: AbortSignal): Promise<JobView> {
    for (;;) {
      const job = await this.#getOrThrow(id)
      if (isFinal(job.status)) return job
      await this.#settings.clock.sleep(this.#timing.pollMs, signal)
    }
  }

  schedule(spec: ScheduleSpec): Promise<void> {
    return putSchedule(this.#settings, this.#registry, spec)
  }

  unschedule(name: string): Promise<void> {
    return removeSchedule(this.#settings, name)
  }

  schedules(): Promise<ScheduleView[]> {
    return listSchedules(this.#settings)
  }

  forgetHistory(finishedBeforeMs: number): Promise<number> {
    return forgetHistory(this.#settings.catalog, finishedBeforeMs)
  }

  run(): void {
    this.#loop = this.#rounds()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#wakeUp()
    await this.#loop
    const reason = new JobsError('engine_stopping', 'This process ends; the job goes on elsewhere.', { retry: 'later' })
    for (const { run } of this.#runs.values()) run?.state.ended.abort(reason)
    await this.settled()
  }

  /** Resolves when no job runs here. Jobs that begin meanwhile are not waited for. */
  async settled(): Promise<void> {
    await Promise.all(Array.from(this.#runs.values(), ({ over }) => over))
  }

  /** One round. Public so that the engine can be driven by a clock that stands still. @throws CatalogError */
  async tick(): Promise<void> {
    await this.#keep()
    const asked = await cancelRequests(this.#ownership)
    for (const [id, reason] of asked) this.#runs.get(id)?.run?.state.cancel(reason)
    await fireDue(this.#settings, this.#registry)
    await this.#claimAll()
    await this.#sweep()
  }

  async #rounds(): Promise<void> {
    while (!this.#stopping) {
      this.#wake = new AbortController()
      try {
        await this.tick()
      } catch (error) {
        // The round is made of whole transactions: the next one does what this one could not.
        this.#settings.logger.warn({ error: messageOf(error) }, 'a round of the job engine failed')
      }
      await this.#rest()
    }
  }

  async #rest(): Promise<void> {
    if (this.#stopping) return
    try {
      await this.#settings.clock.sleep(this.#timing.pollMs, this.#wake.signal)
    } catch (error) {
      if (!(error instanceof BaseError)) throw error // Only our own wake-up is expected here.
    }
  }

  #wakeUp(): void {
    this.#wake.abort()
  }

  async #getOrThrow(id: string): Promise<JobView> {
    const job = await this.get(id)
    if (job !== undefined) return job
    throw new JobsError('job_unknown', `There is no job ${id}.`, { facts: { id } })
  }

  /** Renews our leases when a third of them has passed; ends runs that are ours no more, gives back jobs that nobody runs. */
  async #keep(): Promise<void> {
    const now = this.#settings.clock.monotonicMs()
    if (now - this.#renewedMs < this.#timing.leaseMs / 3) return
    await announce(this.#ownership)
    const before = Array.from(this.#runs.keys())
    const ours = await renewLeases(this.#ownership)
    this.#renewedMs = now
    for (const id of before) if (!ours.has(id)) this.#drop(id)
    for (const id of ours.keys()) {
      if (this.#runs.has(id)) continue
      await this.#giveBack(id, 0)
    }
  }

  async #giveBack(jobId: string, delayMs: number): Promise<void> {
    const ours = { jobId, owner: this.#ownership.owner }
    await this.#settings.catalog.write((trx) => release(trx, ours, this.#settings.clock.nowMs(), delayMs))
  }

  #drop(id: string): void {
    const ended = this.#runs.get(id)?.run?.state.ended
    ended?.abort(new JobsError('job_lost', `Job ${id} is owned by another process now.`, { facts: { id } }))
  }

  async #claimAll(): Promise<void> {
    const known = this.#registry.known()
    if (known.length === 0 || this.#stopping) return
    const dead = await deadOwners(this.#ownership)
    for (const [queue, limits] of this.#registry.queues) {
      while (!this.#stopping && this.#runs.size < (this.#settings.slots ?? SLOTS_DEFAULT)) {
        const job = await claimNext(this.#ownership, { queue, limits, known, dead })
        if (job === undefined) break
        if (this.#runs.has(job.id)) await this.#giveBack(job.id, STILL_HERE_DELAY_MS)
        else this.#begin(job)
      }
    }
  }

  #begin(job: ClaimedJob): void {
    const over = this.#live(job)
    // `#live` sets the run itself once its records are read; until then the job has a place here without one.
    this.#runs.set(job.id, { run: undefined, over })
  }

  async #live(job: ClaimedJob): Promise<void> {
    try {
      const run = await beginRun(this.#settings, this.#timing, this.#ownership.owner, this.#registry, job)
      const entry = this.#runs.get(job.id)
      if (entry !== undefined) this.#runs.set(job.id, { ...entry, run })
      const outcome: Outcome = this.#stopping ? { kind: 'ended' } : await run.execute()
      if (outcome.kind === 'broken') {
        this.#settings.logger.error({ job: job.id, error: messageOf(outcome.error) }, 'a job was interrupted')
      }
      await recordOutcome(run.state, outcome)
    } catch (error) {
      // Not recorded: lost to another owner, or the catalog is out of reach. The job is found again by its lease.
      this.#settings.logger.warn({ job: job.id, error: messageOf(error) }, 'the end of a run was not recorded')
    } finally {
      this.#runs.delete(job.id)
      this.#wakeUp()
    }
  }

  async #sweep(): Promise<void> {
    const now = this.#settings.clock.monotonicMs()
    if (now - this.#sweptMs < HISTORY_SWEEP_MS) return
    this.#sweptMs = now
    await this.forgetHistory(this.#settings.clock.nowMs() - this.#timing.historyMs)
    await forgetOwners(this.#ownership)
  }
}
