/**
 * A pool of runners of one kind: threads, or one inline. Hands tasks out as runners become free, keeps one task waiting in
 * each thread so that none idles, and stops everything at the first failure or when the signal aborts.
 */
import { getCompileCacheDir } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { assert, BaseError, must } from '#base'
import { processPace } from '#runtime'
import { TransferError } from '../errors.ts'
import { startRunner, type TaskKind, type TaskKinds, type TaskRunner } from './task-runner.ts'
import { failureError, type ThreadReply } from './thread-protocol.ts'

/** Tasks in a thread: one running, one waiting. */
const TASKS_PER_THREAD = 2

/**
 * The young generation of a kind's threads, where Node's own does not suit: its size is also what decides how many buffers
 * that nobody needs any more lie about. A decoder drops several for every chunk.
 */
const YOUNG_MIB: Readonly<Partial<Record<TaskKind, number>>> = { decode: 2 }

type Waiting = Readonly<{ resolve: (result: unknown) => void; reject: (error: Error) => void }>

/** A runner in a worker thread, seen from outside as any runner. */
class ThreadRunner<K extends TaskKind> implements TaskRunner<K> {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  #nextId = 1
  #dead: Error | undefined

  private constructor(worker: Worker) {
    this.#worker = worker
    worker.on('message', (reply: ThreadReply) => this.#settle(reply))
    worker.on('error', (error: Error) =>
      this.#fail(new TransferError('thread_failed', `A worker thread ended: ${error.message}`, { cause: error })),
    )
    worker.on('exit', () =>
      this.#fail(new TransferError('thread_failed', 'A worker thread ended before its work was done.')),
    )
  }

  static async start<K extends TaskKind>(kind: K, init: TaskKinds[K]['init']): Promise<ThreadRunner<K>> {
    const resourceLimits = YOUNG_MIB[kind] === undefined ? {} : { maxYoungGenerationSizeMb: YOUNG_MIB[kind] }
    const worker = new Worker(new URL('./thread-main.ts', import.meta.url), {
      workerData: { kind, init, compileCache: compileCacheOfProcess(), pace: processPace.memory },
      resourceLimits,
    })
    const runner = new ThreadRunner<K>(worker)
    await new Promise((resolve, reject) => runner.#waiting.set(0, { resolve, reject }))
    return runner
  }

  run(task: TaskKinds[K]['task']): Promise<TaskKinds[K]['result']> {
    return this.#call(task)
  }

  async close(): Promise<void> {
    try {
      if (this.#dead === undefined) await this.#call('close')
    } finally {
      await this.#worker.terminate()
    }
  }

  /** Ends the thread at once. Its descriptors and connections go with it. */
  async kill(): Promise<void> {
    await this.#worker.terminate()
  }

  #call<T>(task: unknown): Promise<T> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead)
    const id = this.#nextId
    this.#nextId += 1
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (result: unknown) => void, reject })
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
      this.#worker.postMessage({ id, task })
    })
  }

  #settle(reply: ThreadReply): void {
    const waiting = must(this.#waiting.get(reply.id), 'Every reply answers a request')
    this.#waiting.delete(reply.id)
    if (reply.ok) waiting.resolve(reply.result)
    else waiting.reject(failureError(reply.failure))
  }

  #fail(error: Error): void {
    this.#dead ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }
}

/** The folder that `enableCompileCache` was given; what Node names is the one that it made below it, for its version. */
function compileCacheOfProcess(): string | undefined {
  const folder = getCompileCacheDir()
  return folder === undefined ? undefined : dirname(folder)
}

export type PoolOptions = Readonly<{
  /** 0: inline in this thread. */
  threads: number
  signal?: AbortSignal | undefined
}>

/** One thread a core: the hot path is compute-bound. */
export function defaultThreads(): number {
  return Math.max(1, Math.min(16, availableParallelism()))
}

export class ThreadPool<K extends TaskKind> {
  readonly #runners: readonly TaskRunner<K>[]
  readonly #signal: AbortSignal | undefined

  private constructor(runners: readonly TaskRunner<K>[], signal: AbortSignal | undefined) {
    this.#runners = runners
    this.#signal = signal
  }

  static async start<K extends TaskKind>(
    kind: K,
    init: TaskKinds[K]['init'],
    options: PoolOptions,
  ): Promise<ThreadPool<K>> {
    const { threads, signal } = options
    if (threads === 0) return new ThreadPool([await startRunner(kind, init)], signal)
    const runners = await Promise.all(Array.from({ length: threads }, () => ThreadRunner.start(kind, init)))
    return new ThreadPool<K>(runners, signal)
  }

  /** Runs every task on some runner and hands each result to `onResult`. Stops handing out at the first failure. */
  async runAll(
    tasks: Iterable<TaskKinds[K]['task']> | AsyncIterable<TaskKinds[K]['task']>,
    onResult: (result: TaskKinds[K]['result'], task: TaskKinds[K]['task']) => void | Promise<void>,
  ): Promise<void> {
    const source = Symbol.asyncIterator in tasks ? tasks[Symbol.asyncIterator]() : tasks[Symbol.iterator]()
    const outcome = { failed: false }
    const lane = async (runner: TaskRunner<K>): Promise<void> => {
      while (!outcome.failed) {
        if (this.#signal?.aborted === true) throw new BaseError('cancelled', 'The work was cancelled.')
        const next = await source.next()
        if (next.done === true) return
        await onResult(await runner.run(next.value), next.value)
      }
    }
    const depth = this.#runners.length === 1 && !(this.#runners[0] instanceof ThreadRunner) ? 1 : TASKS_PER_THREAD
    const lanes = this.#runners.flatMap((runner) => Array.from({ length: depth }, () => lane(runner)))
    const settled = await Promise.allSettled(
      lanes.map((running) =>
        running.catch((error: unknown) => {
          outcome.failed = true
          throw error
        }),
      ),
    )
    for (const lane of settled) if (lane.status === 'rejected') throw lane.reason
  }

  /** Runs one task on the first runner. */
  runOne(task: TaskKinds[K]['task']): Promise<TaskKinds[K]['result']> {
    return must(this.#runners[0], 'A pool has at least one runner').run(task)
  }

  /** How many runners there are: tasks on different ones run side by side. */
  get lanes(): number {
    return this.#runners.length
  }

  /** Runs one task on the given runner, after those that it was given before. */
  runOn(lane: number, task: TaskKinds[K]['task']): Promise<TaskKinds[K]['result']> {
    return must(this.#runners[lane], 'The lane is one of the pool').run(task)
  }

  /** Runs the same task once on every runner. */
  runOnEach(task: TaskKinds[K]['task']): Promise<TaskKinds[K]['result'][]> {
    return Promise.all(this.#runners.map((runner) => runner.run(task)))
  }

  async close(): Promise<void> {
    assert(this.#runners.length > 0, 'A pool has at least one runner')
    // Each, whatever the others say: a thread that is not closed would keep the process alive.
    const closed = await Promise.allSettled(this.#runners.map((runner) => runner.close()))
    for (const outcome of closed) if (outcome.status === 'rejected') throw outcome.reason
  }
}
