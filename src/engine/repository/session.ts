/**
 * A session is one writer's (or reader's) stay in the repository: a pin in the log while it lasts, and the commit at its
 * end. What is live when the pin is taken is not deleted by prune until the pin is dropped or has run out.
 *
 * The pin spares work; safety does not rest on it. A writer that was stopped for longer than its pin lasts finds at its
 * commit what was deleted meanwhile (`packs_deleted`) and stores that again. One that was stopped until the log had forgotten what
 * was deleted since it began (the horizon has passed its first pin) finds the same, for all that it stored: no pin that it takes
 * later makes it a younger one. Only `beginAgain` does, after which nothing from before may be relied on.
 */
import { type Clock, HoldfastError } from '#base'
import { RepositoryError } from './errors.ts'
import type { CommitLocks, LockWish, PreparedLocks } from './immutability/commit-locks.ts'
import { deletedUnder } from './log/commit-check.ts'
import type { PackAdded, PointHeader } from './log/entry.ts'
import type { CommitLog } from './log/log.ts'
import { encodeOrdinals } from './log/ordinals.ts'
import type { LogState } from './log/state.ts'
import type { PointId, PointRecord } from './point.ts'

/** How long a pin holds without renewal; a crashed session delays prune by at most this. */
export const PIN_MS = 60 * 60_000
const RENEW_AFTER_MS = 20 * 60_000

export type CommitInput = Readonly<{
  record: PointRecord
  packs: readonly PackAdded[]
  /** Ordinals of packs that were found live and are relied on. */
  reliesOn: readonly number[]
  /** The point whose trees this one shares without having looked at every chunk. */
  base?: PointId
  /** Lock the point for so long, or for as long as the repository's policy says if that is longer. */
  lockMs?: number
}>

export type SessionParts = Readonly<{
  log: CommitLog
  clock: Clock
  holder: string
  purpose: string
  locks: CommitLocks
}>

/** The locks were taken for a closure, or a policy, that has grown since. */
class LocksBehind extends Error {}

export class Session {
  readonly #log: CommitLog
  readonly #clock: Clock
  readonly #purpose: string
  readonly #holder: string
  readonly #locks: CommitLocks
  /** Log numbers of our pins, the newest last. */
  #pins: number[] = []
  /** The number of the first pin of this stay. */
  #first: number | undefined
  #pinnedAtMs = 0

  private constructor({ log, clock, holder, purpose, locks }: SessionParts) {
    this.#log = log
    this.#clock = clock
    this.#holder = holder
    this.#purpose = purpose
    this.#locks = locks
  }

  static async begin(parts: SessionParts): Promise<Session> {
    const session = new Session(parts)
    await session.#pin()
    return session
  }

  /** Stands in the header of every pack that the session stores. */
  get number(): number {
    return this.#first ?? 0
  }

  /** Renews the pin when it is a third used up. To be called now and then by whoever does the long work. */
  async keepAlive(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#pinnedAtMs > RENEW_AFTER_MS) await this.#pin()
  }

  /**
   * Pins anew, whatever is left of the pin before, for a run that relies on nothing that an earlier one found or stored, but for
   * what the log remembers: as long as it does, packs that carry our number are still ours.
   */
  async beginAgain(): Promise<void> {
    if (this.#first !== undefined && this.#first <= this.#log.state.horizon) this.#first = undefined
    await this.#pin()
  }

  async #pin(): Promise<void> {
    this.#pinnedAtMs = this.#clock.monotonicMs() // first, so that of several lanes only one renews
    const pin = {
      holder: this.#holder,
      purpose: this.#purpose,
      expiresAtMs: this.#clock.nowMs() + PIN_MS,
      ...(this.#first === undefined ? {} : { session: this.#first }),
    }
    const number = await this.#log.append(() => ({ fields: { pin } }))
    this.#first ??= number
    this.#pins.push(number)
  }

  /** Whether the pin of entry `number` is one of ours. */
  owns(number: number): boolean {
    return this.#pins.includes(number)
  }

  /**
   * Commits points, and ends the session with the same entry. What a point needs is locked before it is committed.
   * @throws packs_deleted, point_forgotten, log_damaged, log_contended; lock_failed, before the commit or (by the facts) right after it
   */
  async commit(inputs: readonly CommitInput[]): Promise<number> {
    for (;;) {
      const prepared = await this.#locks.prepare(inputs.map(wishOf))
      const number = await this.#append(inputs, prepared)
      if (number === undefined) continue
      this.#pins = []
      const untilMs = Math.max(...prepared.untils.map((until) => until ?? 0))
      if (untilMs > 0) await this.#locks.lockEntry(number, untilMs)
      return number
    }
  }

  /** Undefined when the locks have to be taken again. */
  async #append(inputs: readonly CommitInput[], { untils, hold }: PreparedLocks): Promise<number | undefined> {
    const stored = inputs.flatMap((input) => input.packs)
    try {
      return await this.#log.append((state) => {
        for (const input of inputs) refuseForgotten(state, input)
        for (const input of inputs) this.#refuseDeleted(state, input)
        if (!hold()) throw new LocksBehind()
        // A commit that is tried again, after its reply was lost for good, finds its packs named already.
        const packs = stored.filter(({ name }) => state.packNamed(name) === undefined)
        const points = inputs.map((input, i) => headerOf(state, packs, input, untils[i]))
        return { fields: { packs, points, unpin: this.#pins }, body: { points: inputs.map((input) => input.record) } }
      })
    } catch (error) {
      if (error instanceof LocksBehind) return undefined
      throw error
    }
  }

  /** Drops the pin. Harmless after a commit. */
  async end(): Promise<void> {
    const unpin = this.#pins
    this.#pins = []
    if (unpin.length > 0) await this.#log.append(() => ({ fields: { unpin } }))
  }

  /** Whether the log still knows all that was deleted since this stay began; else nothing that it found may be relied on. */
  isRemembered(state: LogState): boolean {
    return this.number > state.horizon
  }

  #refuseDeleted(state: LogState, input: CommitInput): void {
    const relied = input.reliesOn.map((ordinal) => state.packs[ordinal]?.name ?? '')
    const base = input.base === undefined ? {} : { base: input.base }
    const packNames = [...relied, ...input.packs.map((pack) => pack.name)]
    const deleted = this.isRemembered(state) ? deletedUnder(state, { packNames, ...base }) : packNames
    if (deleted.length === 0 && this.isRemembered(state)) return
    throw new RepositoryError('packs_deleted', 'Packs that this backup relied on were pruned while it ran.', {
      facts: { packs: deleted.slice(0, 10) },
      retry: 'now',
      hint: 'The backup stores them again by itself; if you see this, run it once more.',
    })
  }
}

/** An id that was given up does not come back: every reader would pass over the point. */
function refuseForgotten(state: LogState, { record: { id } }: CommitInput): void {
  if (state.everKnown(id)?.forgottenIn === undefined) return
  throw pointForgotten(id)
}

export function pointForgotten(id: PointId): RepositoryError {
  return new RepositoryError('point_forgotten', `Point ${id} was given up in this repository and does not come back.`, {
    facts: { point: id },
    hint: 'Copy it by name: "holdfast repo copy STORE TARGET POINT" gives it another id.',
  })
}

function wishOf({ record, base, reliesOn, packs, lockMs }: CommitInput): LockWish {
  const { id, expiresAtMs } = record
  return {
    header: { id, ...(base === undefined ? {} : { base }), uses: encodeOrdinals(reliesOn) },
    packs,
    ...(lockMs === undefined ? {} : { lockMs }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
  }
}

function headerOf(
  state: LogState,
  packs: readonly PackAdded[],
  input: CommitInput,
  lockedUntilMs: number | undefined,
): PointHeader {
  const own = input.packs.map((pack) => state.packNamed(pack.name)?.ordinal ?? state.packs.length + packs.indexOf(pack))
  const { record, base, reliesOn } = input
  return {
    id: record.id,
    ...(record.expiresAtMs === undefined ? {} : { expiresAtMs: record.expiresAtMs }),
    ...(lockedUntilMs === undefined ? {} : { lockedUntilMs }),
    ...(base === undefined ? {} : { base }),
    uses: encodeOrdinals([...reliesOn, ...own]),
  }
}

/** Whether the error says that the run must store again what was pruned under it. */
export function isPrunedUnder(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'packs_deleted'
}
