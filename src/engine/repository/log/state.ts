/**
 * What the log says, folded: which packs and points there are, what is doomed, who holds what. Pure; everyone who read
 * the same entries has the same state, with or without the key.
 *
 *   a pack:   (absent) ── added ──> live ── tombstone ──> doomed ── deletion ──> deleted
 *                                     └──────── named by a newer point ──┘  (it is live again)
 *
 * A new point revives its whole closure, its base's packs included: the base may have been forgotten, and its packs doomed,
 * while the writer was at work.
 *
 * What is locked (immutability/policy.ts) by the time that the log has observed is neither given up, doomed nor deleted,
 * whatever an entry says.
 *
 * Deleted is for ever: a name never comes back (a writer seals anew under a new name), so whoever deletes the object
 * after the deletion entry can never hit something that is needed. Names that were never added (what a dead writer left
 * behind) take the same way from doomed on.
 */
import { must } from '#base'
import { NO_TIME, observe, type ObservedTime } from '../immutability/observed-time.ts'
import { IMMUTABILITY_DISABLED, type ImmutabilityPolicy, mayFollow, roundLockEnd } from '../immutability/policy.ts'
import type { PointId } from '../point.ts'
import type { Envelope, Pin, PointHeader } from './entry.ts'
import { decodeOrdinals } from './ordinals.ts'

export type PackStatus = 'live' | 'doomed' | 'deleted'
export type PackState = {
  readonly ordinal: number
  readonly name: string
  readonly lengthBytes: number
  status: PackStatus
  readonly addedIn: number
}
export type PointState = Readonly<{ header: PointHeader; number: number }>

/** Twice what a pin lasts. */
const DOUBTED_PIN_MS_MAX = 2 * 60 * 60_000

export class LogState {
  head = 0
  headHash = ''
  time: ObservedTime = NO_TIME
  immutability: ImmutabilityPolicy = IMMUTABILITY_DISABLED
  /** When the last lock that any point ever asked for ends; 0 when none did. */
  lastLockEndMs = 0
  readonly packs: PackState[] = []
  readonly #packByName = new Map<string, PackState>()
  readonly #points = new Map<PointId, PointState>()
  readonly #forgotten = new Map<PointId, PointState & Readonly<{ forgottenIn: number }>>()
  readonly #moves: { from: number[]; to: number[] }[] = []
  readonly #pins = new Map<number, Pin>()
  readonly #doubtedPins = new Set<number>()
  readonly #doomed = new Set<number>()
  readonly #doomedStrays = new Set<string>()
  readonly #deletedNames = new Map<string, number>()

  get points(): ReadonlyMap<PointId, PointState> {
    return this.#points
  }

  get pins(): ReadonlyMap<number, Pin> {
    return this.#pins
  }

  /** Names that were never added and are doomed. */
  get doomedStrays(): ReadonlySet<string> {
    return this.#doomedStrays
  }

  packNamed(name: string): PackState | undefined {
    return this.#packByName.get(name)
  }

  /** Whether a deletion entry names the pack, whatever it was before. */
  isDeleted(name: string): boolean {
    return this.#deletedNames.has(name)
  }

  /** The entry that deleted a pack; 0 when none did. */
  deletedIn(name: string): number {
    return this.#deletedNames.get(name) ?? 0
  }

  /** A point that is live, or was. `forgottenIn` is the entry that gave it up; undefined while it is live. */
  everKnown(id: PointId): Readonly<{ header: PointHeader; forgottenIn?: number }> | undefined {
    return this.#points.get(id) ?? this.#forgotten.get(id)
  }

  /** Pins that had not run out at `nowMs`. One by a clock that was not believed holds no longer than pins last. */
  activePins(nowMs: number): [number, Pin][] {
    const isFarAhead = (number: number, pin: Pin): boolean =>
      this.#doubtedPins.has(number) && pin.expiresAtMs > nowMs + DOUBTED_PIN_MS_MAX
    return [...this.#pins].filter(([number, pin]) => pin.expiresAtMs > nowMs && !isFarAhead(number, pin))
  }

  /** The packs that a point may need: its own and its base's, back to the first. Base points are known although forgotten. */
  closureOf(header: PointHeader): Set<number> {
    const closure = new Set<number>()
    this.#collectUses(header, closure, new Set())
    return this.#withMoved(closure)
  }

  /**
   * Ordinals of the packs that are locked at `nowMs`: of points that were given up too, since the store goes on locking
   * to the end of the 30 days. Every point is looked at once, however long the chains are.
   */
  lockedPacks(nowMs: number): Set<number> {
    const locked = new Set<number>()
    if (this.lastLockEndMs <= nowMs) return locked
    const seen = new Set<PointId>()
    for (const { header } of [...this.#points.values(), ...this.#forgotten.values()]) {
      if (header.lockedUntilMs !== undefined && roundLockEnd(header.lockedUntilMs) > nowMs)
        this.#collectUses(header, locked, seen)
    }
    return this.#withMoved(locked)
  }

  /** Until when a live point is locked; undefined when it never was. */
  lockedUntilMs(id: PointId): number | undefined {
    return this.#points.get(id)?.header.lockedUntilMs
  }

  /** When the last lock of a live point ends that needs one of these packs; 0 when none does. */
  lockEndOf(ordinals: ReadonlySet<number>): number {
    let endMs = 0
    for (const { header } of this.#points.values()) {
      const until = roundLockEnd(header.lockedUntilMs ?? 0)
      if (until > endMs && !this.closureOf(header).isDisjointFrom(ordinals)) endMs = until
    }
    return endMs
  }

  #withMoved(closure: Set<number>): Set<number> {
    for (const { from, to } of this.#moves)
      if (from.some((ordinal) => closure.has(ordinal))) for (const ordinal of to) closure.add(ordinal)
    return closure
  }

  #collectUses(header: PointHeader, into: Set<number>, seen: Set<PointId>): void {
    for (let at: PointHeader | undefined = header; at !== undefined && !seen.has(at.id);) {
      seen.add(at.id)
      for (const ordinal of decodeOrdinals(at.uses, this.packs.length)) into.add(ordinal)
      at = at.base === undefined ? undefined : (this.#points.get(at.base) ?? this.#forgotten.get(at.base))?.header
    }
  }

  /** Takes the next entry in. The caller has checked that it follows (`number`, `previous`). */
  apply(envelope: Envelope, hash: string): void {
    this.head = envelope.number
    this.headHash = hash
    this.time = observe(this.time, envelope)
    if (envelope.immutability !== undefined && mayFollow(this.immutability, envelope.immutability))
      this.immutability = envelope.immutability
    this.#applyPacks(envelope)
    if (envelope.moved !== undefined) {
      const bound = this.packs.length
      this.#moves.push({
        from: decodeOrdinals(envelope.moved.from, bound),
        to: decodeOrdinals(envelope.moved.to, bound),
      })
    }
    for (const header of envelope.points ?? []) {
      this.#points.set(header.id, { header, number: envelope.number })
      this.lastLockEndMs = Math.max(this.lastLockEndMs, roundLockEnd(header.lockedUntilMs ?? 0))
      // Closures are as long as chains of incrementals: they are only walked when there is something to revive.
      if (this.#doomed.size > 0) for (const ordinal of this.closureOf(header)) this.#revive(ordinal)
    }
    for (const id of envelope.forgotten ?? []) {
      const point = this.#points.get(id)
      // Whoever wrote this broke the rules: a point that is locked stays, for every reader.
      if ((point?.header.lockedUntilMs ?? 0) > this.time.observedMs) continue
      if (point !== undefined) this.#forgotten.set(id, { ...point, forgottenIn: envelope.number })
      this.#points.delete(id)
    }
    if (envelope.pin !== undefined) this.#pins.set(envelope.number, envelope.pin)
    if ((envelope.pin?.expiresAtMs ?? 0) > this.time.observedMs + DOUBTED_PIN_MS_MAX)
      this.#doubtedPins.add(envelope.number)
    for (const number of envelope.unpin ?? []) this.#pins.delete(number)
  }

  #revive(ordinal: number): void {
    const pack = must(this.packs[ordinal], 'decodeOrdinals keeps to known packs')
    if (this.#doomed.delete(ordinal)) pack.status = 'live'
  }

  /** Packs that the entry cannot doom or delete: all that are locked, but for hurt ones whose chunks it moves (repair). */
  #lockedFrom({ tombstones, deletions, moved }: Envelope): Set<number> {
    if (tombstones === undefined && deletions === undefined) return new Set()
    const locked = this.lockedPacks(this.time.observedMs)
    for (const ordinal of decodeOrdinals(moved?.from ?? '', this.packs.length)) locked.delete(ordinal)
    return locked
  }

  #applyPacks(envelope: Envelope): void {
    for (const { name, lengthBytes } of envelope.packs ?? []) {
      this.#doomedStrays.delete(name)
      if (this.#packByName.has(name)) continue
      const pack: PackState = {
        ordinal: this.packs.length,
        name,
        lengthBytes,
        // A writer that named what was deleted under it broke the rules (commit-check.ts); readers stay on the safe side.
        status: this.isDeleted(name) ? 'deleted' : 'live',
        addedIn: envelope.number,
      }
      this.packs.push(pack)
      this.#packByName.set(name, pack)
    }
    const locked = this.#lockedFrom(envelope)
    for (const name of envelope.tombstones ?? []) {
      const pack = this.#packByName.get(name)
      if (pack === undefined) this.#doomedStrays.add(name)
      else if (pack.status === 'live' && !locked.has(pack.ordinal)) {
        pack.status = 'doomed'
        this.#doomed.add(pack.ordinal)
      }
    }
    for (const name of envelope.deletions ?? []) {
      const pack = this.#packByName.get(name)
      if (pack !== undefined && locked.has(pack.ordinal)) continue
      if (pack !== undefined) {
        pack.status = 'deleted'
        this.#doomed.delete(pack.ordinal)
      }
      this.#doomedStrays.delete(name)
      this.#deletedNames.set(name, envelope.number)
    }
  }
}
