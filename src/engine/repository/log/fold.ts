/**
 * Takes entries of the log in, one after another, and keeps what they say: the state, the points' records, and the damage.
 *
 * Every entry states the ordinal of its first pack. So packs keep the ordinals that their writers meant although entries
 * before them are missing or unreadable, and `losses` says which ordinals such a gap took with it.
 */
import type { KeyRing } from '../crypto.ts'
import type { PointId, PointRecord } from '../point.ts'
import type { CheckpointContent } from './checkpoint.ts'
import { type DecodedEntry, decodeEntry, type EntryBody, type Envelope, isAuthentic, openBody } from './entry.ts'
import { assertKnownFeatures, unknownFeatures } from './features.ts'
import { LogState } from './state.ts'

export type LogDamage = Readonly<{
  kind: 'log_entry_missing' | 'log_entry_corrupt' | 'log_chain_broken'
  number: number
}>

/** Entries `first` to `last` could not be read; they named the packs of the ordinals from `from` to before `to`. */
export type LogLoss = Readonly<{ first: number; last: number; from: number; to: number }>

/** Of one gap so many missing entries are named one by one. */
const GAP_NOTED_MAX = 10_000
/** More packs than this are not believed to stand in one gap: a planted entry must not make us keep room for them. */
const ORDINALS_LOST_MAX = 4 * 1024 * 1024

export class LogFold {
  state = new LogState()
  readonly damage: LogDamage[] = []
  readonly losses: LogLoss[] = []
  readonly records = new Map<PointId, PointRecord>()
  /** Hash of every entry that was read, by number: what a remembered head is compared with. */
  readonly hashes = new Map<number, string>()
  readonly #keys: KeyRing | undefined
  readonly #repositoryId: string
  #gapFrom: number | undefined
  /** What the entries since the state was last made compact take in the store. */
  bytesSinceCompact = 0
  /** Told of every entry at which the state was made compact, when it has just been taken in. */
  onCompact: (number: number) => void = () => {}

  constructor(repositoryId: string, keys: KeyRing | undefined) {
    this.#repositoryId = repositoryId
    this.#keys = keys
  }

  /**
   * Takes entry `number` in, which is behind the head. `confirmed` is what later entries say that its hash is, if they agree;
   * it matters to those without the key, who cannot otherwise tell a changed entry from one that follows a changed one.
   * @throws repository_too_new
   */
  take(number: number, bytes: Uint8Array, confirmed?: string): void {
    this.#noteMissing(number)
    const entry = decodeEntry(bytes)
    const body = this.#checked(entry, number)
    const isChanged = this.#keys === undefined && confirmed !== undefined && confirmed !== entry?.hash
    if (entry === undefined || body === undefined || isChanged || this.#isAbsurd(entry.envelope)) {
      this.damage.push({ kind: 'log_entry_corrupt', number })
      this.#gapFrom ??= number
      this.state.head = number
      this.state.headHash = ''
      return
    }
    assertKnownFeatures(entry.envelope.requires ?? [], number)
    this.#checkFollows(entry.envelope)
    this.state.apply(entry.envelope, entry.hash)
    this.hashes.set(number, entry.hash)
    for (const record of body.points ?? [])
      if (this.state.points.get(record.id)?.number === number) this.records.set(record.id, record)
    for (const id of entry.envelope.forgotten ?? []) if (!this.state.points.has(id)) this.records.delete(id)
    this.bytesSinceCompact += bytes.length
    if (entry.envelope.compact === undefined) return
    this.bytesSinceCompact = 0
    this.onCompact(number)
  }

  /** The state as it is now, with the records of its points. */
  content(): CheckpointContent {
    const state = this.state.snapshot()
    return {
      state,
      records: state.points.map(({ header }) => this.records.get(header.id)).filter((one) => one !== undefined),
    }
  }

  /** Goes on from a checkpoint, instead of what was taken in. */
  restore({ state, records }: CheckpointContent): void {
    this.state = LogState.restore(state)
    for (const record of records) this.records.set(record.id, record)
    for (const { number, hash } of state.anchors) this.hashes.set(number, hash)
  }

  #isAbsurd({ firstOrdinal }: Envelope): boolean {
    return firstOrdinal - this.state.packs.length > ORDINALS_LOST_MAX
  }

  /** Compares the entry with what is before it; ordinals that a gap took are passed over. */
  #checkFollows({ number, previous, firstOrdinal }: Envelope): void {
    const { state } = this
    const known = state.packs.length
    const isSure = state.headHash !== '' || state.head === 0
    if (isSure && (previous !== state.headHash || firstOrdinal !== known))
      this.damage.push({ kind: 'log_chain_broken', number })
    state.skipOrdinals(firstOrdinal)
    if (this.#gapFrom !== undefined)
      this.losses.push({ first: this.#gapFrom, last: number - 1, from: known, to: Math.max(known, firstOrdinal) })
    this.#gapFrom = undefined
  }

  /** Notes the gap before entry `found`. A planted entry with a huge number must not make us note all before it. */
  #noteMissing(found: number): void {
    const first = this.state.head + 1
    if (first === found) return
    this.state.head = found - 1
    this.state.headHash = ''
    this.#gapFrom ??= first
    const last = Math.min(found - 1, first + GAP_NOTED_MAX - 1)
    for (let number = first; number <= last; number += 1) this.damage.push({ kind: 'log_entry_missing', number })
  }

  #checked(entry: DecodedEntry | undefined, number: number): EntryBody | undefined {
    if (entry === undefined || entry.envelope.number !== number || entry.envelope.repository !== this.#repositoryId)
      return undefined
    if (this.#keys === undefined) return {}
    if (!isAuthentic(this.#keys, entry)) return undefined
    if (unknownFeatures(entry.envelope.requires ?? []).length > 0) return {}
    const body = openBody(this.#keys, entry)
    return body !== undefined && hasRecords(entry.envelope, body) ? body : undefined
  }
}

/** Whether the body has the record of every point that the envelope commits: a prune marks by records what is needed. */
function hasRecords({ points = [] }: Envelope, { points: records = [] }: EntryBody): boolean {
  return points.length === records.length && points.every(({ id }, i) => records[i]?.id === id)
}
