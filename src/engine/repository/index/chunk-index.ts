/**
 * Where chunks lie: a cache of the packs' own tables, rebuildable from them at any time and never the only copy.
 *
 * Promises
 *   1. A location it gives was in the table of a pack that the log named. Whether the bytes are still good is found by
 *      their seal; a pack that the log has deleted is never given.
 *   2. For the question "is this chunk already stored?" only packs count that are live: not doomed, not deleted.
 *      Nor does a pack count that a check found hurt (`suspect`), so that a backup stores its content again. A list of
 *      these, `suspects.json`, lies beside the cache and outlives it: no table tells.
 *   3. It never grows with what it does not know: unknown ids cost the filters (1.5 bytes a chunk) and no read.
 *
 * On disk, in the user's cache folder: `index.json` names the runs and how far in the log they reach; it is replaced
 * whole. It is thrown away and built anew when it belongs to another repository, reaches further than the log, ends at an
 * entry with another hash (a store put back from an old copy), or is damaged. A crash leaves runs that nothing names;
 * the next open removes them.
 */
import { readdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, isHoldfastError, toHex } from '#base'
import { makeFolderDurable, replaceFile, systemRandom } from '#runtime'
import type { BlobStore } from '../blob-store.ts'
import { type ChunkId, HASH_BYTES, type KeyRing } from '../crypto.ts'
import { parseObject, toJsonBytes } from '../json.ts'
import type { CommitLog } from '../log/log.ts'
import { readPackTable } from '../pack-reader.ts'
import { PackDirectory } from './pack-directory.ts'
import {
  type ChunkLocation,
  ENTRY_BYTES,
  indexDamaged,
  openRun,
  RunReader,
  type SharedRun,
  writeIndexEntry,
  writeRun,
} from './run-file.ts'

/** What a thread needs to look chunks up; structured-clone safe within this process. */
export type SharedIndex = Readonly<{ runs: readonly SharedRun[]; packs: SharedArrayBuffer }>

/** Lookups alone, in any thread. */
export class IndexReader {
  readonly packs: PackDirectory
  readonly #runs: readonly RunReader[]

  constructor(shared: SharedIndex) {
    this.packs = new PackDirectory(shared.packs)
    this.#runs = shared.runs.map((run) => new RunReader(run))
  }

  /** The pack ordinal of a live copy; undefined when the chunk must be stored. */
  storedIn(id: ChunkId): number | undefined {
    return this.#find(id).find(({ pack }) => this.packs.status(pack) === 'live')?.pack
  }

  /** Every copy that may still be read, live ones first. */
  locate(id: ChunkId): ChunkLocation[] {
    const readable = this.#find(id).filter(({ pack }) => this.packs.status(pack) !== 'deleted')
    return readable.sort(
      (a, b) => Number(this.packs.status(a.pack) === 'doomed') - Number(this.packs.status(b.pack) === 'doomed'),
    )
  }

  #find(id: ChunkId): ChunkLocation[] {
    return this.#runs.flatMap((run) => run.find(id))
  }
}

const SUSPECTS_FILE = 'suspects.json'

/** A list that cannot be read is none: the next check writes it anew. */
async function recallSuspects(folder: string): Promise<ReadonlySet<string>> {
  const bytes = await readFile(join(folder, SUSPECTS_FILE)).catch(() => undefined) // absent: nothing was found hurt
  const packs = bytes === undefined ? undefined : parseObject(bytes)?.['packs']
  return new Set(Array.isArray(packs) ? packs.filter((name) => typeof name === 'string') : [])
}

type OpenRun = Readonly<{ file: string; reader: RunReader }>

type CacheState = {
  format: 'holdfast-index-cache'
  repository: string
  packs: number
  head: number
  headHash: string
  runs: { file: string; count: number }[]
}

/** The saved state of the cache; undefined when the bytes are none, whatever else they are. */
function decodeCacheState(bytes: Uint8Array): CacheState | undefined {
  const state = parseObject(bytes) as Partial<CacheState> | undefined
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
  const isRun = (run: Partial<CacheState['runs'][number]> | null): boolean =>
    typeof run?.file === 'string' && RUN_FILE.test(run.file) && isCount(run.count)
  const wellFormed =
    state?.format === 'holdfast-index-cache' &&
    isCount(state.packs) &&
    isCount(state.head) &&
    Array.isArray(state.runs) &&
    state.runs.every(isRun)
  return wellFormed ? (state as CacheState) : undefined
}

const RUN_FILE = /^run-[0-9a-f]{16}\.idx$/

/** Entries collected in memory before they are written as a run: 24 MiB. */
const BATCH_ENTRIES_MAX = 512 * 1024
/** Tables read at once while catching up; each is one ranged read of a few KiB. */
const TABLE_READS_MAX = 8

export class ChunkIndex {
  readonly #folder: string
  readonly #store: BlobStore
  readonly #keys: KeyRing
  readonly #log: CommitLog
  readonly #runs: OpenRun[] = []
  /** Runs that were merged into others. Readers and threads may still look into them, so they stay open until the end. */
  readonly #retired: OpenRun[] = []
  /** Packs whose tables could not be read. While there are any the cache is not saved, so that the next open tries again. */
  readonly unreadable = new Set<string>()
  #suspects: ReadonlySet<string>
  #packsIndexed = 0
  #refreshing: Promise<void> = Promise.resolve()
  #reader: IndexReader | undefined

  private constructor(folder: string, store: BlobStore, keys: KeyRing, log: CommitLog, suspects: ReadonlySet<string>) {
    this.#folder = folder
    this.#suspects = suspects
    this.#store = store
    this.#keys = keys
    this.#log = log
  }

  /** Opens the cache in `folder`, or begins it anew. `refresh` then catches up with the log. */
  static async open(folder: string, store: BlobStore, keys: KeyRing, log: CommitLog): Promise<ChunkIndex> {
    await makeFolderDurable(folder)
    const index = new ChunkIndex(folder, store, keys, log, await recallSuspects(folder))
    if (!(await index.#load())) await index.#discard()
    return index
  }

  /** Takes in the packs that the log has named since. Calls queue. */
  refresh(): Promise<void> {
    const before = this.#refreshing.catch(() => {
      // Raised to whoever asked then; this call tries again.
    })
    this.#refreshing = before.then(() => this.#catchUp())
    return this.#refreshing
  }

  async #catchUp(): Promise<void> {
    // The log goes on while tables are read (other sessions of this process): what it named until now is what is taken in.
    const { head, headHash } = this.#log.state
    const packs = this.#log.state.packs.length
    const fresh = this.#log.state.packs.slice(this.#packsIndexed, packs).filter((pack) => pack.status !== 'deleted')
    let batch: Buffer[] = []
    for (let at = 0; at < fresh.length; at += TABLE_READS_MAX) {
      const group = fresh.slice(at, at + TABLE_READS_MAX)
      const tables = await Promise.all(group.map((pack) => this.#entriesOf(pack.ordinal, pack)))
      batch.push(...tables.flat())
      if (batch.length >= BATCH_ENTRIES_MAX) {
        await this.#addRun(batch)
        batch = []
      }
    }
    if (batch.length > 0) await this.#addRun(batch)
    if (this.#packsIndexed !== packs) {
      this.#packsIndexed = packs
      const replaced = await this.#compact()
      if (this.#maySave) await this.#save(head, headHash)
      for (const file of replaced) await this.#remove(file)
    }
    this.#reader = undefined
  }

  /** With entries of the log missing, ordinals are not what they are for others: such a state is never kept. */
  get #maySave(): boolean {
    return this.unreadable.size === 0 && this.#log.damage.length === 0
  }

  /** What threads look chunks up with, as of now. */
  share(): SharedIndex {
    return {
      runs: this.#runs.map(({ reader }) => reader.run),
      packs: PackDirectory.of(this.#log.state, this.#suspects).buffer,
    }
  }

  /** Says which packs the newest check found hurt, instead of those before. */
  async suspect(packNames: readonly string[]): Promise<void> {
    this.#suspects = new Set(packNames)
    this.#reader = undefined
    await replaceFile(join(this.#folder, SUSPECTS_FILE), [toJsonBytes({ packs: packNames })])
  }

  get reader(): IndexReader {
    this.#reader ??= new IndexReader(this.share())
    return this.#reader
  }

  /** Number of locations known. */
  get size(): number {
    return this.#runs.reduce((sum, { reader }) => sum + reader.run.count, 0)
  }

  close(): void {
    for (const { reader } of [...this.#runs, ...this.#retired.splice(0)]) reader.close()
    this.#runs.length = 0
  }

  /** Throws the cache away and reads every table again; the answer to any doubt about it. */
  async rebuild(): Promise<void> {
    await this.#discard()
    await this.refresh()
  }

  /** Packs that are missing or damaged are left out: their chunks are then missing, which verify names. */
  async #entriesOf(ordinal: number, ref: { name: string; lengthBytes: number }): Promise<Buffer[]> {
    const { chunks } = await readPackTable(this.#store, this.#keys, ref).catch((error: unknown) => {
      if (!isHoldfastError(error, 'pack_missing', 'pack_corrupt')) throw error
      this.unreadable.add(ref.name)
      return { chunks: [] }
    })
    return chunks.map((chunk) => {
      const entry = Buffer.alloc(ENTRY_BYTES)
      writeIndexEntry(entry, 0, chunk.id, { ...chunk, pack: ordinal })
      return entry
    })
  }

  async #addRun(entries: Buffer[]): Promise<void> {
    entries.sort((a, b) => a.compare(b, 0, HASH_BYTES, 0, HASH_BYTES))
    this.#runs.push(await this.#makeRun(Buffer.concat(entries)))
  }

  async #makeRun(sorted: Buffer): Promise<OpenRun> {
    const file = `run-${toHex(systemRandom.bytes(8))}.idx`
    const path = join(this.#folder, file)
    await writeRun(path, sorted)
    const run = openRun(path)
    if (run === undefined) throw indexDamaged(path)
    return { file, reader: new RunReader(run) }
  }

  /**
   * Keeps runs few: while the last is more than half as large as the one before it, the two become one. Gives the files
   * that are replaced, to be removed when the cache is saved without them.
   */
  async #compact(): Promise<string[]> {
    const replaced: string[] = []
    for (;;) {
      const [previous, last] = this.#runs.slice(-2)
      if (previous === undefined || last === undefined || last.reader.run.count * 2 <= previous.reader.run.count) break
      const merged = await this.#makeRun(this.#merged(previous.reader, last.reader))
      this.#runs.splice(-2, 2, merged)
      this.#retired.push(previous, last)
      replaced.push(previous.file, last.file)
    }
    return replaced
  }

  #merged(a: RunReader, b: RunReader): Buffer {
    const out = Buffer.allocUnsafe((a.run.count + b.run.count) * ENTRY_BYTES)
    const left = a.entries()
    const right = b.entries()
    let [l, r] = [left.next(), right.next()]
    let length = 0
    const take = (entry: Buffer): void => {
      if (this.#log.state.packs[entry.readUInt32LE(32)]?.status !== 'deleted') length += entry.copy(out, length)
    }
    while (l.done !== true || r.done !== true) {
      const leftFirst =
        r.done === true || (l.done !== true && l.value.compare(r.value, 0, HASH_BYTES, 0, HASH_BYTES) <= 0)
      if (leftFirst && l.done !== true) {
        take(l.value)
        l = left.next()
      } else if (r.done !== true) {
        take(r.value)
        r = right.next()
      }
    }
    return out.subarray(0, length)
  }

  async #save(head: number, headHash: string): Promise<void> {
    const runs = this.#runs.map(({ file, reader }) => ({ file, count: reader.run.count }))
    const repository = toHex(this.#keys.repositoryId)
    const state: CacheState = {
      format: 'holdfast-index-cache',
      repository,
      packs: this.#packsIndexed,
      head,
      headHash,
      runs,
    }
    await replaceFile(join(this.#folder, 'index.json'), [toJsonBytes(state)])
  }

  async #load(): Promise<boolean> {
    const bytes = await readFile(join(this.#folder, 'index.json')).catch(() => undefined) // absent: begin anew
    const state = bytes === undefined ? undefined : decodeCacheState(bytes)
    if (state === undefined || state.repository !== toHex(this.#keys.repositoryId)) return false
    if (this.#log.damage.length > 0 || state.packs > this.#log.state.packs.length) return false
    if (state.head > 0 && !(await this.#log.holds({ number: state.head, hash: state.headHash }))) return false
    for (const { file, count } of state.runs) {
      const run = openRun(join(this.#folder, file))
      if (run === undefined) return false
      this.#runs.push({ file, reader: new RunReader(run) })
      if (run.count !== count) return false
    }
    this.#packsIndexed = state.packs
    return true
  }

  async #discard(): Promise<void> {
    this.#retired.push(...this.#runs.splice(0))
    this.#packsIndexed = 0
    this.unreadable.clear()
    for (const file of await readdir(this.#folder)) {
      if (/^(run-.*\.idx|index\.json)$/.test(file)) await this.#remove(file)
    }
  }

  /** Another process may share the cache folder and have removed the file first. */
  async #remove(file: string): Promise<void> {
    await unlink(join(this.#folder, file)).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error
    })
  }
}
