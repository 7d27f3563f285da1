/**
 * Work that a worker process does for a step. Jobs ask a TaskRunner; the worker hosts TaskHandlers by name; between them
 * lies the RPC. A task is keyed by (job, step) and carries the epoch of the attempt that asks for it:
 *
 *   asked again with      while the task            what happens
 *   the same epoch        runs or has ended         the caller is attached to it, or gets its result
 *   a greater epoch       runs                      it is adopted: it goes on under the greater epoch
 *   a greater epoch       has succeeded             its result is given
 *   a greater epoch       has failed                it begins again
 *   a smaller epoch       is known                  refused (`task_fenced`)
 *
 * A result is kept until it is acknowledged, which happens once the step's result is recorded.
 */
import type { Progress } from '#base'
import type { StepContext } from './port.ts'

export type TaskKey = Readonly<{ job: string; step: string; epoch: number }>

export interface TaskContext {
  readonly key: TaskKey
  /** The fencing token for writes to a store: read it anew for each, for it grows when the task is adopted. */
  readonly epoch: () => number
  /** Aborts when the task is cancelled or the worker ends. */
  readonly signal: AbortSignal
  readonly progress: (progress: Progress) => void
  /** Says that the task has come so far. It is told again to whoever attaches later, so that the step can record it. */
  readonly milestone: (name: string, facts: Readonly<Record<string, unknown>>) => void
  /**
   * Resolves once that milestone is on record, however often the server dies meanwhile: what must not be done twice begins after it.
   * @throws what the task is cancelled with
   */
  readonly recorded: (name: string) => Promise<void>
  /** Milestones that were recorded before this task began: another worker came so far, and died. */
  readonly reached: ReadonlySet<string>
}

export type Milestone = Readonly<{ name: string; facts: Readonly<Record<string, unknown>> }>

/** Does the work; input and output are JSON. It may be begun again after the worker died: it is idempotent. */
export type TaskHandler = (input: unknown, context: TaskContext) => Promise<unknown>

/** For `StepOptions.retry`: a host elsewhere may be away for as long as it likes. */
export const HOST_WAIT = { waitsFor: ['host_away'] } as const

export interface TaskRunner {
  /**
   * Runs the task on the host (`region/name`; undefined: this one), or attaches to it; never on another one. When the step's signal aborts because the job is cancelled or late, the task is
   * cancelled and waited for; because this process ends, it is left alone.
   * @throws the task's error; `worker_lost` (retry later) when the worker died; `host_away` (retry later) while the host is
   * not connected: HOST_WAIT in a step's retry waits for it
   */
  run(step: StepContext, task: string, input: unknown, host?: string): Promise<unknown>
}
