/**
 * Steps that run on a worker. Each task has a connection of its own; a broken one means that the worker is gone (or out of
 * reach), and the step is retried: its next attempt finds the task still running, or begins it again on a fresh worker.
 */
import { type Clock, isHoldfastError, messageOf, PROGRAM_VERSION, type Progress } from '#base'
import type { Milestone, StepContext, TaskKey, TaskRunner } from '#jobs'
import { type Logger, type RpcAddress, RpcClient, systemClock } from '#runtime'
import { ServerError } from '../errors.ts'
import type { WorkerLimits } from '../hosts/host-limits.ts'
import type { TaskView } from './task-table.ts'

type Request = Readonly<{ key: TaskKey; task: string; input: unknown; reached: readonly string[] }>

const RETIRING_POLL_MS = 500

function lost(cause: unknown): ServerError {
  return new ServerError('worker_lost', `The worker cannot be reached: ${messageOf(cause)}.`, {
    retry: 'later',
    hint: '`serve` starts it again; its log is in the home.',
    cause,
  })
}

function isProgress(event: unknown): event is Progress {
  return typeof event === 'object' && event !== null && 'doneBytes' in event && 'totalBytes' in event && 'task' in event
}

function milestoneIn(event: unknown): Milestone | undefined {
  if (typeof event !== 'object' || event === null || !('milestone' in event)) return undefined
  return event.milestone as Milestone
}

export class WorkerClient implements TaskRunner {
  readonly #address: RpcAddress
  readonly #logger: Logger
  readonly #clock: Clock

  constructor(address: RpcAddress, logger: Logger, clock: Clock = systemClock) {
    this.#address = address
    this.#logger = logger
    this.#clock = clock
  }

  /** Waits while the worker makes way for its successor, however long its tasks take: that is no failed attempt. */
  async run(step: StepContext, task: string, input: unknown): Promise<unknown> {
    const key: TaskKey = { job: step.jobId, step: step.stepName, epoch: step.epoch }
    step.signal.throwIfAborted()
    step.afterRecorded(() => this.#acknowledge(key))
    for (;;) {
      try {
        return await this.#runOnce(step, { key, task, input, reached: step.reached })
      } catch (error) {
        if (!isHoldfastError(error, 'worker_retiring')) throw error
        await this.#clock.sleep(RETIRING_POLL_MS, step.signal)
      }
    }
  }

  async #runOnce(step: StepContext, request: Request): Promise<unknown> {
    const client = await this.#open()
    if (step.signal.aborted) client.close() // It aborted while we connected: nothing was asked for yet.
    step.signal.throwIfAborted()
    try {
      return await this.#attend(client, step, request)
    } catch (error) {
      if (isHoldfastError(error, 'rpc_closed', 'rpc_unreachable')) throw lost(error)
      throw error
    } finally {
      client.close()
    }
  }

  /** What the worker runs and keeps. @throws ServerError `worker_lost` */
  async list(): Promise<TaskView[]> {
    return (await this.#once('task.list', null)) as TaskView[]
  }

  /** Lets go of results whose steps are recorded, which a crash kept us from saying. */
  async acknowledge(key: TaskKey): Promise<void> {
    await this.#once('task.acknowledge', { key })
  }

  /** Lets the worker end once its tasks have ended, for instance to make room for a newer version. */
  async retire(): Promise<void> {
    await this.#once('worker.retire', null)
  }

  /** @throws ServerError `worker_lost`, `host_away` */
  async configure(limits: WorkerLimits): Promise<void> {
    await this.#once('worker.configure', limits)
  }

  async #attend(client: RpcClient, step: StepContext, request: Request): Promise<unknown> {
    const leave = new AbortController()
    const heed = (): void => {
      const { reason } = step.signal as { reason: unknown }
      if (!isHoldfastError(reason, 'cancelled', 'timed_out', 'job_over')) return leave.abort(reason)
      void this.#cancel(client, request.key, reason.code, leave)
    }
    step.signal.addEventListener('abort', heed, { once: true })
    let recorded: Promise<unknown> = Promise.resolve()
    const onEvent = (event: unknown): void => {
      if (isProgress(event)) step.progress(event)
      const reached = milestoneIn(event)
      if (reached === undefined) return
      recorded = Promise.all([recorded, this.#record(client, step, request.key, reached)])
      recorded.catch((error: unknown) => leave.abort(error)) // Unrecorded, nothing may rest on it: the attempt ends.
    }
    try {
      return await client.call('task.run', request, { onEvent, signal: leave.signal })
    } finally {
      step.signal.removeEventListener('abort', heed)
      // What the worker said before it ended or died is on record before the attempt is over.
      await recorded
    }
  }

  async #record(client: RpcClient, step: StepContext, key: TaskKey, { name, facts }: Milestone): Promise<void> {
    await step.milestone(name, facts)
    try {
      await client.call('task.recorded', { key, milestone: name })
    } catch (error) {
      // The worker is gone, or of a version that does not wait; one that lives tells it again to whoever attaches next.
      this.#logger.info({ job: key.job, step: key.step, error: messageOf(error) }, 'a milestone was not confirmed')
    }
  }

  async #cancel(client: RpcClient, key: TaskKey, reason: string, leave: AbortController): Promise<void> {
    try {
      await client.call('task.cancel', { key, reason })
    } catch (error) {
      leave.abort(error) // Gone, or fenced by a newer attempt: either way there is nothing here to wait for.
    }
  }

  async #acknowledge(key: TaskKey): Promise<void> {
    try {
      await this.acknowledge(key)
    } catch (error) {
      // The worker keeps the result a while longer; `serve` reconciles when it starts.
      this.#logger.info({ job: key.job, step: key.step, error: messageOf(error) }, 'a result was not acknowledged')
    }
  }

  async #once(method: string, params: unknown): Promise<unknown> {
    const client = await this.#open()
    try {
      return await client.call(method, params)
    } finally {
      client.close()
    }
  }

  async #open(): Promise<RpcClient> {
    try {
      return await RpcClient.open(this.#address, 'control', PROGRAM_VERSION)
    } catch (error) {
      if (isHoldfastError(error, 'host_away')) throw error
      throw lost(error)
    }
  }
}
