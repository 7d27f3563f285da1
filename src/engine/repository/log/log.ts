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
import { assert, type Clock, must, type Random, toHex } from '#base'
import type { BlobStore } from '../blob-store.ts'
import type { KeyRing } from '../crypto.ts'
import { RepositoryError } from '../errors.ts'
import { judge } from '../immutability/observed-time.ts'
import type { PointId, PointRecord } from '../point.ts'
import {
  CHECKPOINT_BYTES_MAX,
  checkpointKey,
  type CheckpointContent,
  encodeCheckpoint,
  openCheckpoint,
} from './checkpoint.ts'
import { type CheckpointTrust, chooseCheckpoint } from './choose-checkpoint.ts'
import { decodeEntry, encodeEntry, type EntryBody, type Envelope, logKey, logNumber, type PackAdded } from './entry.ts'
import { type LogDamage, LogFold, type LogLoss } from './fold.ts'
import { encodeOrdinals } from './ordinals.ts'
import { linkTo } from './link.ts'
import { getOrNothing, readAhead } from './read-ahead.ts'
import type { LogState } from './state.ts'
import type { Anchor } from './state-snapshot.ts'

export type EntryDraft = Readonly<{
  fields: Partial<
    Omit<Envelope, 'format' | 'repository' | 'number' | 'entry' | 'previous' | 'firstOrdinal' | 'requires'>
  >
  body?: EntryBody
}>

const APPEND_ATTEMPTS_MAX = 1000

export type LogParts = Readonly<{
  store: BlobStore
  /** Absent: the log is read as anyone may, without authenticating entries or opening bodies; nothing can be appended. */
  keys?: KeyRing
  repositoryId: string
  clock: Clock
  random: Random
  writer: string
  checkpoints?: CheckpointOptions
  /** Why nobody may append here, whatever the log says. */
  refusal?: RepositoryError
}>

export type CheckpointOptions = Readonly<{
  /** The state is made compact, and a checkpoint written, when so many entries have come since (and take as much as it). */
  entriesMin?: number
  trust?: CheckpointTrust
}>
const CHECKPOINT_ENTRIES_MIN = 256
/** What a point and a pack take in a checkpoint, about. */
const [POINT_BYTES, PACK_BYTES] = [700, 150]

export class CommitLog {
  readonly #parts: LogParts
  readonly #fold: LogFold
  /** The number of the checkpoint that reading went on from; 0 when it began with entry 1. */
  #from = 0
  #fromContent: CheckpointContent | undefined
  /** Entries at which our own append made the state compact, and what is to be written of them. */
  readonly #ownCompact = new Map<number, CheckpointContent | undefined>()

  private constructor(parts: LogParts) {
    this.#parts = parts
    this.#fold = new LogFold(parts.repositoryId, parts.keys)
    this.#fold.onCompact = (number) => {
      if (this.#ownCompact.has(number)) this.#ownCompact.set(number, this.#fold.content())
    }
  }

  /**
   * Reads the log: from the newest checkpoint that may be believed, or with `entries`, and always without the key, from its
   * beginning. Damage is collected, not thrown.
   */
  static async open(parts: LogParts, reading: 'checkpoint' | 'entries' = 'checkpoint'): Promise<CommitLog> {
    const log = new CommitLog(parts)
    const { store, keys, repositoryId, checkpoints } = parts
    const checkpoint =
      keys === undefined || reading === 'entries'
        ? undefined
        : await chooseCheckpoint(store, keys, repositoryId, checkpoints?.trust)
    if (checkpoint !== undefined) log.#goOnFrom(checkpoint)
    await log.#readListed()
    return log
  }

  #goOnFrom(checkpoint: CheckpointContent): void {
    this.#fold.restore(checkpoint)
    this.#from = checkpoint.state.head
    this.#fromContent = checkpoint
  }

  /** The number of the checkpoint that reading went on from; 0 when it began with entry 1. */
  get from(): number {
    return this.#from
  }

  /** What the checkpoint said that reading went on from. */
  get fromContent(): CheckpointContent | undefined {
    return this.#fromContent
  }

  async #readListed(): Promise<void> {
    const numbers: number[] = []
    const after = this.#from === 0 ? undefined : logKey(this.#from)
    for await (const { key } of this.#parts.store.list('log/', after)) {
      const number = logNumber(key)
      if (number !== undefined) numbers.push(number)
    }
    await this.#readAll(numbers)
    await this.refresh()
  }

  /**
   * Reads the entries up to where this log is now, from the beginning or from a checkpoint before `from`, and gives what
   * that finds: the state and the damage by the entries alone. `onCompact` hears of every state that a checkpoint may hold.
   */
  static async fold(
    parts: LogParts,
    onCompact: (number: number, content: () => CheckpointContent) => void,
    start?: CheckpointContent,
  ): Promise<CommitLog> {
    const log = new CommitLog(parts)
    if (start !== undefined) log.#goOnFrom(start)
    log.#fold.onCompact = (number) => onCompact(number, () => log.#fold.content())
    await log.#readListed()
    return log
  }

  get state(): LogState {
    return this.#fold.state
  }

  get damage(): readonly LogDamage[] {
    return this.#fold.damage
  }

  /** The gaps in the log, and the ordinals that they took. */
  get losses(): readonly LogLoss[] {
    return this.#fold.losses
  }

  /** Live points, oldest first. */
  points(): PointRecord[] {
    const numbered = [...this.state.points].flatMap(([id, { number }]) => {
      const record = this.#fold.records.get(id)
      return record === undefined ? [] : [{ number, record }]
    })
    return numbered.sort((a, b) => a.number - b.number).map(({ record }) => record)
  }

  hashOf(number: number): string | undefined {
    return this.#fold.hashes.get(number)
  }

  /** Whether an entry that was seen before stands in this history. An entry on the way that is missing is damage. */
  async holds(seen: Anchor): Promise<boolean> {
    const known = this.hashOf(seen.number)
    if (known !== undefined || seen.number > this.#from) return known === seen.hash
    const link = await linkTo(this.#parts.store, seen, this.state.anchors)
    if (typeof link === 'object') this.#fold.damage.push({ kind: 'log_entry_missing', number: link.missing })
    return link === 'same'
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
      const storeTime = await this.#storeTime(clock.nowMs())
      // From here to the put nothing is awaited: other sessions of this process move the state on.
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
        firstOrdinal: this.state.packs.length,
        atMs: clock.nowMs(),
        ...storeTime,
        ...this.#compactNow(number),
      }
      if (envelope.compact !== undefined) this.#ownCompact.set(number, undefined)
      const bytes = encodeEntry(keys, envelope, body)
      assert(decodeEntry(bytes) !== undefined, 'What is appended can be read')
      const outcome = await store.put(logKey(number), [bytes])
      if (outcome === 'created' || (await this.#isOurs(number, envelope.entry))) {
        await this.#readOne(number)
        await this.#writeCheckpoint(number)
        return number
      }
      this.#ownCompact.delete(number)
    }
    throw new RepositoryError('log_contended', 'The log moved on faster than this writer could follow.', {
      retry: 'later',
    })
  }

  /**
   * Names new packs and deletes hurt ones in one entry; closures that held a hurt pack then hold the new ones, and those of
   * `reliesOn`, live packs that have copies of its chunks.
   * @param isRemembered of the session that stored the packs. @throws packs_deleted when a prune was faster, log_damaged
   */
  replacePacks(
    hurt: readonly number[],
    { packs, reliesOn }: Readonly<{ packs: readonly PackAdded[]; reliesOn: readonly number[] }>,
    isRemembered: (state: LogState) => boolean,
  ): Promise<number> {
    return this.append((state) => {
      const names = hurt
        .map((ordinal) => state.packs[ordinal])
        .map((pack) => (pack?.status === 'deleted' ? '' : pack?.name))
      const isLost =
        packs.some(({ name }) => state.isDeleted(name)) ||
        reliesOn.some((ordinal) => state.packs[ordinal]?.status !== 'live')
      if (!isRemembered(state) || names.includes('') || isLost)
        throw new RepositoryError('packs_deleted', 'A prune deleted meanwhile what the repair was about.', {
          retry: 'now',
          hint: 'Run the repair once more.',
        })
      const to = encodeOrdinals([...reliesOn, ...packs.map((_, i) => state.packs.length + i)])
      return {
        fields: {
          packs,
          moved: { from: encodeOrdinals(hurt), to },
          deletions: names.map((name) => must(name, 'Hurt packs are packs of the log')),
        },
      }
    })
  }

  /** @throws log_damaged, or why nobody may append here */
  assertWritable(): void {
    if (this.#parts.refusal !== undefined) throw this.#parts.refusal
    const first = this.damage[0]
    if (first === undefined) return
    throw new RepositoryError(
      'log_damaged',
      `Entry ${first.number} of the log is damaged (${first.kind}); nothing is written until it is mended.`,
      {
        facts: { number: first.number, kind: first.kind },
        hint: 'Run "holdfast repo verify" for the whole picture and "holdfast repo repair --mirror" a copy of the store to mend it.',
      },
    )
  }

  /** The field that makes the state compact with entry `number`, when it is time for that. */
  #compactNow(number: number): { compact?: number } {
    const { state } = this
    const entriesMin = this.#parts.checkpoints?.entriesMin ?? CHECKPOINT_ENTRIES_MIN
    const expectedBytes = state.points.size * POINT_BYTES + state.packsKnown * PACK_BYTES
    if (number - (state.anchors.at(-1)?.number ?? 0) < entriesMin) return {}
    if (entriesMin >= CHECKPOINT_ENTRIES_MIN && this.#fold.bytesSinceCompact < expectedBytes) return {}
    // Whoever is pinned, or began not long ago, must still find what was deleted since he began.
    const stays = state.pins.active(state.time.observedMs).map(([pin, { session }]) => session ?? pin)
    return { compact: Math.max(0, Math.min(number - entriesMin, ...stays.map((stay) => stay - 1))) }
  }

  /** Best effort: nothing rests on it, and the entry that it is of has been committed. */
  async #writeCheckpoint(number: number): Promise<void> {
    const content = this.#ownCompact.get(number)
    this.#ownCompact.delete(number)
    const { keys, store, random, repositoryId } = this.#parts
    if (content === undefined || keys === undefined) return
    try {
      const bytes = encodeCheckpoint(keys, repositoryId, random.bytes(32), content)
      const isReadable = openCheckpoint(keys, bytes, repositoryId, number) !== undefined
      if (isReadable && bytes.length <= CHECKPOINT_BYTES_MAX) await store.put(checkpointKey(number), [bytes])
    } catch {
      // A checkpoint that cannot be written, or is too large to be encoded, costs later readers time and nothing else.
    }
  }

  /** The store's own clock, asked only when ours alone would be doubted. */
  async #storeTime(nowMs: number): Promise<{ storeMs?: number }> {
    const { time } = this.state
    if (time.observedMs > 0 && judge(time, { nowMs }).plausible) return {}
    const storeMs = await this.#parts.store.timeMs()
    return storeMs === undefined ? {} : { storeMs }
  }

  async #isOurs(number: number, entryId: string): Promise<boolean> {
    const bytes = await getOrNothing(this.#parts.store, logKey(number))
    return bytes !== undefined && decodeEntry(bytes)?.envelope.entry === entryId
  }

  /** Takes entry `number` in; false when it does not exist. */
  async #readOne(number: number): Promise<boolean> {
    if (number <= this.state.head) return true
    const bytes = await getOrNothing(this.#parts.store, logKey(number))
    // Several sessions of one process share this log: another one may have taken the entry in while this one fetched it.
    if (number <= this.state.head) return true
    if (bytes === undefined) return false
    this.#fold.take(number, bytes)
    return true
  }

  /** Takes entries in, ascending, each after a look at the two that follow it. */
  async #readAll(numbers: readonly number[]): Promise<void> {
    const ahead: { number: number; bytes: Uint8Array }[] = []
    const takeFirst = (): void => {
      const [entry, next, afterNext] = ahead
      ahead.shift()
      if (entry === undefined || entry.number <= this.state.head) return
      // Whoever holds the key sees by its MAC whether an entry was changed.
      const isKeyless = this.#parts.keys === undefined
      const confirmed = isKeyless ? confirmedHash(entry.number, next?.bytes, afterNext?.bytes) : undefined
      this.#fold.take(entry.number, entry.bytes, confirmed)
    }
    for await (const { at, bytes } of readAhead(this.#parts.store, numbers.map(logKey))) {
      if (bytes !== undefined) ahead.push({ number: must(numbers[at], 'As asked'), bytes })
      if (ahead.length === 3) takeFirst()
    }
    while (ahead.length > 0) takeFirst()
  }

  /** The record of a live point. */
  record(id: PointId): PointRecord {
    return must(this.#fold.records.get(id), 'A live point has a record')
  }
}

/** The hash of entry `number` by the entry after it, if that one is in turn what the next one says. */
function confirmedHash(
  number: number,
  next: Uint8Array | undefined,
  afterNext: Uint8Array | undefined,
): string | undefined {
  const [second, third] = [next, afterNext].map((bytes) => (bytes === undefined ? undefined : decodeEntry(bytes)))
  if (second?.envelope.number !== number + 1 || third?.envelope.number !== number + 2) return undefined
  return third.envelope.previous === second.hash ? second.envelope.previous : undefined
}
