/**
 * Which packs' damage a point feels: walks its manifests and asks of every chunk whether a good copy is left. Nodes that
 * versions share are judged once. Pure but for reading nodes.
 */
import { isHoldfastError } from '#base'
import type { ChunkId, ContentHash, KeyRing } from '../crypto.ts'
import type { IndexReader } from '../index/chunk-index.ts'
import { nodeRef, type ReadContent, readNode } from '../manifest/tree.ts'
import { deltaContent, isDelta, readDeltaNode } from '../manifest/version.ts'
import type { DeltaRoot, PointRecord } from '../point.ts'

/** What is wrong with a pack: nothing of it is readable, or these chunks (hex ids). */
export type PackInjury = 'all' | ReadonlySet<string>

/** Hurt packs by ordinal; -1 stands for chunks that are in no pack at all. */
export type Felt = ReadonlySet<number>
export const NO_PACK = -1
const NOTHING: Felt = new Set()

export class TreeCheck {
  readonly #keys: KeyRing
  readonly #index: IndexReader
  readonly #read: ReadContent
  readonly #injuries: ReadonlyMap<number, PackInjury>
  readonly #judged = new Map<string, Felt>()

  constructor(keys: KeyRing, index: IndexReader, read: ReadContent, injuries: ReadonlyMap<number, PackInjury>) {
    this.#keys = keys
    this.#index = index
    this.#read = read
    this.#injuries = injuries
  }

  /** The hurt packs that keep `point` from being restored whole. */
  async point(point: PointRecord): Promise<Felt> {
    const felt = new Set<number>()
    for (const disk of point.disks) {
      const root = isDelta(disk.root) ? await this.#chain(disk.root, felt) : nodeRef(disk.root)
      if (root !== undefined) addAll(felt, await this.#node(root.content, root.level))
    }
    for (const { chunks } of point.attachments) {
      for (const chunk of chunks) addAll(felt, this.#chunk(Buffer.from(chunk, 'hex') as Uint8Array as ContentHash))
    }
    return felt
  }

  /** Judges a chain of delta nodes with their payload; gives the tree below, unless the top of the chain is lost. */
  async #chain(root: DeltaRoot, felt: Set<number>): Promise<ReturnType<typeof nodeRef>> {
    const content = deltaContent(root)
    addAll(felt, await this.#delta(content))
    const top = await this.#readable(content, felt, () => readDeltaNode(this.#read, content))
    for (const one of top?.below ?? []) addAll(felt, await this.#delta(one))
    return nodeRef(top?.base ?? null)
  }

  /** One delta node and its payload, whatever lies below it. */
  async #delta(content: ContentHash): Promise<Felt> {
    const key = `delta:${Buffer.from(content).toString('base64')}`
    const known = this.#judged.get(key)
    if (known !== undefined) return known
    const felt = new Set(this.#chunk(content))
    const node =
      felt.size > 0 ? undefined : await this.#readable(content, felt, () => readDeltaNode(this.#read, content))
    for (const payload of node?.payloads ?? []) addAll(felt, this.#chunk(payload.content))
    this.#judged.set(key, felt)
    return felt
  }

  /** undefined, and where its copy lies is felt, when the node does not open. */
  async #readable<T>(content: ContentHash, felt: Set<number>, load: () => Promise<T>): Promise<T | undefined> {
    try {
      return await load()
    } catch (error) {
      if (!isHoldfastError(error, 'chunk_missing', 'chunk_corrupt', 'pack_missing', 'pack_corrupt')) throw error
      felt.add(this.#index.locate(this.#keys.chunkId(content))[0]?.pack ?? NO_PACK)
      return undefined
    }
  }

  async #node(content: ContentHash, level: number): Promise<Felt> {
    const key = `${level}:${Buffer.from(content).toString('base64')}`
    const known = this.#judged.get(key)
    if (known !== undefined) return known
    const felt = new Set(this.#chunk(content))
    if (felt.size === 0) await this.#children(content, level, felt)
    const result = felt.size === 0 ? NOTHING : felt
    this.#judged.set(key, result)
    return result
  }

  async #children(content: ContentHash, level: number, felt: Set<number>): Promise<void> {
    const node = await this.#readable(content, felt, () => readNode(this.#read, { content, level }))
    for (const slot of node?.slots ?? []) {
      if (slot !== undefined) addAll(felt, level === 0 ? this.#chunk(slot) : await this.#node(slot, level - 1))
    }
  }

  /** Empty when some copy of the chunk is good; else the packs in which it is not. */
  #chunk(content: ContentHash): Felt {
    const id = this.#keys.chunkId(content)
    const copies = this.#index.locate(id)
    if (copies.length === 0) return new Set([NO_PACK])
    const hurt = copies.filter(({ pack }) => this.#isHurt(pack, id))
    return hurt.length < copies.length ? NOTHING : new Set(hurt.map(({ pack }) => pack))
  }

  #isHurt(pack: number, id: ChunkId): boolean {
    const injury = this.#injuries.get(pack)
    return injury !== undefined && (injury === 'all' || injury.has(Buffer.from(id).toString('hex')))
  }
}

function addAll(into: Set<number>, felt: Felt): void {
  for (const pack of felt) into.add(pack)
}
