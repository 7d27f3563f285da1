/**
 * One open instant in several hands. It is closed when the last hand lets go: committed if any of them says that the point
 * is in the log (they share the generation, so it then is for all), aborted otherwise.
 */
import { HypervisorError } from '../errors.ts'
import type { Instant } from '../port.ts'

export class SharedInstant {
  readonly #instant: Instant
  readonly #onClosed: () => void
  #hands = 0
  #isCommitted = false
  #brokenOff: HypervisorError | undefined
  #closing: Promise<void> | undefined

  constructor(instant: Instant, onClosed: () => void) {
    this.#instant = instant
    this.#onClosed = onClosed
  }

  /** One more hand on it. @param notes what this consumer must know besides. */
  share(notes: readonly string[] = []): Instant {
    this.#hands += 1
    let verdict: 'commit' | 'abort' | undefined
    const end = async (wanted: 'commit' | 'abort', reason: string): Promise<void> => {
      if (verdict === undefined) this.#letGo(wanted)
      else if (verdict !== wanted) throw closedOtherwise(this.#instant.id, verdict)
      verdict = wanted
      if (wanted === 'commit' && this.#brokenOff !== undefined) throw this.#brokenOff
      if (this.#hands === 0) await this.#close(reason)
    }
    const { id, takenAtMs, consistency, reasons, pauseMs, freezeMs, weakerPromise, machine, disks } = this.#instant
    return {
      id,
      takenAtMs,
      consistency,
      notes: [...this.#instant.notes, ...notes],
      reasons,
      pauseMs,
      freezeMs,
      weakerPromise,
      machine,
      disks,
      check: async () => {
        if (this.#brokenOff !== undefined) throw this.#brokenOff
        await this.#instant.check()
      },
      commit: () => end('commit', ''),
      abort: (reason) => end('abort', reason),
    }
  }

  /** Aborts it under its consumers' hands; what they do next fails with `instant_broken`. */
  async breakOff(reason: string): Promise<void> {
    this.#brokenOff ??= new HypervisorError('instant_broken', `The instant was given up: ${reason}.`, {
      facts: { id: this.#instant.id, reason },
      retry: 'later',
    })
    await this.#close(reason)
  }

  #letGo(verdict: 'commit' | 'abort'): void {
    this.#hands -= 1
    if (verdict === 'commit' && this.#brokenOff === undefined) this.#isCommitted = true
  }

  /** Tried again by the next caller when it fails. Either way it is no longer ours alone: the journal tells what is open. */
  #close(reason: string): Promise<void> {
    this.#closing ??= (this.#isCommitted ? this.#instant.commit() : this.#instant.abort(reason)).finally(this.#onClosed)
    const closing = this.#closing
    closing.catch(() => {
      this.#closing = undefined
    })
    return closing
  }
}

function closedOtherwise(id: string, verdict: string): HypervisorError {
  return new HypervisorError('instant_failed', `The instant was closed by ${verdict} already.`, { facts: { id } })
}
