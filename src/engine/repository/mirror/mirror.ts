/**
 * A mirror: another store that holds the same repository, object for object, kept up by passes that may be run at any time, from
 * anywhere, and be killed at any step.
 *
 * Promises
 *   1. Wherever the mirror stands still it is a repository that was: its log is a beginning of the repository's, and every pack that
 *      this beginning says is there, is there whole. With the key alone it lists, verifies and restores.
 *   2. It never moves backwards, and never overwrites: a mirror whose history is not the beginning of the repository's is left as it is
 *      (`mirror_diverged`), whichever of the two was put back, forked or promoted.
 *   3. Nothing that is not certain is taken in: entries are held against the chain, packs against their names.
 *   4. What is locked in the repository is locked in the mirror, for as long, before the entry that promises it is there.
 *   5. Nothing is deleted but what the log has given up (sweep-mirror.ts).
 *   6. No key is needed. With one, entries are held against their MACs too, reading begins at a checkpoint, and a pin keeps prune from what
 *      is being copied.
 *
 *   step                                     a crash right after it leaves
 *   1 the mark, key slots, config            prepare-target.ts
 *   2 packs of a batch (batches.ts)          packs that the mirror's log does not name yet; the next pass finds them there
 *   3 locks of what its points need          locks that nobody was promised: space until they end
 *   4 its entries, in order                  the mirror some entries further on; packs of all of the batch are there. Where that is
 *                                            not enough, the rest of the entries lies ready (incoming.ts)
 *   5 locks of its entries                   entries without a lock; the next pass that has any to do, or the check, locks them
 *   6 checkpoints of its entries             fewer checkpoints: readers read more
 *   7 deletions                              objects without a meaning; the next sweep removes them
 *
 * Two passes at once do no harm: both write the same objects. A pack that the repository itself has lost or that rotted there before
 * it was mirrored holds nothing else up: it is `owed`, every pass tries it again, and the points that need it do not count as mirrored.
 */
import { type Clock, must, type ProgressSink, type Random, silentProgress } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { readConfig } from '../config.ts'
import { RepositoryError } from '../errors.ts'
import { Immutability } from '../immutability/immutability.ts'
import { checkpointKey } from '../log/checkpoint.ts'
import { type Envelope, logKey, type PackAdded } from '../log/entry.ts'
import { CommitLog } from '../log/log.ts'
import { getOrNothing } from '../log/read-ahead.ts'
import type { Repository } from '../repository.ts'
import { type Batch, BATCH_LIMITS, type BatchLimits, cutBatches } from './batches.ts'
import { copyPacks, packsOf } from './copy-packs.ts'
import { hintsFolder, type MirrorHints, NO_HINTS, readHints, saveHints } from './mirror-hints.ts'
import { finishIncoming, removeIncoming, writeIncoming } from './incoming.ts'
import { lagOf, type MirrorLag } from './mirror-lag.ts'
import { MirrorLocks } from './mirror-locks.ts'
import { copyFrame, judgeTarget, markTarget } from './prepare-target.ts'
import { entriesUpTo, envelopeOf, readEntry } from './source-entries.ts'
import { diverged, standingOf } from './standing.ts'
import { MIRROR_GRACE_MS, sweepMirror } from './sweep-mirror.ts'

export type MirrorParts = Readonly<{
  source: BlobStore
  target: BlobStore
  /** The repository in `source`, opened by its key. Absent: it is mirrored as anyone may who can read the store. */
  repository?: Repository
  clock: Clock
  random: Random
  writer: string
  cacheFolder: string
  /** How long packs stay in the mirror that the log has given up. */
  graceMs?: number
  lanes?: number
  limits?: BatchLimits
  progress?: ProgressSink
  signal?: AbortSignal
}>

export type PassReport = Readonly<{
  /** The last entry that the mirror has. */
  head: number
  entries: number
  packs: number
  bytes: number
  /** Packs that the repository has not whole, so that the mirror has them not at all. */
  owed: readonly string[]
  deleted: number
  /** Given up and still in the mirror: for readers' sake, or because its store holds them. */
  condemned: number
  /** Why nothing was deleted where locks are in use: the clock is not believed. */
  clockDoubted: boolean
  lag: MirrorLag
}>

export class Mirror {
  readonly #parts: MirrorParts
  readonly #log: CommitLog
  readonly #repositoryId: string
  readonly #folder: string
  readonly #locks: MirrorLocks
  #hints: MirrorHints
  /** Whether there were hints: without any, that nothing is owed would be a guess. */
  #isRemembered: boolean
  /** Whether the mirror was looked through for what is to be deleted since this began or since the log deleted something. */
  #isSwept: boolean

  private constructor(parts: MirrorParts, log: CommitLog, repositoryId: string, hints: MirrorHints | undefined) {
    this.#parts = parts
    this.#log = log
    this.#repositoryId = repositoryId
    this.#folder = hintsFolder(parts.cacheFolder, repositoryId, parts.target.location)
    this.#locks = new MirrorLocks({ store: parts.target, log, clock: parts.clock, cacheFolder: this.#folder })
    this.#hints = hints ?? NO_HINTS
    this.#isRemembered = hints !== undefined
    this.#isSwept = hints !== undefined
  }

  /** @throws repository_not_found, and what the stores throw. Writes nothing. */
  static async open(parts: MirrorParts): Promise<Mirror> {
    const { source, target, repository, cacheFolder, clock, random, writer } = parts
    const { id } = await readConfig(source)
    const log = repository?.log ?? (await CommitLog.open({ store: source, repositoryId: id, clock, random, writer }))
    const hints = await readHints(hintsFolder(cacheFolder, id, target.location))
    return new Mirror(parts, log, id, hints)
  }

  /**
   * Brings the mirror up to where the repository's log is now.
   * @param adopt take a store that holds this repository and is not marked as its mirror
   * @throws mirror_diverged, mirror_foreign, mirror_promoted, log_damaged, lock_failed, and what the stores throw
   */
  async pass({ adopt = false }: Readonly<{ adopt?: boolean }> = {}): Promise<PassReport> {
    const { source, target, repository } = this.#parts
    await this.#log.refresh()
    if (repository?.rollback !== undefined) throw repository.rollback
    this.#log.assertWritable()
    const head = await this.#prepare(adopt)
    const done = { entries: 0, packs: 0, bytes: 0 }
    const session = head < this.#log.state.head && this.#hasPacksAfter(head) ? await this.#pin() : undefined
    try {
      const owed = await this.#tryOwed(done)
      for await (const batch of this.#batches(head)) {
        const hurt = await this.#copyBatch(batch, done)
        owed.push(...hurt)
        await this.#save({ ...this.#hints, head: batch.last, owed })
        await session?.keepAlive()
      }
      if (owed.length !== this.#hints.owed.length) await this.#save({ ...this.#hints, owed })
    } finally {
      await session?.end()
    }
    if (done.entries > 0) await copyFrame(source, target)
    return { ...done, ...(await this.#sweep()), owed: this.#hints.owed, head: this.#hints.head, lag: await this.lag() }
  }

  /** How far the mirror is behind, by what is known since the last pass. */
  async lag(): Promise<MirrorLag> {
    await this.#log.refresh()
    return lagOf(this.#parts.source, this.#log, this.#hints, this.#parts.clock.nowMs())
  }

  /** The repository's log, as this reads it. */
  get log(): CommitLog {
    return this.#log
  }

  /** Locks anew in the mirror whatever live points were promised, without trusting what is remembered. */
  extendLocks(): Promise<number> {
    return this.#locks.extend(this.#hints.head, new Set(this.#hints.owed))
  }

  async #prepare(adopt: boolean): Promise<number> {
    const { source, target, clock, writer } = this.#parts
    const parts = { repositoryId: this.#repositoryId, clock, writer }
    const { isMarked } = await judgeTarget(target, parts, adopt)
    if (isMarked) await finishIncoming(target)
    const { head, isHurt } = await standingOf(source, this.#log, target, this.#hints.head)
    if (isHurt)
      throw new RepositoryError('log_damaged', `Entry ${head} of the mirror ${target.location} is altered.`, {
        facts: { location: target.location, number: head },
        retry: 'never',
        hint: 'The check mends it from the repository: "holdfast repo mirror --check".',
      })
    if (!isMarked) await markTarget(target, parts)
    if (!isMarked || head === 0) await copyFrame(source, target)
    if (!this.#isRemembered || head !== this.#hints.head) await this.#remember(head)
    return head
  }

  /** What is remembered is gone, or of another moment of the mirror: what it lacks is found out by looking. */
  async #remember(head: number): Promise<void> {
    const there = await packsOf(this.#parts.target)
    const owed = this.#log.state.packs
      .filter(({ name, addedIn, status }) => addedIn <= head && status !== 'deleted' && !there.has(name))
      .map(({ name }) => name)
    await this.#save({ ...this.#hints, head, owed })
    this.#isRemembered = true
  }

  #hasPacksAfter(head: number): boolean {
    return this.#log.state.packs.some(({ addedIn, status }) => addedIn > head && status !== 'deleted')
  }

  /** A pin of whoever holds the key. Its entries are mirrored like any other. */
  #pin(): ReturnType<Repository['beginReading']> | undefined {
    return this.#parts.repository?.beginReading('mirror')
  }

  #batches(after: number): AsyncGenerator<Batch> {
    const { source, limits = BATCH_LIMITS } = this.#parts
    const { head, headHash } = this.#log.state
    return cutBatches(
      entriesUpTo(source, after, { number: head, hash: headHash }),
      (name) => this.#isGone(name),
      limits,
    )
  }

  #isGone(name: string): boolean {
    const pack = this.#log.state.packNamed(name)
    return pack === undefined || pack.status === 'deleted'
  }

  /** Gives the packs that the repository has not whole. */
  async #copyBatch(batch: Batch, done: { entries: number; packs: number; bytes: number }): Promise<string[]> {
    const { source, target } = this.#parts
    const hurt = await this.#copyPacks(batch.packs, done)
    const entries: Uint8Array[] = []
    for (const [i, hash] of batch.hashes.entries()) entries.push(await readEntry(source, batch.first + i, hash))
    const envelopes = entries.map((bytes) => must(envelopeOf(bytes), 'It was read when the batch was cut'))
    const missing = new Set([...this.#hints.owed, ...hurt])
    const untilMs = await this.#locks.lockNeeded(envelopes, batch.last, missing)
    this.#parts.signal?.throwIfAborted()
    if (batch.isWhole) await writeIncoming(target, entries)
    for (const [i, bytes] of entries.entries()) await this.#putEntry(batch.first + i, bytes)
    if (batch.isWhole) await removeIncoming(target)
    if (untilMs > 0) await this.#locks.lockEntries(batch.last, untilMs)
    await this.#copyCheckpoints(envelopes)
    if (envelopes.some(({ deletions = [] }) => deletions.length > 0)) this.#isSwept = false
    done.entries += entries.length
    return hurt
  }

  async #copyPacks(packs: readonly PackAdded[], done: { packs: number; bytes: number }): Promise<string[]> {
    const { source, target, lanes, signal, progress = silentProgress } = this.#parts
    const totalBytes = packs.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)
    let doneBytes = 0
    const onCopied = (bytes: number): void => {
      doneBytes += bytes
      progress({ task: 'Mirroring', doneBytes, totalBytes })
    }
    const options = { source, target, signal, onCopied }
    const copied = await copyPacks(packs, lanes === undefined ? options : { ...options, lanes })
    done.packs += copied.packs
    done.bytes += copied.bytes
    if (copied.hurt.length === 0) return []
    // Without a pin a prune may have been faster: what it deleted is not owed.
    await this.#log.refresh()
    return copied.hurt.map(({ name }) => name).filter((name) => !this.#isGone(name))
  }

  /** What could not be copied before: some of it may be whole again, or given up. Gives what is still owed. */
  async #tryOwed(done: { packs: number; bytes: number }): Promise<string[]> {
    const packs = this.#hints.owed.flatMap((name) => this.#log.state.packNamed(name) ?? [])
    return this.#copyPacks(
      packs.filter(({ status }) => status !== 'deleted'),
      done,
    )
  }

  async #putEntry(number: number, bytes: Uint8Array): Promise<void> {
    const { source, target } = this.#parts
    if ((await target.put(logKey(number), [bytes])) === 'created') return
    const present = await getOrNothing(target, logKey(number))
    if (present !== undefined && Buffer.compare(present, bytes) === 0) return
    throw diverged(source, target, { reason: 'other', mirrorHead: number, head: this.#log.state.head })
  }

  /** Shortcuts: what is not there, or cannot be put, costs readers time and nothing else. */
  async #copyCheckpoints(envelopes: readonly Envelope[]): Promise<void> {
    const { source, target } = this.#parts
    for (const { number } of envelopes.filter(({ compact }) => compact !== undefined)) {
      const bytes = await getOrNothing(source, checkpointKey(number))
      if (bytes !== undefined) await target.put(checkpointKey(number), [bytes])
    }
  }

  async #sweep(): Promise<{ deleted: number; condemned: number; clockDoubted: boolean }> {
    const { target, clock, graceMs = MIRROR_GRACE_MS } = this.#parts
    const count = (): number => Object.keys(this.#hints.condemned).length
    const nowMs = clock.nowMs()
    const isDue = Object.values(this.#hints.condemned).some((sinceMs) => nowMs - sinceMs >= graceMs)
    if (this.#isSwept && !isDue) return { deleted: 0, condemned: count(), clockDoubted: false }
    const immutability = new Immutability({ store: target, log: this.#log, clock, cacheFolder: this.#folder })
    const judged = immutability.isUsed ? await immutability.judge() : undefined
    if (judged?.plausible === false) return { deleted: 0, condemned: count(), clockDoubted: true }
    const passedMs = judged?.passedMs ?? nowMs
    const swept = await sweepMirror(target, this.#log, this.#hints.condemned, { nowMs: passedMs, graceMs })
    this.#isSwept = true
    await this.#save({ ...this.#hints, condemned: swept.condemned })
    return { deleted: swept.deleted, condemned: count(), clockDoubted: false }
  }

  async #save(hints: MirrorHints): Promise<void> {
    this.#hints = hints
    await saveHints(this.#folder, hints)
  }
}
