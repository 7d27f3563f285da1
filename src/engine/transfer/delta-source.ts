/**
 * A version with delta nodes as a block device: the source of its tree, with what the nodes say laid over what is read. Only
 * payload of the bytes asked for is decoded, in this thread. Lends nothing: what is served is put together for each read.
 */
import { appendExtent, type BlockSource, type Extent } from '#engine/block'
import { type ExtentList, piecesIn } from '#engine/repository'
import { type Decode, DeltaLayer } from './delta-layer.ts'

export class DeltaSource implements BlockSource {
  readonly sizeBytes: number
  readonly parallelism: number
  readonly #tree: BlockSource
  readonly #extents: ExtentList
  readonly #layer: DeltaLayer

  constructor(tree: BlockSource, extents: ExtentList, decode: Decode) {
    this.sizeBytes = tree.sizeBytes
    this.parallelism = tree.parallelism
    this.#tree = tree
    this.#extents = extents
    this.#layer = new DeltaLayer(decode)
  }

  async read(offset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#tree.read(offset, into, signal)
    await this.#layer.lay(piecesIn(this.#extents, offset, offset + into.length), offset, into)
  }

  /** What the tree has is data, zeroed or not; its holes are cut where data lies over them. */
  async extents(offset: number, length: number): Promise<Extent[]> {
    const extents: Extent[] = []
    for (const extent of await this.#tree.extents(offset, length)) {
      const end = extent.offset + extent.length
      let at = extent.offset
      for (const piece of extent.kind === 'data' ? [] : piecesIn(this.#extents, at, end)) {
        if (piece.payload === undefined) continue
        appendExtent(extents, { offset: at, length: piece.offset - at, kind: extent.kind })
        appendExtent(extents, { offset: piece.offset, length: piece.length, kind: 'data' })
        at = piece.offset + piece.length
      }
      appendExtent(extents, { offset: at, length: end - at, kind: extent.kind })
    }
    return extents
  }

  close(): Promise<void> {
    return this.#tree.close()
  }
}
