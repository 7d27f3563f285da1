/**
 * The commit log: numbered create-once objects that say, in one order for everyone, what is in the repository.
 *
 * Promises
 *   1. `append` resolves only when its entry is durable under the next number, and everything before it was read. Of two
 *      writers one takes the number and the other reads the winner's entry and tries the next (compare-and-set).
 *   2. A lost reply is not a lost race: when the number turns out to be taken, the entry's random id says by whom.
 *   3. An entry that is damaged, missing in the middle, or does not follow its predecessor is reported as damage with
 *      its number, reading goes on with the others, and nothing is written until it is mended (`log_damaged`).
 *   4. A log that is shorter or other than this reader has seen before is `log_rolled_back` (see remembered-head.ts).
 *
 * It never deletes. A crash before the put leaves nothing, after it a committed entry; there is no state between.
 */
import { type Clock, isHoldfastError, must, type Random, toHex } from '#base'
import type { BlobStore } from '../blob-store.ts'
import type { KeyRing } from '../crypto.ts'
import { RepositoryError } from '../errors.ts'
import { judge } from '../immutability/observed-time.ts'
import type { PointId, PointRecord } from '../point.ts'
import {
  type DecodedEntry,
  decodeEntry,
  encodeEntry,
  type EntryBody,
  type Envelope,
  isAuthentic,
  logKey,
  logNumber,
  openBody,
  type PackAdded,
} from './entry.ts'
import { encodeOrdinals } from './ordinals.ts'
import { LogState } from './state.ts'

export type EntryDraft = Readonly<{
  fields: Partial<Omit<Envelope, 'format' | 'repository' | 'number' | 'entry' | 'previous'>>
  body?: EntryBody
}>

export type LogDamage = Readonly<{
  kind: 'log_entry_missing' | 'log_entry_corrupt' | 'log_chain_broken'
  number: number
}>

const APPEND_ATTEMPTS_MAX = 1000
/** Of one gap so many missing entries are named one by one. */
const GAP_NOTED_MAX = 10_000

export type LogParts = Readonly<{
  store: BlobStore
  /** Absent: the log is read as anyone may, without authenticating entries or opening bodies; nothing can be appended. */
  keys?: KeyRing
  repositoryId: string
  clock: Clock
  random: Random
  writer: string
}>

export class CommitLog {
  readonly #parts: LogParts
  readonly state = new LogState()
  readonly damage: LogDamage[] = []
  readonly #records = new Map<PointId, PointRecord>()
  /** Hash of every entry that was read, by number: what a remembered head is compared with. */
  readonly #hashes = new Map<number, string>()

  private constructor(parts: LogParts) {
    this.#parts = parts
  }

  /** Reads the whole log. Damage is collected, not thrown. */
  static async open(parts: LogParts): Promise<CommitLog> {
    const log = new CommitLog(parts)
    const numbers: number[] = []
    for await (const { key } of parts.store.list('log/')) {
      const number = logNumber(key)
      if (number !== undefined) numbers.push(number)
    }
    for (const number of numbers) await log.#readOne(number)
    await log.refresh()
    return log
  }

  /** Live points, oldest first. */
  points(): PointRecord[] {
    const numbered = [...this.state.points].flatMap(([id, { number }]) => {
      const record = this.#records.get(id)
      return record === undefined ? [] : [{ number, record }]
    })
    return numbered.sort((a, b) => a.number - b.number).map(({ record }) => record)
  }

  hashOf(number: number): string | undefined {
    return this.#hashes.get(number)
  }

  /** Reads what others have committed since. */
  async refresh(): Promise<void> {
    while (await this.#readOne(this.state.head + 1)) {
      // each turn took one entry in; the first missing number ends it
    }
  }

  /**
   * Appends what `draft` makes of the state as it is then; called anew after every lost race. `draft` may throw to give up.
   * @throws log_damaged, log_contended, and what the store throws
   */
  async append(draft: (state: LogState) => EntryDraft): Promise<number> {
    this.assertWritable()
    const { store, repositoryId, clock, random, writer } = this.#parts
    const keys = must(this.#parts.keys, 'Only a holder of the key appends')
    for (let attempt = 0; attempt < APPEND_ATTEMPTS_MAX; attempt += 1) {
      await this.refresh()
      this.assertWritable()
      const { fields, body = {} } = draft(this.state)
      const number = this.state.head + 1
      const envelope: Envelope = {
        writer,
        ...fields,
        format: 'holdfast-log',
        repository: repositoryId,
        number,
        entry: toHex(random.bytes(32)),
        previous: this.state.headHash,
        atMs: clock.nowMs(),
        ...(await this.#storeTime(clock.nowMs())),
      }
      const outcome = await store.put(logKey(number), [encodeEntry(keys, envelope, body)])
      if (outcome === 'created' || (await this.#isOurs(number, envelope.entry))) {
        await this.#readOne(number)
        return number
      }
    }
    throw new RepositoryError('log_contended', 'The log moved on faster than this writer could follow.', {
      retry: 'later',
    })
  }

  /** Names new packs and deletes hurt ones in one entry; closures that held a hurt pack then hold the new ones. */
  replacePacks(hurt: readonly number[], packs: readonly PackAdded[]): Promise<number> {
    return this.append((state) => ({
      fields: {
        packs,
        moved: { from: encodeOrdinals(hurt), to: encodeOrdinals(packs.map((_, i) => state.packs.length + i)) },
        deletions: hurt.map((ordinal) => must(state.packs[ordinal], 'Hurt packs are packs of the log').name),
      },
    }))
  }

  /** @throws log_damaged */
  assertWritable(): void {
    const first = this.damage[0]
    if (first === undefined) return
    throw new RepositoryError(
      'log_damaged',
      `Entry ${first.number} of the log is damaged (${first.kind}); nothing is written until it is mended.`,
      {
        facts: { number: first.number, kind: first.kind },
        hint: 'Run "holdfast repo verify" for the whole picture and "holdfast repo repair --from" a mirror to mend it.',
      },
    )
  }

  /** The store's own clock, asked only when ours alone would be doubted. */
  async #storeTime(nowMs: number): Promise<{ storeMs?: number }> {
    const { time } = this.state
    if (time.observedMs > 0 && judge(time, { nowMs }).plausible) return {}
    const storeMs = await this.#parts.store.timeMs()
    return storeMs === undefined ? {} : { storeMs }
  }

  async #isOurs(number: number, entryId: string): Promise<boolean> {
    const found = decodeEntry(await this.#parts.store.get(logKey(number)))
    return found?.envelope.entry === entryId
  }

  async #fetch(number: number): Promise<Uint8Array | undefined> {
    try {
      return await this.#parts.store.get(logKey(number))
    } catch (error) {
      if (isHoldfastError(error, 'blob_not_found')) return undefined
      throw error
    }
  }

  /** Takes entry `number` in; false when it does not exist. */
  async #readOne(number: number): Promise<boolean> {
    if (number <= this.state.head) return true
    const bytes = await this.#fetch(number)
    // Several sessions of one process share this log: another one may have taken the entry in while this one fetched it.
    if (number <= this.state.head) return true
    if (bytes === undefined) return false
    this.#noteMissing(number)
    const entry = decodeEntry(bytes)
    const body = this.#checked(entry, number)
    if (entry === undefined || body === undefined) {
      this.damage.push({ kind: 'log_entry_corrupt', number })
      this.state.head = number
      this.state.headHash = ''
      return true
    }
    const follows = entry.envelope.previous === this.state.headHash
    if (!follows && this.state.headHash !== '') this.damage.push({ kind: 'log_chain_broken', number })
    this.state.apply(entry.envelope, entry.hash)
    this.#hashes.set(number, entry.hash)
    for (const record of body.points ?? []) this.#records.set(record.id, record)
    for (const id of entry.envelope.forgotten ?? []) if (!this.state.points.has(id)) this.#records.delete(id)
    return true
  }

  /** Notes the gap before entry `found`. A planted entry with a huge number must not make us note all before it. */
  #noteMissing(found: number): void {
    const first = this.state.head + 1
    if (first < found) this.state.headHash = ''
    const last = Math.min(found - 1, first + GAP_NOTED_MAX - 1)
    for (let number = first; number <= last; number += 1) this.damage.push({ kind: 'log_entry_missing', number })
  }

  #checked(entry: DecodedEntry | undefined, number: number): EntryBody | undefined {
    const { keys, repositoryId } = this.#parts
    if (entry === undefined || entry.envelope.number !== number || entry.envelope.repository !== repositoryId)
      return undefined
    if (keys === undefined) return {}
    return isAuthentic(keys, entry) ? openBody(keys, entry) : undefined
  }

  /** The record of a live point. */
  record(id: PointId): PointRecord {
    return must(this.#records.get(id), 'A live point has a record')
  }
}
