/**
 * A repository keeps disk versions: content-addressed, sealed with one key, in packs that are named by one commit log.
 *
 * Promises
 *   1. What `Session.commit` has committed survives any crash and is given back exactly, or its damage is named.
 *   2. Writes go packs first (durable), then the log entry that names them. A crash between leaves garbage, never a
 *      reference to something that is not there (docs/format/ordering.md).
 *   3. Nothing is deleted but by prune, and by it only what the log has given up (see prune/).
 *   4. Any number of readers, writers and one or more prunes may run at once, on any machines:
 *
 *      starting \ running   backup                     restore, verify           prune
 *      backup               pins; create-once numbers  nothing shared            pin keeps live packs; commit check finds deleted ones
 *      restore, verify      sees the log as it opened  nothing shared            pin keeps live packs; another copy or a clear error without
 *      prune                waits for pins to delete   waits for pins to delete  deletions take a log number: each pack goes once
 *      forget               tombstones a point only    point's packs stay pinned next prune sees it
 *   5. The mirror of a repository (mirror/) is read and never written to by any of this.
 *   6. A point that is locked (immutability/) is neither given up nor loses a pack before its lock has ended, by the time
 *      that the log has observed.
 *
 * It knows chunks and points; it knows nothing of images, hypervisors or policies.
 */
import { join } from 'node:path'
import { type Clock, isHoldfastError, must, type Random, toHex } from '#base'
import type { BlobStore } from './blob-store.ts'
import { ChunkReader } from './chunk-reader.ts'
import {
  CONFIG_KEY,
  encodeConfig,
  FORMAT_VERSION,
  readConfig,
  refuseHeadless,
  type RepositoryConfig,
} from './config.ts'
import { KEY_BYTES, KeyRing } from './crypto.ts'
import { RepositoryError } from './errors.ts'
import { ChunkIndex, IndexReader, type SharedIndex } from './index/chunk-index.ts'
import { Immutability, refuseLocked } from './immutability/immutability.ts'
import { addKeySlot, type Credential, type KdfCost, openMaster } from './key-slots.ts'
import { type CheckpointOptions, CommitLog, type LogParts } from './log/log.ts'
import { finishIncoming } from './mirror/incoming.ts'
import { isMirrorError, readMirrorMark } from './mirror/mirror-mark.ts'
import type { PointId, PointRecord } from './point.ts'
import { assertProven } from './proven-checkpoint.ts'
import { recallHead, rememberHead, rollbackOf } from './remembered-head.ts'
import { Session } from './session.ts'
import { withReserve } from './with-reserve.ts'
import { readWholeLog, type WholeLog } from './verify/whole-log.ts'

export type RepositoryEnvironment = Readonly<{
  clock: Clock
  random: Random
  /** Where indexes are cached: one sub-folder a repository is made in it. */
  cacheFolder: string
  /** Who writes, for the record: program and version. */
  writer: string
  /** For tests: how often checkpoints are written. */
  checkpoints?: CheckpointOptions
}>

export type InitOptions = Readonly<{
  credential: Credential
  chunkSizeBytes: number
  kdfCost?: KdfCost
  label?: string
  /** What a folder store is to hold in reserve for prune, in bytes; nothing when absent. */
  reserveBytes?: number
}>

/** Where nothing can be written reading goes on, without a pin. */
const READ_ON_AFTER = [
  'store_read_only',
  'store_full',
  'log_rolled_back',
  'log_damaged',
  'repository_is_mirror',
] as const

/** What a worker thread needs to read and write chunks by itself. */
export type ThreadAccess = Readonly<{ master: Uint8Array; repositoryId: Uint8Array; index: SharedIndex }>

export class Repository {
  readonly store: BlobStore
  readonly config: RepositoryConfig
  readonly keys: KeyRing
  readonly log: CommitLog
  readonly immutability: Immutability
  /** The id of the key slot that the credential opened. */
  readonly openedBy: string
  readonly #environment: RepositoryEnvironment
  readonly #cache: string
  /** Set when the log went back behind what this user has seen: reading goes on, writing is refused. */
  readonly rollback: RepositoryError | undefined
  /** Whether this is another repository's mirror: it is read, and writing is refused. */
  readonly isMirror: boolean
  #index: Promise<ChunkIndex> | undefined

  private constructor(
    store: BlobStore,
    config: RepositoryConfig,
    keys: KeyRing,
    log: CommitLog,
    environment: RepositoryEnvironment,
    rollback: RepositoryError | undefined,
    openedBy: string,
    isMirror: boolean,
  ) {
    this.store = store
    this.config = config
    this.keys = keys
    this.log = log
    this.#environment = environment
    this.#cache = cacheOf(environment, config, isMirror)
    this.rollback = rollback
    this.isMirror = isMirror
    this.openedBy = openedBy
    this.immutability = new Immutability({ store, log, clock: environment.clock, cacheFolder: this.#cache })
  }

  /**
   * Makes a repository in a store that holds none.
   * @throws repository_exists, repository_is_mirror, repository_damaged where one has lost its configuration, and what the store throws
   */
  static async init(
    store: BlobStore,
    options: InitOptions,
    environment: RepositoryEnvironment,
  ): Promise<RepositoryConfig> {
    const { clock, random, writer } = environment
    const repositoryId = random.bytes(16)
    const nowIso = isoOf(clock.nowMs())
    const config: RepositoryConfig = {
      format: 'holdfast-repository',
      version: FORMAT_VERSION,
      id: toHex(repositoryId),
      createdAt: nowIso,
      chunkSizeBytes: options.chunkSizeBytes,
      ...(store.reserve === undefined || !options.reserveBytes ? {} : { reserveBytes: options.reserveBytes }),
      requires: [],
      compatible: [],
      writer,
    }
    if ((await store.head(CONFIG_KEY)) !== undefined) throw exists(store)
    if ((await readMirrorMark(store)) !== undefined) throw isMirrorError(store.location)
    await refuseHeadless(store)
    // The key slot comes first: a crash after it leaves a slot for a repository that is not there, which init may pass over.
    const slot = {
      repositoryId: config.id,
      credential: options.credential,
      label: options.label ?? 'first',
      nowIso,
      random,
    }
    await addKeySlot(
      store,
      random.bytes(KEY_BYTES),
      options.kdfCost === undefined ? slot : { ...slot, cost: options.kdfCost },
    )
    if ((await store.put(CONFIG_KEY, [encodeConfig(config)])) === 'exists') throw exists(store)
    if (config.reserveBytes !== undefined) await store.reserve?.make(config.reserveBytes)
    return config
  }

  /**
   * Opens a repository and reads its log.
   * @throws repository_not_found, repository_damaged, repository_too_new, key_wrong, and what the store throws
   */
  static async open(store: BlobStore, credential: Credential, environment: RepositoryEnvironment): Promise<Repository> {
    const config = await readConfig(store)
    const opened = await openMaster(store, config.id, credential)
    return Repository.#withMaster(store, config, opened, environment)
  }

  static async #withMaster(
    store: BlobStore,
    config: RepositoryConfig,
    { master, slotId }: Readonly<{ master: Uint8Array; slotId: string }>,
    environment: RepositoryEnvironment,
  ): Promise<Repository> {
    const keys = new KeyRing(master, Buffer.from(config.id, 'hex'))
    const isMirror = (await readMirrorMark(store)) !== undefined
    if (isMirror) await finishIncoming(store)
    const parts = logPartsOf(store, config, keys, environment)
    const log = await CommitLog.open(isMirror ? { ...parts, refusal: isMirrorError(store.location) } : parts)
    const cache = cacheOf(environment, config, isMirror)
    const rollback = await rollbackOf(log, await recallHead(cache), cache)
    const repository = new Repository(store, config, keys, log, environment, rollback, slotId, isMirror)
    await repository.#remember()
    return repository
  }

  /** Reads the log entry by entry, whatever checkpoints there are; compares them. For verify and repair. */
  readWholeLog(): Promise<WholeLog> {
    return readWholeLog(logPartsOf(this.store, this.config, this.keys, this.#environment))
  }

  /** For prune: the log as this repository knows it rests on entries that were all read. @throws log_damaged */
  async assertProven(): Promise<void> {
    this.#assertWritable()
    await assertProven(this.log, logPartsOf(this.store, this.config, this.keys, this.#environment), this.#cache)
  }

  /** Live points, oldest first. */
  points(): PointRecord[] {
    return this.log.points()
  }

  /**
   * A point by id, unique prefix of at least 4 digits, or "latest" (of `machine`, if given).
   * @throws point_not_found, point_ambiguous
   */
  findPoint(selector: string, machine?: string): PointRecord {
    const points = this.points().filter((point) => machine === undefined || point.machine === machine)
    const matches =
      selector === 'latest'
        ? points.slice(-1)
        : points.filter((point) => point.id.startsWith(selector) && selector.length >= 4)
    if (matches.length === 1) return must(matches[0], 'Just counted')
    const facts = { selector, machine, matches: matches.map((point) => point.id) }
    if (matches.length > 1)
      throw new RepositoryError('point_ambiguous', `"${selector}" begins the ids of ${matches.length} points.`, {
        facts,
        hint: 'Give more digits.',
      })
    throw new RepositoryError(
      'point_not_found',
      selector === 'latest' ? 'The repository holds no point yet.' : `There is no point "${selector}".`,
      {
        facts,
        hint: 'See the points with "holdfast repo list"; give an id, at least 4 digits of one, or "latest".',
      },
    )
  }

  /** The index of chunks, caught up with what this process has read of the log. */
  async index(): Promise<ChunkIndex> {
    this.#index ??= ChunkIndex.open(join(this.#cache, 'index'), this.store, this.keys, this.log)
    const index = await this.#index
    await index.refresh()
    return index
  }

  async chunkReader(): Promise<ChunkReader> {
    return new ChunkReader(this.store, this.keys, (await this.index()).reader)
  }

  async threadAccess(): Promise<ThreadAccess> {
    return { master: this.keys.master, repositoryId: this.keys.repositoryId, index: (await this.index()).share() }
  }

  /** Begins a stay: pins what is live. @throws log_rolled_back, log_damaged, store_read_only */
  async beginSession(purpose: string): Promise<Session> {
    this.#assertWritable()
    const { clock, writer } = this.#environment
    return Session.begin({ log: this.log, clock, holder: writer, purpose, locks: this.immutability.locks })
  }

  /** As beginSession, for readers: undefined where the store cannot be written, since reading must still be possible. */
  async beginReading(purpose: string): Promise<Session | undefined> {
    try {
      return await this.beginSession(purpose)
    } catch (error) {
      if (isHoldfastError(error, ...READ_ON_AFTER)) return undefined
      throw error
    }
  }

  /**
   * Gives points up, all of them or none. Their packs stay until prune finds that nothing else needs them.
   * @throws point_locked
   */
  async forget(ids: readonly PointId[]): Promise<void> {
    this.#assertWritable()
    const wanted = new Set(ids)
    await this.log.refresh()
    const judged = await this.immutability.judge()
    await this.withReserve(() =>
      this.log.append((state) => {
        const forgotten = [...wanted].filter((id) => state.points.has(id))
        refuseLocked(state, forgotten, judged)
        return { fields: { forgotten } }
      }),
    )
    await this.#remember()
  }

  /**
   * Drops pins of stays that are over, by the word of somebody who knows: a host whose clock was far ahead may have left one
   * that would hold prune back for as long. A stay that goes on all the same loses nothing: see Session.
   */
  async dropPins(numbers: readonly number[]): Promise<void> {
    this.#assertWritable()
    await this.log.append(() => ({ fields: { unpin: numbers } }))
  }

  /** Does what frees space also on a full store. @see withReserve */
  withReserve<T>(work: (scarceBytes?: number) => Promise<T>): Promise<T> {
    return withReserve(this.store, this.config.reserveBytes ?? 0, work)
  }

  /** Remembers how far the log has come, so that a later roll-back is noticed. */
  async close(): Promise<void> {
    await this.#remember()
    if (this.#index !== undefined) (await this.#index).close()
    await this.store.close()
  }

  #assertWritable(): void {
    if (this.rollback !== undefined) throw this.rollback
    this.log.assertWritable()
  }

  async #remember(): Promise<void> {
    const { head, headHash } = this.log.state
    if (this.rollback !== undefined || head === 0 || headHash === '') return
    // Another process of this user may have seen more meanwhile; what was seen is never forgotten.
    const seen = await recallHead(this.#cache)
    if (seen === undefined || seen.number <= head) await rememberHead(this.#cache, { number: head, hash: headHash })
  }
}

function logPartsOf(
  store: BlobStore,
  config: RepositoryConfig,
  keys: KeyRing,
  { clock, random, writer, checkpoints }: RepositoryEnvironment,
): LogParts {
  const parts = { store, keys, repositoryId: config.id, clock, random, writer }
  return checkpoints === undefined ? parts : { ...parts, checkpoints }
}

/** A mirror may be behind, so it has a memory of its own: what was seen of the repository is not looked for in it. */
function cacheOf({ cacheFolder }: RepositoryEnvironment, { id }: RepositoryConfig, isMirror: boolean): string {
  return join(cacheFolder, isMirror ? `${id}-mirror` : id)
}

function exists(store: BlobStore): RepositoryError {
  return new RepositoryError('repository_exists', `There is a Holdfast repository at ${store.location} already.`, {
    facts: { location: store.location },
    hint: 'Use it, or choose another location. Nothing was changed.',
  })
}

/** ISO 8601 in UTC of a Unix time in milliseconds. */
export function isoOf(unixMs: number): string {
  return new globalThis.Date(unixMs).toISOString()
}

/** Reads chunks in another thread. */
export function threadReader(
  store: BlobStore,
  access: ThreadAccess,
): { reader: ChunkReader; index: IndexReader; keys: KeyRing } {
  const keys = new KeyRing(access.master, access.repositoryId)
  const index = new IndexReader(access.index)
  return { reader: new ChunkReader(store, keys, index), index, keys }
}
