/**
 * What is recorded of a job's steps, each write in one fenced transaction.
 *
 *   begin    row `running`, attempts+1            a crash now: the next owner begins it again (crashes+1)
 *   finish   row `succeeded` with the output      a crash now: the next owner takes the output
 *   fail     row `failed` with the error          the error is as final as an output
 *   retry    row `retrying`, due later            a crash now: the next owner waits out the rest
 */
import type { Selectable } from 'kysely'
import type { CatalogTransaction, JobStepTable, StepKind } from '#catalog'
import { addEvent, checkHeld, type Held, raiseEpoch } from './fence.ts'
import type { EngineSettings } from './settings.ts'

export type StepRow = Selectable<JobStepTable>

/** The recorded steps of one job; memory and table agree as long as we own the job, for nobody else writes them. */
export class StepRecords {
  readonly #settings: EngineSettings
  readonly #held: Held
  readonly #rows: Map<string, StepRow>

  private constructor(settings: EngineSettings, held: Held, rows: readonly StepRow[]) {
    this.#settings = settings
    this.#held = held
    this.#rows = new Map(rows.map((row) => [row.name, row]))
  }

  static async load(settings: EngineSettings, held: Held): Promise<StepRecords> {
    const rows = await settings.catalog.db
      .selectFrom('job_step')
      .selectAll()
      .where('job_id', '=', held.jobId)
      .orderBy('position')
      .execute()
    return new StepRecords(settings, held, rows)
  }

  get(name: string): StepRow | undefined {
    return this.#rows.get(name)
  }

  get count(): number {
    return this.#rows.size
  }

  /**
   * Writes `row` and what `also` adds, if we still own the job. `also` may change the row that is written.
   * @throws JobsError `job_lost`
   */
  async #write(row: StepRow, also: (trx: CatalogTransaction) => Promise<StepRow>): Promise<StepRow> {
    const written = await this.#settings.catalog.write(async (trx) => {
      await checkHeld(trx, this.#held)
      const final = await also(trx)
      await trx
        .insertInto('job_step')
        .values(final)
        .onConflict((conflict) => conflict.columns(['job_id', 'name']).doUpdateSet(final))
        .execute()
      return final
    })
    this.#rows.set(row.name, written)
    return written
  }

  #blank(name: string, kind: StepKind): StepRow {
    return {
      job_id: this.#held.jobId,
      name,
      position: this.#rows.size,
      kind,
      status: 'running',
      epoch: this.#held.epoch,
      attempts: 0,
      failures: 0,
      crashes: 0,
      due_ms: null,
      output: null,
      error: null,
      started_ms: this.#settings.clock.nowMs(),
      finished_ms: null,
    }
  }

  /** Begins an attempt. One that is not the first gets an epoch of its own, so that no two attempts share one. */
  async begin(name: string, kind: StepKind): Promise<StepRow> {
    const before = this.#rows.get(name) ?? this.#blank(name, kind)
    const crashed = before.attempts > 0 && before.status === 'running'
    let epoch = this.#held.epoch
    const row = await this.#write(before, async (trx) => {
      epoch =
        before.attempts > 0 && before.epoch === this.#held.epoch ? await raiseEpoch(trx, this.#held) : this.#held.epoch
      const attempts = before.attempts + 1
      await addEvent(trx, this.#held.jobId, this.#settings.clock.nowMs(), 'step_begun', { step: name, attempts, epoch })
      return {
        ...before,
        status: 'running',
        epoch,
        attempts,
        crashes: before.crashes + (crashed ? 1 : 0),
        due_ms: null,
      }
    })
    this.#held.epoch = epoch
    return row
  }

  /** Records the end of an attempt, or the state of a wait, with an event of the kind `step_<status>`. */
  async settle(
    name: string,
    kind: StepKind,
    change: Partial<StepRow> & Pick<StepRow, 'status'>,
    also: (trx: CatalogTransaction) => Promise<void> = async () => {},
  ): Promise<StepRow> {
    const nowMs = this.#settings.clock.nowMs()
    const row = { ...(this.#rows.get(name) ?? this.#blank(name, kind)), ...change, epoch: this.#held.epoch }
    const final = row.status === 'succeeded' || row.status === 'failed' || row.status === 'cancelled'
    const settled = { ...row, finished_ms: final ? nowMs : null }
    return this.#write(settled, async (trx) => {
      await also(trx)
      await addEvent(trx, this.#held.jobId, nowMs, `step_${row.status}`, { step: name, kind, epoch: row.epoch })
      return settled
    })
  }
}
