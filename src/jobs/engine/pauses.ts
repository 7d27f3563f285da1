/**
 * Knows when a workflow has come to rest: no call is at work, at least one waits for something that lies outside this life
 * of the job. Then the job is put down, and a later life replays it up to here.
 *
 * A workflow awaits nothing but the context's calls, so once the last call ended, everything that it does next happens in
 * microtasks: an immediate later it has either called again or it rests.
 */

export type PauseStatus = 'sleeping' | 'waiting' | 'queued'
/** `dueMs` null: only a wake-up ends it. */
export type Pause = Readonly<{ status: PauseStatus; dueMs: number | null }>

/** Thrown inside a call to say that it waits; never reaches the workflow. */
export class Paused {
  readonly pause: Pause
  constructor(pause: Pause) {
    this.pause = pause
  }
}

/** What the workflow gets instead of an answer in this life; it is garbage once the run is dropped. */
export function never<T>(): Promise<T> {
  return new Promise<T>(() => {})
}

function earliest(a: Pause, b: Pause): Pause {
  if (b.dueMs === null) return a
  return a.dueMs === null || b.dueMs < a.dueMs ? b : a
}

export class Pauses {
  #busy = 0
  #calls = 0
  #pauses: Pause[] = []
  #idlers: (() => void)[] = []
  readonly #onRest: (pause: Pause) => void

  constructor(onRest: (pause: Pause) => void) {
    this.#onRest = onRest
  }

  /** Runs one call of the workflow. One that pauses never resolves. */
  async call<T>(run: () => Promise<T>): Promise<T> {
    this.#busy += 1
    this.#calls += 1
    try {
      return await run()
    } catch (error) {
      if (!(error instanceof Paused)) throw error
      this.#pauses.push(error.pause)
      return await this.#leaveAndRest<T>()
    } finally {
      this.#busy -= 1
      this.#look()
    }
  }

  /** Never resolves; the call counts as ended meanwhile. */
  #leaveAndRest<T>(): Promise<T> {
    this.#busy -= 1
    this.#look()
    return never<T>()
  }

  /** Forgets the pauses of calls that nobody waits for any more, and resolves when no call is at work. */
  idle(): Promise<void> {
    this.#pauses = []
    if (this.#busy === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#idlers.push(() => {
        this.#pauses = []
        resolve()
      })
    })
  }

  #look(): void {
    if (this.#busy > 0) return
    for (const idler of this.#idlers.splice(0)) idler()
    if (this.#pauses.length === 0) return
    const calls = this.#calls
    setImmediate(() => {
      if (this.#busy > 0 || this.#calls !== calls) return
      const [first, ...rest] = this.#pauses
      if (first !== undefined) this.#onRest(rest.reduce(earliest, first))
    })
  }
}
