/** What the suites of the job engine's contract stand on: a world with a clock that stands still, gates, one flaky error. */
import assert from 'node:assert/strict'
import { HoldfastError, type ManualClock } from '#base'
import type { JobContext, JobEngine, JobView } from '../port.ts'

export interface EngineWorld {
  readonly engine: JobEngine
  readonly clock: ManualClock
  /** Lets the engine look once: claim, renew, pass cancellations on. Does not wait for steps at work. */
  round(): Promise<void>
  /** Rounds until nothing is due and nothing runs. */
  settle(): Promise<void>
  /** Another engine over the same records, as of a second process. Closed with the world. */
  second(): Promise<Omit<EngineWorld, 'second'>>
  close(): Promise<void>
}

/** Moves the clock and lets the engine do what has become due. */
export async function pass(world: Pick<EngineWorld, 'clock' | 'settle'>, ms: number): Promise<void> {
  world.clock.advance(ms)
  await world.settle()
}

export async function jobOf(world: Pick<EngineWorld, 'engine'>, id: string): Promise<JobView> {
  const job = await world.engine.get(id)
  assert.ok(job, `job ${id} exists`)
  return job
}

/** A step that says when it was entered and stays until it is let go, or its signal aborts. */
export class Gate {
  readonly #entered = Promise.withResolvers<void>()
  readonly #opened = Promise.withResolvers<void>()
  readonly entered = this.#entered.promise

  open(): void {
    this.#opened.resolve()
  }

  async pass(signal?: AbortSignal): Promise<void> {
    this.#entered.resolve()
    const aborted = Promise.withResolvers<never>()
    signal?.addEventListener('abort', () => aborted.reject(signal.reason), { once: true })
    await Promise.race([this.#opened.promise, aborted.promise])
  }
}

export class Flaky extends HoldfastError {}

export function define(
  world: EngineWorld,
  run: (context: JobContext, input: never) => Promise<unknown>,
  job = 'job',
): void {
  world.engine.define({ name: job, version: 1, run: run as (context: JobContext, input: unknown) => Promise<unknown> })
}
