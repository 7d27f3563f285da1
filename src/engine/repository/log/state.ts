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
 * Packs are numbered by *ordinals*: those that an entry names take `firstOrdinal` and the next ones, in its order. Ordinals that
 * entries which could not be read took stay `UNKNOWN_PACK`, so that those of all others are what their writers meant.
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
import type { Envelope, PointHeader } from './entry.ts'
import { decodeOrdinals, encodeOrdinals } from './ordinals.ts'
import { Pins } from './pins.ts'
import type { Anchor, ForgottenState, StateSnapshot } from './state-snapshot.ts'

export type PackStatus = 'live' | 'doomed' | 'deleted'
export type PackState = {
  readonly ordinal: number
  readonly name: string
  readonly lengthBytes: number
  status: PackStatus
  readonly addedIn: number
}
/** Stands for ordinals whose pack is not known: named by an entry that could not be read, or by none (a name twice). */
export const UNKNOWN_PACK: Readonly<PackState> = Object.freeze({
  ordinal: -1,
  name: '',
  lengthBytes: 0,
  status: 'deleted',
  addedIn: 0,
})
export type PointState = Readonly<{ header: PointHeader; number: number }>

const ANCHORS_MAX = 1024

export class LogState {
  head = 0
  headHash = ''
  /** Features that any entry asked for, in the order of their names. The caller has checked that it knows them. */
  requires: readonly string[] = []
  time: ObservedTime = NO_TIME
  immutability: ImmutabilityPolicy = IMMUTABILITY_DISABLED
  /** When the last lock that any point ever asked for ends; 0 when none did. */
  lastLockEndMs = 0
  /** Deletions up to this entry are forgotten; who began his stay before it finds no answer here any more and must not commit. */
  horizon = 0
  /** The last entries at which the state was made compact, ascending, with their hashes. */
  anchors: Anchor[] = []
  readonly packs: PackState[] = []
  pins = new Pins()
  readonly #packByName = new Map<string, PackState>()
  readonly #points = new Map<PointId, PointState>()
  readonly #forgotten = new Map<PointId, ForgottenState>()
  #moves: { from: number[]; to: number[] }[] = []
  readonly #doomed = new Set<number>()
  readonly #doomedStrays = new Set<string>()
  readonly #deletedNames = new Map<string, number>()

  get points(): ReadonlyMap<PointId, PointState> {
    return this.#points
  }

  /** Names that were never added and are doomed. */
  get doomedStrays(): ReadonlySet<string> {
    return this.#doomedStrays
  }

  packNamed(name: string): PackState | undefined {
    return this.#packByName.get(name)
  }

  get packsKnown(): number {
    return this.#packByName.size
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

  /** Whether the chain of bases ends at a point that was never seen: its entry could not be read. */
  hasUnknownBase(header: PointHeader): boolean {
    const last = [...this.#chainOf(header, new Set())].at(-1)
    return last?.base !== undefined && this.everKnown(last.base) === undefined
  }

  #collectUses(header: PointHeader, into: Set<number>, seen: Set<PointId>): void {
    for (const { uses } of this.#chainOf(header, seen))
      for (const ordinal of decodeOrdinals(uses, this.packs.length)) into.add(ordinal)
  }

  /** The point and its bases, back to the first that was `seen` before. */
  *#chainOf(header: PointHeader, seen: Set<PointId>): Generator<PointHeader> {
    for (let at: PointHeader | undefined = header; at !== undefined && !seen.has(at.id);) {
      seen.add(at.id)
      yield at
      at = at.base === undefined ? undefined : this.everKnown(at.base)?.header
    }
  }

  /** Passes over ordinals that entries which could not be read have taken, up to `ordinal`. */
  skipOrdinals(ordinal: number): void {
    for (let at = this.packs.length; at < ordinal; at += 1) this.packs.push(UNKNOWN_PACK)
  }

  /** Takes the next entry in. The caller has checked that it follows (`number`, `previous`, `firstOrdinal`). */
  apply(envelope: Envelope, hash: string): void {
    this.head = envelope.number
    this.headHash = hash
    this.requires = [...new Set([...this.requires, ...(envelope.requires ?? [])])].sort()
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
      // What a point needs is said once: another header could take from closures, and from what is locked.
      if (this.everKnown(header.id) !== undefined) continue
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
    if (envelope.pin !== undefined) this.pins.add(envelope.number, envelope.pin, this.time.observedMs)
    for (const number of envelope.unpin ?? []) this.pins.drop(number)
    if (envelope.compact !== undefined) this.#compact(Math.min(envelope.compact, envelope.number - 1))
  }

  /**
   * Gives up what no later entry may refer to, so that the state grows with what lives and not with what happened:
   * deletions up to the horizon, with the ordinals and names of their packs; points forgotten up to it, unless their packs
   * are locked yet; pins that ran out.
   * The closures of the points that stay are the same before and after, but for packs that are gone: a point whose base is
   * not live any more takes over what that one used, and what rewrites moved is added to the uses of every point.
   */
  #compact(horizon: number): void {
    this.horizon = Math.max(this.horizon, horizon)
    const isGone = (ordinal: number): boolean => {
      const name = this.packs[ordinal]?.name ?? ''
      return name === '' || (this.isDeleted(name) && this.deletedIn(name) <= this.horizon)
    }
    const gone = new Set(this.packs.keys().filter(isGone))
    const headers = new Map(
      [...this.#points.values(), ...this.#forgotten.values()].map(({ header }) => [header, this.#flat(header, gone)]),
    )
    for (const [id, point] of this.#points)
      this.#points.set(id, { ...point, header: must(headers.get(point.header), 'Made') })
    for (const [id, point] of this.#forgotten) {
      const isLocked = roundLockEnd(point.header.lockedUntilMs ?? 0) > this.time.observedMs
      if (point.forgottenIn <= this.horizon && !isLocked) this.#forgotten.delete(id)
      else this.#forgotten.set(id, { ...point, header: must(headers.get(point.header), 'Made') })
    }
    this.#moves = this.#moves.filter(({ from }) => from.some((ordinal) => !gone.has(ordinal)))
    for (const ordinal of gone) {
      this.#packByName.delete(this.packs[ordinal]?.name ?? '')
      this.packs[ordinal] = UNKNOWN_PACK
    }
    for (const [name, number] of this.#deletedNames) if (number <= this.horizon) this.#deletedNames.delete(name)
    this.pins.compact(this.time.observedMs, this.horizon)
    this.anchors = [...this.anchors, { number: this.head, hash: this.headHash }].slice(-ANCHORS_MAX)
  }

  #flat(header: PointHeader, gone: ReadonlySet<number>): PointHeader {
    const { base, ...rest } = header
    const keepsBase = base !== undefined && this.#points.has(base)
    const closure = keepsBase ? this.closureOf(rest) : this.closureOf(header)
    const uses = encodeOrdinals(closure.difference(gone))
    return keepsBase ? { ...rest, base, uses } : { ...rest, uses }
  }

  snapshot(): StateSnapshot {
    return {
      head: this.head,
      headHash: this.headHash,
      requires: this.requires,
      time: this.time,
      immutability: this.immutability,
      lastLockEndMs: this.lastLockEndMs,
      horizon: this.horizon,
      anchors: this.anchors,
      ordinals: this.packs.length,
      packs: this.packs.filter(({ name }) => name !== '').map((pack) => ({ ...pack })),
      deleted: [...this.#deletedNames].map(([name, number]) => ({ name, number })),
      doomedStrays: [...this.#doomedStrays],
      points: [...this.#points.values()],
      forgotten: [...this.#forgotten.values()],
      moves: this.#moves.map(({ from, to }) => ({ from: encodeOrdinals(from), to: encodeOrdinals(to) })),
      pins: this.pins.states(),
    }
  }

  static restore(snapshot: StateSnapshot): LogState {
    const state = new LogState()
    const { head, headHash, requires, time, immutability, lastLockEndMs, horizon } = snapshot
    Object.assign(state, { head, headHash, requires, time, immutability, lastLockEndMs, horizon })
    state.anchors = [...snapshot.anchors]
    state.pins = new Pins(snapshot.pins)
    state.skipOrdinals(snapshot.ordinals)
    for (const one of snapshot.packs) {
      const pack = { ...one }
      state.packs[pack.ordinal] = pack
      state.#packByName.set(pack.name, pack)
      if (pack.status === 'doomed') state.#doomed.add(pack.ordinal)
    }
    for (const { name, number } of snapshot.deleted) state.#deletedNames.set(name, number)
    for (const name of snapshot.doomedStrays) state.#doomedStrays.add(name)
    for (const point of snapshot.points) state.#points.set(point.header.id, point)
    for (const point of snapshot.forgotten) state.#forgotten.set(point.header.id, point)
    state.#moves = snapshot.moves.map(({ from, to }) => ({
      from: decodeOrdinals(from, snapshot.ordinals),
      to: decodeOrdinals(to, snapshot.ordinals),
    }))
    return state
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
      if (this.#packByName.has(name)) {
        this.packs.push(UNKNOWN_PACK) // writers name each pack once; a second naming takes its ordinal and means nothing
        continue
      }
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
