/** What the pieces of one run of a job share: whose it is, what is recorded, what ends it. */
import { BaseError, type Progress } from '#base'
import type { CatalogTransaction } from '#catalog'
import { JobsError } from '../errors.ts'
import { addEvent, checkHeld, type Held } from './fence.ts'
import type { ClaimedJob } from './ownership.ts'
import type { EngineSettings, EngineTiming } from './settings.ts'
import type { StepRecords } from './step-records.ts'

export class RunState {
  readonly settings: EngineSettings
  readonly timing: EngineTiming
  readonly job: ClaimedJob
  readonly held: Held
  readonly steps: StepRecords
  /** Aborts when the job is cancelled. Cleanup does not listen to it. */
  readonly cancelled = new AbortController()
  /** Aborts when this run is over for a reason outside the job: it was lost, or the engine stops. */
  readonly ended = new AbortController()
  /** Aborts when the workflow failed and calls beside the failed one are still at work. */
  readonly abandoned = new AbortController()
  /** The workflow was told of its cancellation: whatever it does now, it ends as cancelled. */
  cancelDelivered = false
  #progress: Progress | undefined
  #progressWrittenMs = Number.NEGATIVE_INFINITY

  constructor(settings: EngineSettings, timing: EngineTiming, job: ClaimedJob, held: Held, steps: StepRecords) {
    this.settings = settings
    this.timing = timing
    this.job = job
    this.held = held
    this.steps = steps
    if (job.cancel_ms !== null) this.cancel(job.cancel_reason ?? '')
  }

  cancel(reason: string): void {
    if (this.cancelled.signal.aborted) return
    const because = reason === '' ? '' : `: ${reason}`
    this.cancelled.abort(new BaseError('cancelled', `The job was cancelled${because}.`, { facts: { reason } }))
  }

  /** @throws BaseError `cancelled` when the job is to stop */
  throwIfCancelled(): void {
    if (!this.cancelled.signal.aborted) return
    this.cancelDelivered = true
    throw this.cancelled.signal.reason
  }

  get nowMs(): number {
    return this.settings.clock.nowMs()
  }

  /** One fenced transaction. @throws JobsError `job_lost` */
  write<T>(change: (trx: CatalogTransaction) => Promise<T>): Promise<T> {
    return this.settings.catalog.write(async (trx) => {
      await checkHeld(trx, this.held)
      return change(trx)
    })
  }

  readonly progress = (progress: Progress): void => {
    this.#progress = progress
    const now = this.settings.clock.monotonicMs()
    if (this.ended.signal.aborted || now - this.#progressWrittenMs < this.timing.progressMs) return
    this.#progressWrittenMs = now
    void this.#saveProgress()
  }

  async #saveProgress(): Promise<void> {
    try {
      await this.write((trx) => this.writeProgress(trx))
    } catch (error) {
      // Progress is for show: the next report or the step's end writes it again, and a lost job is found out by its lease.
      this.settings.logger.warn({ job: this.held.jobId, error }, 'progress was not written')
    }
  }

  /** Adds the newest progress to a transaction. */
  async writeProgress(trx: CatalogTransaction): Promise<void> {
    if (this.#progress === undefined) return
    const progress = JSON.stringify(this.#progress)
    await trx.updateTable('job').set({ progress }).where('id', '=', this.held.jobId).execute()
  }

  /** Adds an event of this job. */
  async note(trx: CatalogTransaction, kind: string, facts: Readonly<Record<string, unknown>> = {}): Promise<void> {
    await addEvent(trx, this.held.jobId, this.nowMs, kind, facts)
  }

  /** Whether the error says that this run may not go on here (and the job goes on elsewhere, or later). */
  isOver(error: unknown): boolean {
    return this.ended.signal.aborted || (error instanceof JobsError && error.code === 'job_lost')
  }
}
