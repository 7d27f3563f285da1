/**
 * The tasks of one worker: what runs, what has ended and was not acknowledged yet. The rules of keys and epochs stand in
 * #jobs (tasks.ts). In memory: when the worker dies its tasks are gone, and their steps begin them again.
 */
import { assert, BaseError, type ErrorShape, errorShapeOf, messageOf, type Progress, reviveError } from '#base'
import type { Milestone, TaskHandler, TaskKey } from '#jobs'
import type { Logger } from '#runtime'
import { ServerError } from '../errors.ts'

export type TaskStatus = 'running' | 'succeeded' | 'failed'

export type TaskView = Readonly<{
  key: TaskKey
  task: string
  status: TaskStatus
}>

/** What a task says on its way: how far it is, or that it has reached a milestone. */
export type TaskNews = Progress | Readonly<{ milestone: Milestone }>
type Listener = (news: TaskNews) => void

type Entry = {
  key: TaskKey
  readonly task: string
  readonly inputText: string
  readonly control: AbortController
  readonly listeners: Set<Listener>
  readonly milestones: Milestone[]
  /** Of milestones, by their names: resolved once the step has recorded it. */
  readonly records: Map<string, PromiseWithResolvers<void>>
  progress: Progress | undefined
  end: Readonly<{ value: unknown } | { error: ErrorShape }> | undefined
  over: Promise<void>
  /** The attempt that was cancelled; it may be waiting for the one before it to end. */
  cancelledEpoch: number | undefined
}

/** Ended tasks wait for their acknowledgement; this many say that nobody acknowledges. */
const TASKS_MAX = 2000

function nameOf({ job, step }: Pick<TaskKey, 'job' | 'step'>): string {
  return JSON.stringify([job, step])
}

export type TaskRequest = Readonly<{
  key: TaskKey
  task: string
  input: unknown
  /** Milestones that are on record for the step. */
  reached?: readonly string[]
}>

export class TaskTable {
  readonly #handlers: ReadonlyMap<string, TaskHandler>
  readonly #logger: Logger
  readonly #entries = new Map<string, Entry>()
  #atOnceMax: number
  readonly #waiting: (() => void)[] = []
  #atWork = 0
  #retiring = false

  /** @param atOnceMax tasks whose handlers run at once; further ones wait for their turn, in order */
  constructor(handlers: ReadonlyMap<string, TaskHandler>, logger: Logger, atOnceMax = Number.POSITIVE_INFINITY) {
    this.#handlers = handlers
    this.#logger = logger
    this.#atOnceMax = atOnceMax
  }

  /** Changes how many run at once. Those that run go on. */
  limit(atOnceMax: number): void {
    this.#atOnceMax = atOnceMax
    while (this.#atWork < this.#atOnceMax && this.#waiting.length > 0) {
      this.#atWork += 1
      this.#waiting.shift()?.()
    }
  }

  /** Runs the task or attaches to it; resolves with its result. @throws its error; ServerError */
  async run(request: TaskRequest, onNews: Listener): Promise<unknown> {
    const entry = await this.#find(request)
    for (const milestone of entry.milestones) onNews({ milestone })
    if (entry.progress !== undefined) onNews(entry.progress)
    entry.listeners.add(onNews)
    await entry.over
    entry.listeners.delete(onNews)
    assert(entry.end !== undefined, 'A task that is over has ended')
    if ('error' in entry.end) throw reviveError(entry.end.error)
    return entry.end.value
  }

  /** Asks the task to stop; false when it is not known or over. @throws ServerError `task_fenced` */
  cancel(key: TaskKey, reason: string): boolean {
    const entry = this.#entries.get(nameOf(key))
    if (entry === undefined) return false
    checkEpoch(entry, key)
    if (entry.end !== undefined) return false
    entry.cancelledEpoch = key.epoch
    entry.control.abort(new BaseError('cancelled', `The task was cancelled: ${reason}.`, { facts: { reason } }))
    return true
  }

  /** The task's milestone is on record. @throws ServerError `task_fenced` */
  recorded(key: TaskKey, milestone: string): void {
    const entry = this.#entries.get(nameOf(key))
    if (entry === undefined) return
    checkEpoch(entry, key)
    recordOf(entry, milestone).resolve()
  }

  /** Lets go of an ended task's result. @throws ServerError `task_fenced` */
  acknowledge(key: TaskKey): void {
    const entry = this.#entries.get(nameOf(key))
    if (entry === undefined) return
    checkEpoch(entry, key)
    if (entry.end !== undefined) this.#entries.delete(nameOf(key))
  }

  list(): TaskView[] {
    return Array.from(this.#entries.values(), (entry) => ({
      key: entry.key,
      task: entry.task,
      status: statusOf(entry),
    }))
  }

  get running(): number {
    return this.list().filter(({ status }) => status === 'running').length
  }

  /** Takes no new task any more. Those that run go on and can be asked for. */
  retire(): void {
    this.#retiring = true
  }

  /** Aborts what runs and waits for it. */
  async stop(): Promise<void> {
    this.retire()
    const reason = new ServerError('worker_lost', 'The worker was stopped.', { retry: 'later' })
    for (const entry of this.#entries.values()) entry.control.abort(reason)
    await Promise.all(Array.from(this.#entries.values(), ({ over }) => over))
  }

  async #find(request: TaskRequest): Promise<Entry> {
    for (;;) {
      const entry = this.#entries.get(nameOf(request.key))
      if (entry === undefined) return this.#begin(request)
      checkEpoch(entry, request.key)
      const repeated = entry.key.epoch === request.key.epoch
      const same = entry.task === request.task && entry.inputText === JSON.stringify(request.input)
      const failed = entry.end !== undefined && 'error' in entry.end
      if (repeated || (same && !failed && !entry.control.signal.aborted)) {
        entry.key = request.key
        return entry
      }
      // A new attempt of something that failed, was cancelled, or was something else: it begins when the old one is over.
      entry.key = request.key
      entry.control.abort(new BaseError('cancelled', 'A newer attempt takes the place of this one.'))
      await entry.over
      if (entry.cancelledEpoch === request.key.epoch) {
        throw new BaseError('cancelled', 'The task was cancelled before it began.')
      }
      if (entry.key.epoch === request.key.epoch) this.#entries.delete(nameOf(request.key))
    }
  }

  #begin(request: TaskRequest): Entry {
    const handler = this.#handlers.get(request.task)
    if (handler === undefined) {
      throw new ServerError('task_unknown', `This worker has no task "${request.task}".`, {
        facts: { task: request.task },
        hint: 'The worker may be of an older version: let it end its tasks and start it again.',
      })
    }
    if (this.#retiring) throw new ServerError('worker_retiring', 'The worker takes no new task.', { retry: 'later' })
    if (this.#entries.size >= TASKS_MAX) {
      throw new ServerError('worker_full', `The worker keeps ${TASKS_MAX} tasks already.`, { retry: 'later' })
    }
    const entry: Entry = {
      key: request.key,
      task: request.task,
      inputText: JSON.stringify(request.input),
      control: new AbortController(),
      listeners: new Set(),
      milestones: [],
      records: new Map(),
      progress: undefined,
      end: undefined,
      over: Promise.resolve(),
      cancelledEpoch: undefined,
    }
    this.#entries.set(nameOf(request.key), entry)
    entry.over = this.#live(entry, handler, request)
    return entry
  }

  async #live(entry: Entry, handler: TaskHandler, { input, reached = [] }: TaskRequest): Promise<void> {
    const { job, step } = entry.key
    const facts = { job, step, task: entry.task }
    try {
      const turn = this.#turn(entry.control.signal)
      if (turn !== undefined) await turn
    } catch (error) {
      this.#logger.info({ ...facts, error: messageOf(error) }, 'a task was given up before it began')
      entry.end = { error: errorShapeOf(error, 'task_failed') }
      return
    }
    this.#logger.info(facts, 'a task began')
    const progress = (progress: Progress): void => {
      entry.progress = progress
      for (const listener of entry.listeners) listener(progress)
    }
    const milestone = (name: string, facts: Milestone['facts']): void => {
      const one = { name, facts }
      entry.milestones.push(one)
      for (const listener of entry.listeners) listener({ milestone: one })
    }
    try {
      const { key, control } = entry
      const recorded = (name: string): Promise<void> => orAborted(recordOf(entry, name).promise, control.signal)
      const says = { progress, milestone, recorded, reached: new Set(reached) }
      const context = { key, epoch: () => entry.key.epoch, signal: control.signal, ...says }
      entry.end = { value: (await handler(input, context)) ?? null }
    } catch (error) {
      this.#logger.info({ ...facts, error: messageOf(error) }, 'a task failed')
      entry.end = { error: errorShapeOf(error, 'task_failed') }
    }
    this.#logger.info(facts, 'a task ended')
    this.#passOn()
  }

  /** Undefined when the task may begin at once; else resolves when it may. @throws what `signal` was aborted with */
  #turn(signal: AbortSignal): Promise<void> | undefined {
    if (this.#atWork < this.#atOnceMax) {
      this.#atWork += 1
      return undefined
    }
    return new Promise<void>((resolve, reject) => {
      const take = (): void => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(take), 1)
        reject(signal.reason)
      }
      this.#waiting.push(take)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  /** The place goes to who waits longest. */
  #passOn(): void {
    const next = this.#atWork > this.#atOnceMax ? undefined : this.#waiting.shift()
    if (next === undefined) this.#atWork -= 1
    else next()
  }
}

function recordOf({ records }: Entry, milestone: string): PromiseWithResolvers<void> {
  const known = records.get(milestone) ?? Promise.withResolvers<void>()
  records.set(milestone, known)
  return known
}

/** @throws what `signal` was aborted with, when that comes first */
async function orAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const leave = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', leave, { once: true })
  try {
    await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}

function statusOf(entry: Entry): TaskStatus {
  if (entry.end === undefined) return 'running'
  return 'error' in entry.end ? 'failed' : 'succeeded'
}

function checkEpoch(entry: Entry, key: TaskKey): void {
  if (key.epoch >= entry.key.epoch) return
  throw new ServerError('task_fenced', `Step ${key.step} of job ${key.job} belongs to a newer attempt.`, {
    facts: { ...key, newer: entry.key.epoch },
  })
}
