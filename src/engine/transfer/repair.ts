/**
 * Mending a repository. First from a mirror (another store of the same repository), object by object. What then is still
 * hurt is given up as packs and saved as chunks: the good chunks of a hurt pack move to a new one, the bad ones are taken
 * from another repository that has the same content, if one is given. The hurt packs then leave the log.
 *
 *   step                     a crash right after it leaves
 *   1 objects put back       a better repository
 *   2 new packs              packs that nobody names; prune removes them
 *   3 one entry              the new packs named, the hurt ones deleted in the log
 *   4 objects deleted        nothing
 *
 * Points whose chunks nobody had any more stay listed: they restore up to the first chunk that is lost, verify names them,
 * and a later backup that scans the same machine brings the content back for all of them.
 */
import { isHoldfastError, type ProgressSink, type Random, toHex } from '#base'
import {
  type BlobStore,
  ChunkReader,
  ChunkWriter,
  type ContentHash,
  IndexReader,
  PackDirectory,
  type PackInjury,
  packKeyOf,
  type PointId,
  type Repository,
  repairPack,
  salvageChunks,
  SharedIdSet,
  type StoreDescriptor,
  walkContents,
} from '#engine/repository'
import { checkPacks } from './verify.ts'

export type RepairOptions = Readonly<{
  store: StoreDescriptor | BlobStore
  random: Random
  mirror?: BlobStore
  /** Another repository with the same content, with a key of its own. */
  source?: Repository
  threads?: number
  progress?: ProgressSink
  signal?: AbortSignal
}>

export type RepairReport = Readonly<{
  hurtPacks: number
  packsFromMirror: number
  chunksSaved: number
  chunksFromSource: number
  chunksLost: number
}>

/** @throws what the stores raise; nothing hurt is removed before what could be saved of it is durable */
export async function repairPacks(repository: Repository, options: RepairOptions): Promise<RepairReport> {
  const { injuries } = await checkPacks(repository.log, repository.keys, options)
  let packsFromMirror = 0
  for (const ordinal of injuries.keys()) {
    const pack = repository.log.state.packs[ordinal]
    if (
      pack === undefined ||
      options.mirror === undefined ||
      !(await repairPack(repository.store, options.mirror, pack))
    )
      continue
    injuries.delete(ordinal)
    packsFromMirror += 1
  }
  if (packsFromMirror > 0) await (await repository.index()).rebuild()
  if (injuries.size === 0) await (await repository.index()).suspect([])
  const none = { chunksSaved: 0, chunksFromSource: 0, chunksLost: 0 }
  const saved = injuries.size === 0 ? none : await new Rescue(repository, injuries, options).run()
  return { hurtPacks: injuries.size + packsFromMirror, packsFromMirror, ...saved }
}

class Rescue {
  readonly #repository: Repository
  readonly #injuries: ReadonlyMap<number, PackInjury>
  readonly #options: RepairOptions
  #chunksSaved = 0
  #chunksFromSource = 0
  #chunksLost = 0

  constructor(repository: Repository, injuries: ReadonlyMap<number, PackInjury>, options: RepairOptions) {
    this.#repository = repository
    this.#injuries = injuries
    this.#options = options
  }

  async run(): Promise<{ chunksSaved: number; chunksFromSource: number; chunksLost: number }> {
    const repository = this.#repository
    const session = await repository.beginSession('repair')
    try {
      const index = await this.#healthyIndex()
      const claims = SharedIdSet.exactFor((await repository.index()).size + 1024)
      const { store, keys } = repository
      const writer = new ChunkWriter({
        store,
        keys,
        index,
        claims,
        random: this.#options.random,
        session: session.number,
      })
      await this.#saveGoodChunks(writer)
      await this.#fetchBadChunks(writer, index, claims)
      const { packs, reliesOn } = await writer.flush()
      const hurt = [...this.#injuries.keys()]
      const names = hurt.map((ordinal) => repository.log.state.packs[ordinal]?.name ?? '')
      const relied = reliesOn.flatMap((ordinal) => repository.log.state.packs[ordinal] ?? [])
      await repository.immutability.locks.lockMoved(hurt, [...packs, ...relied])
      await repository.log.replacePacks(hurt, { packs, reliesOn }, (state) => session.isRemembered(state))
      for (const name of names) {
        await store.delete(packKeyOf(name)).catch((error: unknown) => {
          if (!isHoldfastError(error, 'blob_locked')) throw error // it stays as a leftover until its lock has ended
        })
      }
    } finally {
      await session.end()
    }
    const index = await repository.index()
    await index.suspect([])
    await index.rebuild()
    return { chunksSaved: this.#chunksSaved, chunksFromSource: this.#chunksFromSource, chunksLost: this.#chunksLost }
  }

  async #healthyIndex(): Promise<IndexReader> {
    const shared = (await this.#repository.index()).share()
    const packs = new PackDirectory(shared.packs).without(this.#injuries.keys())
    return new IndexReader({ ...shared, packs: packs.buffer })
  }

  async #saveGoodChunks(writer: ChunkWriter): Promise<void> {
    for (const [ordinal, injury] of this.#injuries) {
      const pack = this.#repository.log.state.packs[ordinal]
      if (injury === 'all' || pack === undefined) continue
      for await (const { id, stored } of salvageChunks(this.#repository.store, this.#repository.keys, pack)) {
        if (injury.has(toHex(id))) continue
        await writer.putStoredAs(id, stored)
        this.#chunksSaved += 1
      }
    }
  }

  /** Walks what the points need, with whatever nodes are left, and asks the source for what is nowhere. */
  async #fetchBadChunks(writer: ChunkWriter, index: IndexReader, claims: SharedIdSet): Promise<void> {
    const { keys, store } = this.#repository
    const own = new ChunkReader(store, keys, (await this.#repository.index()).reader)
    const theirs = await this.#options.source?.chunkReader()
    const read = async (content: ContentHash): Promise<Uint8Array> =>
      theirs === undefined ? own.read(content) : theirs.read(content).catch(() => own.read(content))
    const isHere = (content: ContentHash): boolean =>
      index.storedIn(keys.chunkId(content)) !== undefined || claims.has(keys.chunkId(content))
    for (const point of this.#repository.points()) {
      const isOutside = this.#outsideOf(point.id, index)
      for await (const group of walkContents(read, [point], 'skip unreadable nodes')) {
        // Copies in other packs than the point's own join its closure, in the place of those that were in the hurt ones.
        for (const content of group.filter(isOutside)) writer.relyOn(content)
        for (const content of group.filter((one) => !isHere(one))) {
          const found = theirs === undefined ? false : await this.#fetchOne(theirs, writer, content)
          if (found) this.#chunksFromSource += 1
          else this.#chunksLost += 1
        }
      }
    }
  }

  /** Says of a chunk whether its sound copies lie in packs that the closure of a point with hurt packs does not hold. */
  #outsideOf(id: PointId, index: IndexReader): (content: ContentHash) => boolean {
    const { log, keys } = this.#repository
    const header = log.state.points.get(id)?.header
    const closure = header === undefined ? new Set<number>() : log.state.closureOf(header)
    if (closure.isDisjointFrom(new Set(this.#injuries.keys()))) return () => false
    return (content) => !index.locate(keys.chunkId(content)).some(({ pack }) => closure.has(pack))
  }

  async #fetchOne(theirs: ChunkReader, writer: ChunkWriter, content: ContentHash): Promise<boolean> {
    try {
      await theirs.readManyStored([{ content, tag: content }], (stored) => writer.putStored(content, stored))
      return true
    } catch (error) {
      if (isHoldfastError(error, 'chunk_missing', 'chunk_corrupt', 'pack_missing', 'pack_corrupt')) return false
      throw error
    }
  }
}
