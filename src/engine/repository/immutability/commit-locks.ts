/**
 * Locks what a point needs, before the point is committed.
 *
 *   step                                                    a crash right after it leaves
 *   1 lock the packs of the closure, the log's entries,     locks that nobody was promised: space until they end
 *     config and key slots
 *   2 commit (session.ts); what joined the closure          the point
 *     meanwhile sends it back to 1
 *   3 lock the commit's own entry, and what others wrote    entries that the next locked commit, or `extend`, locks
 *     between 1 and 2
 *
 * Every lock ends at a whole multiple of 30 days (policy.ts), so of a chain of points most find all older packs locked for
 * long enough already. A lock that cannot be had fails the commit.
 */
import { type Clock, HoldfastError, isHoldfastError, messageOf } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { CONFIG_KEY } from '../config.ts'
import { RepositoryError } from '../errors.ts'
import { logKey, type PackAdded, type PointHeader } from '../log/entry.ts'
import type { CommitLog } from '../log/log.ts'
import type { LogState } from '../log/state.ts'
import { packKeyOf } from '../pack-format.ts'
import { LockEnds } from './lock-ends.ts'
import { lockBaseMs } from './observed-time.ts'
import { lockedUntil, roundLockEnd } from './policy.ts'

/** Calls under way at once; a lock is a round trip or two. */
const LANES = 8

export type LockParts = Readonly<{ store: BlobStore; log: CommitLog; clock: Clock; cacheFolder: string }>
/** What one point of a commit asks for. `header` is as far as it is known before: without the packs that are new. */
export type LockWish = Readonly<{
  header: PointHeader
  packs: readonly PackAdded[]
  lockMs?: number
  expiresAtMs?: number
}>

export type PreparedLocks = Readonly<{
  /** Until when each point is locked; undefined where it is not to be. */
  untils: readonly (number | undefined)[]
  /** Whether all is locked that the points need now, as long as the policy says now. Asked under the commit's number. */
  hold: () => boolean
}>

export class CommitLocks {
  readonly #parts: LockParts
  #ends: Promise<LockEnds> | undefined
  #calls = 0

  /** @param ends what is known to be locked; by default what this user remembers */
  constructor(parts: LockParts, ends?: LockEnds) {
    this.#parts = parts
    if (ends !== undefined) this.#ends = Promise.resolve(ends)
  }

  /** How many times the store was asked to lock. */
  get calls(): number {
    return this.#calls
  }

  /** Locks what each wish needs. @throws lock_failed */
  async prepare(wishes: readonly LockWish[]): Promise<PreparedLocks> {
    const { log, clock, store } = this.#parts
    await log.refresh()
    const { state } = log
    const wanted = (baseMs: number): (number | undefined)[] =>
      wishes.map((wish) => lockedUntil(state.immutability, wish, baseMs))
    if (wanted(0).every((until) => until === undefined))
      return { untils: wanted(0), hold: () => wanted(0).every((until) => until === undefined) }
    this.assertSupported()
    const baseMs = lockBaseMs(state.time, { nowMs: clock.nowMs(), storeMs: await store.timeMs() })
    const untils = wanted(baseMs)
    for (const [i, wish] of wishes.entries()) await this.#lockFor(wish, untils[i])
    const ends = await this.#lockEnds()
    const hold = (): boolean =>
      wanted(baseMs).every((until, i) => {
        const end = roundLockEnd(untils[i] ?? 0)
        const wish = wishes[i]
        if (until === undefined || wish === undefined) return true
        return until <= end && packKeysOf(state, wish).every((key) => ends.isLocked(key, end))
      })
    return { untils, hold }
  }

  /** Locks the entry of a commit that is done, and any before it that came after `prepare`. @throws lock_failed */
  async lockEntry(number: number, untilMs: number): Promise<void> {
    await this.#lockAll(entriesTo(number), roundLockEnd(untilMs))
    await this.#save()
  }

  /**
   * Locks packs that take the place of others (repair), new or old, for as long as any point that needs those is locked.
   * @throws lock_failed
   */
  async lockMoved(from: readonly number[], to: readonly Readonly<{ name: string }>[]): Promise<void> {
    const { state } = this.#parts.log
    const untilMs = state.lockEndOf(new Set(from))
    if (untilMs <= this.#parts.clock.nowMs()) return
    await this.#lockAll(
      to.map(({ name }) => packKeyOf(name)),
      untilMs,
    )
  }

  /** Locks anew whatever live points were promised, without trusting what is remembered. Gives the number of objects. */
  async extend(): Promise<number> {
    const { log, store, clock, cacheFolder } = this.#parts
    await log.refresh()
    this.#ends = Promise.resolve(LockEnds.empty(cacheFolder, store.location))
    const before = this.#calls
    for (const { header } of log.state.points.values())
      if (roundLockEnd(header.lockedUntilMs ?? 0) > clock.nowMs())
        await this.#lockFor({ header, packs: [] }, header.lockedUntilMs)
    return this.#calls - before
  }

  /** Locks packs, by their names. @throws lock_failed */
  lockObjects(names: readonly string[], endMs: number): Promise<void> {
    return this.#lockAll(names.map(packKeyOf), endMs)
  }

  /** Locks the configuration and the key slots. @throws lock_failed */
  async lockFrame(endMs: number): Promise<void> {
    await this.#lockAll([CONFIG_KEY, ...(await this.#slots())], endMs)
  }

  /** @throws lock_failed */
  assertSupported(): void {
    const { store } = this.#parts
    if (store.capabilities.lock !== 'none') return
    throw new RepositoryError(
      'lock_failed',
      `${store.location} cannot lock objects, so nothing can be made immutable in it.`,
      {
        facts: { location: store.location },
        retry: 'never',
        hint: 'Use a bucket that was made with object lock, or a folder; or make points that are not locked.',
      },
    )
  }

  async #lockFor(wish: LockWish, until: number | undefined): Promise<void> {
    if (until === undefined) return
    const { log } = this.#parts
    await this.#lockAll(
      [CONFIG_KEY, ...(await this.#slots()), ...packKeysOf(log.state, wish), ...entriesTo(log.state.head)],
      roundLockEnd(until),
    )
    await this.#save()
  }

  async #slots(): Promise<string[]> {
    const slots: string[] = []
    for await (const { key } of this.#parts.store.list('keys/')) slots.push(key)
    return slots
  }

  async #lockAll(keys: readonly string[], endMs: number): Promise<void> {
    const ends = await this.#lockEnds()
    const waiting = keys.filter((key) => !ends.isLocked(key, endMs))
    const lane = async (): Promise<void> => {
      for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) {
        await this.#lockOne(key, endMs)
        ends.note(key, endMs)
      }
    }
    const failures: unknown[] = []
    const stopAll = (error: unknown): void => {
      failures.push(error)
      waiting.length = 0
    }
    await Promise.all(Array.from({ length: LANES }, () => lane().catch(stopAll)))
    if (failures.length > 0) throw failures[0]
  }

  async #lockOne(key: string, endMs: number): Promise<void> {
    const { store, log } = this.#parts
    this.#calls += 1
    try {
      await store.lock(key, endMs)
    } catch (cause) {
      if (isHoldfastError(cause, 'blob_not_found') && (await this.#isGone(key))) return
      const day = new globalThis.Date(endMs).toISOString().slice(0, 10)
      throw new RepositoryError(
        'lock_failed',
        `${key} in ${store.location} could not be locked until ${day}: ${messageOf(cause)}`,
        {
          facts: {
            key,
            untilMs: endMs,
            head: log.state.head,
            reason: cause instanceof HoldfastError ? cause.code : '',
          },
          retry: cause instanceof HoldfastError ? cause.retry : 'later',
          hint: 'Nothing was committed by this. Check that the credentials may set retention (s3:PutObjectRetention, s3:GetObjectRetention), then run it again.',
          cause,
        },
      )
    }
  }

  /** A pack that was pruned meanwhile is the business of the commit, a slot that was dropped of nobody. */
  async #isGone(key: string): Promise<boolean> {
    await this.#parts.log.refresh()
    return key.startsWith('keys/') || this.#parts.log.state.isDeleted(key.slice(-64))
  }

  #lockEnds(): Promise<LockEnds> {
    const { cacheFolder, store, log } = this.#parts
    this.#ends ??= LockEnds.open(cacheFolder, store.location, log)
    return this.#ends
  }

  async #save(): Promise<void> {
    await (await this.#lockEnds()).save(this.#parts.log)
  }
}

function entriesTo(number: number): string[] {
  return Array.from({ length: number }, (_, i) => logKey(i + 1))
}

function packKeysOf(state: LogState, { header, packs }: LockWish): string[] {
  const old = [...state.closureOf(header)].flatMap((ordinal) => {
    const pack = state.packs[ordinal]
    return pack === undefined || pack.status === 'deleted' ? [] : [packKeyOf(pack.name)]
  })
  return [...old, ...packs.map(({ name }) => packKeyOf(name))]
}
