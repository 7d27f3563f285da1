/**
 * What delta nodes say of a version, laid over bytes of its tree.
 *
 * Payload chunks hold the extents of one cycle in the order of the disk, so that reading a disk in sequence meets each of
 * them once; a few are kept decoded. A random read costs the tree's chunk and a payload chunk for each cycle that wrote into
 * it. Payload that comes out was compared with the hash in its delta node.
 */
import { assert, MIB, toHex } from '#base'
import { type ContentHash, type DeltaExtent, type ExtentList } from '#engine/repository'

const PAYLOAD_CACHE_BYTES = 32 * MIB

/** Gives the plain bytes of a chunk. @throws chunk_missing, chunk_corrupt */
export type Decode = (content: ContentHash) => Promise<Uint8Array>

export class DeltaLayer {
  readonly #decode: Decode
  /** Decoded payload chunks, least recently used first. */
  readonly #payloads = new Map<string, Promise<Uint8Array>>()

  constructor(decode: Decode) {
    this.#decode = decode
  }

  /** Writes the pieces, which lie inside, into `bytes`, the disk from `offset` on. */
  async lay(pieces: ExtentList, offset: number, bytes: Uint8Array): Promise<void> {
    for (const piece of pieces) {
      const target = bytes.subarray(piece.offset - offset, piece.offset - offset + piece.length)
      assert(target.length === piece.length, 'A piece lies inside what it is laid over')
      if (piece.payload === undefined) target.fill(0)
      else target.set(await this.bytesOf(piece))
    }
  }

  /** The bytes of an extent that is not zeros. Shared: not to be written to. */
  async bytesOf({ payload, at, length }: DeltaExtent): Promise<Uint8Array> {
    assert(payload !== undefined, 'Zeros have no payload')
    return (await this.#payload(payload.content)).subarray(at, at + length)
  }

  #payload(content: ContentHash): Promise<Uint8Array> {
    const key = toHex(content)
    const plain = this.#payloads.get(key) ?? this.#decode(content)
    this.#payloads.delete(key)
    this.#payloads.set(key, plain)
    // Whoever waits for it hears of the failure; the next reader tries again.
    plain.then(
      ({ length }) => this.#evict(length),
      () => this.#payloads.delete(key),
    )
    return plain
  }

  /** Payload chunks of a disk are of about one size. */
  #evict(sizeBytes: number): void {
    for (const key of this.#payloads.keys()) {
      if (this.#payloads.size * sizeBytes <= PAYLOAD_CACHE_BYTES) break
      this.#payloads.delete(key)
    }
  }
}
