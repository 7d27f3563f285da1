/** Manifest nodes that one run reads or makes, kept so that a path is not fetched once for every leaf below it. */
import { toHex } from '#base'
import type { ChunkReader, ContentHash } from '#engine/repository'

/** Inner nodes have at most 8 KiB: 32 MiB. */
const NODES_MAX = 4096

export class NodeCache {
  readonly #reader: ChunkReader
  readonly #nodes = new Map<string, Uint8Array>()

  constructor(reader: ChunkReader) {
    this.#reader = reader
  }

  readonly read = async (content: ContentHash): Promise<Uint8Array> => {
    const key = toHex(content)
    const known = this.#nodes.get(key)
    if (known !== undefined) return known
    const bytes = await this.#reader.read(content)
    this.remember(content, bytes)
    return bytes
  }

  remember(content: ContentHash, bytes: Uint8Array): void {
    if (this.#nodes.size >= NODES_MAX) this.#nodes.clear()
    this.#nodes.set(toHex(content), bytes)
  }
}
