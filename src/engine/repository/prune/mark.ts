/**
 * Marking: what the live points need, chunk by chunk. Any chunk that cannot be read or found ends it with an error: a
 * listing error or a missing object never leads to a deletion.
 */
import type { ChunkId, ContentHash } from '../crypto.ts'
import type { ChunkReader } from '../chunk-reader.ts'
import type { IndexReader } from '../index/chunk-index.ts'
import type { Repository } from '../repository.ts'
import { SharedIdSet } from '../index/shared-id-set.ts'
import { nodeRef, readNode } from '../manifest/tree.ts'
import { deltaContent, isDelta, readDeltaNode } from '../manifest/version.ts'
import type { DeltaRoot } from '../point.ts'
import { RepositoryError } from '../errors.ts'
import { toHex } from '#base'

export type Marks = Readonly<{
  /** Sealed bytes needed, by pack ordinal. Packs that are not named here are needed by nobody. */
  neededBytes: ReadonlyMap<number, number>
  /** Whether a chunk is needed, and from which pack: of several copies one is needed. */
  isNeeded: (id: ChunkId, pack: number) => boolean
  /** By pack: the packs whose copies are needed of chunks that it holds as well. Whoever needs it then needs those. */
  copiesIn: ReadonlyMap<number, ReadonlySet<number>>
  chunks: number
}>

/** Walks every manifest of every live point. @throws chunk_missing, and what reading nodes raises */
export async function mark(repository: Repository, signal?: AbortSignal): Promise<Marks> {
  // The points first: the index is then at least as new, also when other sessions of this process move the log on.
  const points = repository.points()
  const reader = await repository.chunkReader()
  const index = await repository.index()
  const marker = new Marker(repository, SharedIdSet.exactFor(index.size + 1024), reader, index.reader)
  for (const point of points) {
    signal?.throwIfAborted()
    for (const disk of point.disks) {
      const root = isDelta(disk.root) ? await marker.chain(disk.root) : nodeRef(disk.root)
      if (root !== undefined) await marker.node(root.content, root.level)
    }
    for (const { chunks } of point.attachments) {
      for (const chunk of chunks) marker.chunk(Buffer.from(chunk, 'hex') as Uint8Array as ContentHash)
    }
  }
  return marker.marks()
}

class Marker {
  readonly #repository: Repository
  readonly #seen: SharedIdSet
  readonly #reader: ChunkReader
  readonly #index: IndexReader
  readonly #neededBytes = new Map<number, number>()
  readonly #copiesIn = new Map<number, Set<number>>()
  #chunks = 0

  constructor(repository: Repository, seen: SharedIdSet, reader: ChunkReader, index: IndexReader) {
    this.#repository = repository
    this.#seen = seen
    this.#reader = reader
    this.#index = index
  }

  /** Marks a chain of delta nodes and their payload; gives the tree below them. */
  async chain(root: DeltaRoot): Promise<ReturnType<typeof nodeRef>> {
    const read = (wanted: ContentHash): Promise<Uint8Array> => this.#reader.read(wanted)
    const content = deltaContent(root)
    const top = await readDeltaNode(read, content)
    for (const one of [...top.below, content]) {
      if (!this.chunk(one)) continue
      const { payloads } = one === content ? top : await readDeltaNode(read, one)
      for (const payload of payloads) this.chunk(payload.content)
    }
    return nodeRef(top.base)
  }

  async node(content: ContentHash, level: number): Promise<void> {
    if (!this.chunk(content)) return
    const { slots } = await readNode((wanted) => this.#reader.read(wanted), { content, level })
    for (const slot of slots) {
      if (slot === undefined) continue
      if (level === 0) this.chunk(slot)
      else await this.node(slot, level - 1)
    }
  }

  /** Marks one chunk; false when it was marked before. */
  chunk(content: ContentHash): boolean {
    const id = this.#repository.keys.chunkId(content)
    if (!this.#seen.claim(id)) return false
    const [at, ...others] = this.#index.locate(id)
    if (at === undefined) {
      throw new RepositoryError(
        'chunk_missing',
        'A chunk that a live point needs is in no pack, so nothing is pruned.',
        {
          facts: { chunk: toHex(id) },
          hint: 'Run "holdfast repo verify" to see which points it touches, then repair or forget them.',
        },
      )
    }
    this.#neededBytes.set(at.pack, (this.#neededBytes.get(at.pack) ?? 0) + at.sealedBytes)
    for (const { pack } of others)
      if (pack !== at.pack) this.#copiesIn.set(pack, (this.#copiesIn.get(pack) ?? new Set()).add(at.pack))
    this.#chunks += 1
    return true
  }

  marks(): Marks {
    const isNeeded = (id: ChunkId, pack: number): boolean =>
      this.#seen.has(id) && this.#index.locate(id)[0]?.pack === pack
    return { neededBytes: this.#neededBytes, isNeeded, copiesIn: this.#copiesIn, chunks: this.#chunks }
  }
}
