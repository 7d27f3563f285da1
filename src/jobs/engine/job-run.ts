/**
 * One life of one job: replays its workflow up to where it was, goes on, and ends in exactly one of these ways.
 *
 *   done, failed, cancelled   after its cleanup; recorded together with the parent's wake-up
 *   paused                    put down until it is due or woken; recorded
 *   ended                     lost to another owner, or the engine stops: nothing is recorded here
 *   broken                    the catalog could not be written: the job is given back and tried again later
 */
import { assert } from '#base'
import { JobsError } from '../errors.ts'
import type { CleanupOptions, JobContext, JobDefinition, StepContext, StepOptions } from '../port.ts'
import { openValue, sealError, sealValue } from '../stored-value.ts'
import { CatalogError } from '#catalog'
import { never, type Pause, Paused, Pauses } from './pauses.ts'
import type { RunState } from './run-state.ts'
import { runStep } from './run-step.ts'
import { child, type CreateChild, sleep, waitForSignal } from './run-waits.ts'

export type Outcome =
  | Readonly<{ kind: 'succeeded'; output: string }>
  | Readonly<{ kind: 'failed'; error: string }>
  | Readonly<{ kind: 'cancelled'; error: string }>
  | Readonly<{ kind: 'paused'; pause: Pause }>
  | Readonly<{ kind: 'ended' }>
  | Readonly<{ kind: 'broken'; error: unknown }>

type EndOfWorkflow = Extract<Outcome, { kind: 'succeeded' | 'failed' | 'cancelled' }>
type Cleanup = Readonly<{ name: string; run: (step: StepContext) => Promise<void> | void; options: CleanupOptions }>

export class JobRun {
  readonly state: RunState
  readonly #definition: JobDefinition
  readonly #createChild: CreateChild
  readonly #flags: ReadonlySet<number>
  readonly #names = new Set<string>()
  readonly #cleanups: Cleanup[] = []
  readonly #pauses: Pauses
  #open = true
  #leaving: Outcome = { kind: 'ended' }
  #settle: (outcome: Outcome) => void = () => {}

  constructor(state: RunState, definition: JobDefinition, createChild: CreateChild) {
    this.state = state
    this.#definition = definition
    this.#createChild = createChild
    this.#flags = new Set(openValue(state.job.flags) as number[])
    this.#pauses = new Pauses((pause) => this.#settle({ kind: 'paused', pause }))
  }

  /** Runs this life to its end. Never rejects. */
  execute(): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#settle = resolve
      const end = (): void => {
        // Steps at work hear of it through their signals; they are waited for, so that nothing runs on behind our back.
        void this.#pauses.idle().then(() => resolve(this.#leaving))
      }
      this.state.ended.signal.addEventListener('abort', end, { once: true })
      void this.#live().then(resolve, (error: unknown) => resolve({ kind: 'broken', error }))
    })
  }

  async #live(): Promise<Outcome> {
    const end = await this.#runWorkflow()
    this.#open = false
    this.state.abandoned.abort(
      new JobsError('job_over', 'The job is over; a call beside the one that ended it was left.'),
    )
    await this.#pauses.idle()
    return this.#cleanUp(end)
  }

  async #runWorkflow(): Promise<EndOfWorkflow> {
    const { state } = this
    try {
      const value = await this.#definition.run(this.#context(), openValue(state.job.input))
      const output = sealValue(value, 'The result of the job')
      if (state.cancelDelivered) return { kind: 'cancelled', error: sealError(state.cancelled.signal.reason) }
      return { kind: 'succeeded', output }
    } catch (error) {
      return { kind: state.cancelDelivered ? 'cancelled' : 'failed', error: sealError(error) }
    }
  }

  async #cleanUp(end: EndOfWorkflow): Promise<Outcome> {
    let outcome = end
    for (const { name, run, options } of this.#cleanups.toReversed()) {
      if (end.kind === 'succeeded' && options.when !== 'always') continue
      try {
        await this.#call(() => runStep(this.state, { name, kind: 'cleanup', run, options }))
      } catch (error) {
        // The step's row keeps the error. A job that had failed or was cancelled stays that.
        if (outcome.kind === 'succeeded') outcome = { kind: 'failed', error: sealError(cleanupFailed(name, error)) }
      }
    }
    return outcome
  }

  /** One call of the workflow: what ends the run never reaches the workflow, what ends the call does. */
  #call<T>(run: () => Promise<T>): Promise<T> {
    return this.#pauses.call(async () => {
      try {
        return await run()
      } catch (error) {
        if (error instanceof Paused) throw error
        if (this.state.isOver(error)) return this.#leave({ kind: 'ended' })
        if (error instanceof CatalogError) return this.#leave({ kind: 'broken', error })
        throw error
      }
    })
  }

  #leave<T>(outcome: Outcome): Promise<T> {
    if (!this.state.ended.signal.aborted) {
      this.#leaving = outcome
      this.state.ended.abort(new JobsError('job_lost', 'The job is not run here any more.'))
    }
    throw new Paused({ status: 'waiting', dueMs: null })
  }

  #named<T>(name: string, run: () => Promise<T>): Promise<T> {
    if (!this.#open) return never<T>()
    if (this.#names.has(name)) {
      const message = `The job uses the name "${name}" for two calls.`
      return Promise.reject(new JobsError('job_step_repeated', message, { facts: { name } }))
    }
    this.#names.add(name)
    return this.#call(run)
  }

  #context(): JobContext {
    const { state } = this
    return {
      jobId: state.held.jobId,
      has: (flag) => {
        assert(flag in (this.#definition.flags ?? {}), `Flag ${flag} is not in the definition's list`)
        return this.#flags.has(flag)
      },
      step: <T>(name: string, run: (step: StepContext) => Promise<T> | T, options: StepOptions = {}) =>
        this.#named(name, () => runStep(state, { name, kind: 'step', run, options }) as Promise<T>),
      sleep: (name, ms) => this.#named(name, () => sleep(state, name, ms)),
      waitForSignal: (name, { timeoutMs, as = name } = {}) =>
        this.#named(as, () => waitForSignal(state, { step: as, name, timeoutMs })),
      child: <T>(name: string, job: string, input: unknown, options = {}) =>
        this.#named(name, () => child(state, { name, job, input, options, create: this.#createChild }) as Promise<T>),
      cleanup: (name, run, options = {}) => {
        if (this.#names.has(name))
          throw new JobsError('job_step_repeated', `The job uses the name "${name}" for two calls.`)
        this.#names.add(name)
        this.#cleanups.push({ name, run, options })
      },
    }
  }
}

function cleanupFailed(name: string, cause: unknown): JobsError {
  const message = `The job did its work, but its cleanup ${name} failed.`
  return new JobsError('job_cleanup_failed', message, { facts: { cleanup: name }, cause })
}
