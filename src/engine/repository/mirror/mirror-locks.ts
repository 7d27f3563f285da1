/**
 * Carries locks over to a mirror: what a copied point needs is locked there before its entry is put, for as long as in the
 * repository. Whether a lock is over is judged by the time that the log has observed, so that a clock that is far ahead saves nothing.
 */
import { LockEnds } from '../immutability/lock-ends.ts'
import { CommitLocks, type LockParts } from '../immutability/commit-locks.ts'
import { roundLockEnd } from '../immutability/policy.ts'
import type { Envelope, PointHeader } from '../log/entry.ts'
import { decodeOrdinals } from '../log/ordinals.ts'

export class MirrorLocks {
  readonly #parts: LockParts
  #locks: CommitLocks

  constructor(parts: LockParts) {
    this.#parts = parts
    this.#locks = new CommitLocks(parts)
  }

  /**
   * Locks what the points of these entries need of the packs that came up to entry `through`, but for those that are `missing`; and what
   * took the place of locked packs. Gives until when the entries are to be locked; 0: not at all. @throws lock_failed
   */
  async lockNeeded(envelopes: readonly Envelope[], through: number, missing: ReadonlySet<string>): Promise<number> {
    const { state } = this.#parts.log
    let lastMs = 0
    const headers = envelopes.flatMap(({ points = [] }) => points.map((own) => state.everKnown(own.id)?.header ?? own))
    for (const header of headers) lastMs = Math.max(lastMs, await this.#lockOne(header, through, missing))
    for (const { moved } of envelopes.filter((one) => one.moved !== undefined)) {
      const bound = state.packs.length
      const from = new Set(decodeOrdinals(moved?.from ?? '', bound))
      const endMs = state.lockEndOf(from)
      const to = decodeOrdinals(moved?.to ?? '', bound)
      if (endMs > state.time.observedMs) await this.#locks.lockObjects(this.#packsOf(to, through, missing), endMs)
    }
    return lastMs
  }

  async #lockOne(header: PointHeader, through: number, missing: ReadonlySet<string>): Promise<number> {
    const { state } = this.#parts.log
    const endMs = roundLockEnd(header.lockedUntilMs ?? 0)
    if (endMs <= state.time.observedMs) return 0
    this.#locks.assertSupported()
    await this.#locks.lockFrame(endMs)
    await this.#locks.lockObjects(this.#packsOf(state.closureOf(header), through, missing), endMs)
    return endMs
  }

  #packsOf(ordinals: Iterable<number>, through: number, missing: ReadonlySet<string>): string[] {
    const { packs } = this.#parts.log.state
    return [...ordinals].flatMap((ordinal) => {
      const pack = packs[ordinal]
      const isThere = pack !== undefined && pack.status !== 'deleted' && pack.addedIn <= through
      return isThere && !missing.has(pack.name) ? [pack.name] : []
    })
  }

  /** @throws lock_failed */
  async lockEntries(number: number, untilMs: number): Promise<void> {
    await this.#locks.lockEntry(number, untilMs)
  }

  /** Locks anew what live points need, of what the mirror has. Gives the number of objects. @throws lock_failed */
  async extend(head: number, missing: ReadonlySet<string>): Promise<number> {
    const { log, cacheFolder, store } = this.#parts
    this.#locks = new CommitLocks(this.#parts, LockEnds.empty(cacheFolder, store.location))
    for (const { header, number } of log.state.points.values()) {
      if (number > head) continue
      const endMs = await this.#lockOne(header, head, missing)
      if (endMs > 0) await this.#locks.lockEntry(head, endMs)
    }
    return this.#locks.calls
  }
}
