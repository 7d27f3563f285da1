/**
 * A delta node, as docs/format/manifest.md describes its bytes: what a disk version holds otherwise than the version below
 * it, in runs of whole sectors instead of chunks. So a version that differs by a few small writes costs these writes.
 *
 *   magic "HFD1" · base level 1 (255: no base) · nodes below 1 · zero 2 · payload chunks 4 · extents 4 · base root 32
 *   · SHA-256 of each delta node below 32, oldest first · per payload chunk: SHA-256 32, sectors 4 · extents (varints)
 *
 * A version is: the tree `base`, over it the extents of the nodes `below` in their order, over them the node's own. Payload
 * chunks (kind 2) hold the bytes of extents one after the other; a run of zeros has no payload. A node names everything
 * that its version needs, so that a reader fetches a whole chain at once and one hash stands for the version.
 *
 * An extent: gap to the end of the extent before it; length * 2 + 1 when it is zeros; else its place in all payload chunks
 * joined, less the place where the payload of the extent before it ended, zigzag. All in sectors, LEB128.
 */
import { assert, CHUNK_BYTES_MAX, fromHex, SECTOR_BYTES, toHex } from '#base'
import { type ContentHash, HASH_BYTES } from '../crypto.ts'
import type { TreeRoot } from '../point.ts'

/** Nodes of a chain, the newest included. A reader fetches so many to know what a version holds. */
export const DELTA_DEPTH_MAX = 16
const MAGIC = Buffer.from('HFD1')
const HEAD_BYTES = 48
const PAYLOAD_ENTRY_BYTES = HASH_BYTES + 4
const NO_BASE = 255
const EXTENT_BYTES_MAX = 24

export type PayloadChunk = Readonly<{ content: ContentHash; sizeBytes: number }>
/** Bytes of a disk that stand in a payload chunk at byte `at`, or are zeros (`payload` absent, `at` 0). */
export type DeltaExtent = Readonly<{
  offset: number
  length: number
  payload: PayloadChunk | undefined
  at: number
}>
export type DeltaNode = Readonly<{
  base: TreeRoot | null
  /** Delta nodes between the tree and this one, oldest first. */
  below: readonly ContentHash[]
  payloads: readonly PayloadChunk[]
  /** Ascending, not overlapping; each inside one payload chunk. */
  extents: readonly DeltaExtent[]
}>

class VarintWriter {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  put(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'A varint is a whole number')
    let rest = value
    while (rest >= 0x80) {
      this.#bytes[this.at++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#bytes[this.at++] = rest
  }
}

class VarintReader {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  /** undefined: the bytes ended, or the number is larger than any that stands in a node. */
  next(): number | undefined {
    let value = 0
    for (let factor = 1; factor <= 2 ** 49; factor *= 0x80) {
      const byte = this.#bytes[this.at++]
      if (byte === undefined) return undefined
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return Number.isSafeInteger(value) ? value : undefined
    }
    return undefined
  }
}

const zigzag = (value: number): number => (value < 0 ? -value * 2 - 1 : value * 2)
const unzigzag = (value: number): number => (value % 2 === 1 ? -(value + 1) / 2 : value / 2)

/** @throws AssertionFailed when the node is larger than a chunk may be: who makes nodes bounds their extents. */
export function encodeDeltaNode(node: DeltaNode): Uint8Array {
  const { base, below, payloads, extents } = node
  assert(below.length < DELTA_DEPTH_MAX, 'A chain has at most 16 nodes')
  const fixed = HEAD_BYTES + below.length * HASH_BYTES + payloads.length * PAYLOAD_ENTRY_BYTES
  const bytes = Buffer.alloc(fixed + extents.length * EXTENT_BYTES_MAX)
  MAGIC.copy(bytes)
  bytes.writeUInt8(base?.level ?? NO_BASE, 4)
  bytes.writeUInt8(below.length, 5)
  bytes.writeUInt32LE(payloads.length, 8)
  bytes.writeUInt32LE(extents.length, 12)
  if (base !== null) bytes.set(fromHex(base.hash), 16)
  below.forEach((content, i) => bytes.set(content, HEAD_BYTES + i * HASH_BYTES))
  const placeOf = new Map<string, number>()
  let place = 0
  payloads.forEach(({ content, sizeBytes }, i) => {
    const at = HEAD_BYTES + below.length * HASH_BYTES + i * PAYLOAD_ENTRY_BYTES
    bytes.set(content, at)
    bytes.writeUInt32LE(sizeBytes / SECTOR_BYTES, at + HASH_BYTES)
    placeOf.set(toHex(content), place)
    place += sizeBytes / SECTOR_BYTES
  })
  const writer = new VarintWriter(bytes, fixed)
  putExtents(writer, extents, placeOf)
  assert(writer.at <= CHUNK_BYTES_MAX, 'A delta node fits a chunk')
  return bytes.subarray(0, writer.at)
}

function putExtents(writer: VarintWriter, extents: readonly DeltaExtent[], placeOf: ReadonlyMap<string, number>): void {
  let [end, payloadEnd] = [0, 0]
  let known: { payload: PayloadChunk | undefined; place: number } = { payload: undefined, place: 0 }
  for (const { offset, length, payload, at } of extents) {
    const [first, sectors] = [offset / SECTOR_BYTES, length / SECTOR_BYTES]
    writer.put(first - end)
    writer.put(sectors * 2 + (payload === undefined ? 1 : 0))
    end = first + sectors
    if (payload === undefined) continue
    if (payload !== known.payload) {
      const place = placeOf.get(toHex(payload.content))
      assert(place !== undefined, 'The payload chunks of a node are listed in it')
      known = { payload, place }
    }
    const place = known.place + at / SECTOR_BYTES
    writer.put(zigzag(place - payloadEnd))
    payloadEnd = place + sectors
  }
}

/** undefined when the bytes are no delta node, or one that contradicts itself. */
export function decodeDeltaNode(bytes: Uint8Array): DeltaNode | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.length < HEAD_BYTES || !MAGIC.equals(buffer.subarray(0, 4))) return undefined
  const [level, depth] = [buffer.readUInt8(4), buffer.readUInt8(5)]
  const [payloadCount, extentCount] = [buffer.readUInt32LE(8), buffer.readUInt32LE(12)]
  const payloadsAt = HEAD_BYTES + depth * HASH_BYTES
  const extentsAt = payloadsAt + payloadCount * PAYLOAD_ENTRY_BYTES
  if (depth >= DELTA_DEPTH_MAX || extentsAt + extentCount * 2 > buffer.length) return undefined
  // Copied: what is sent to a thread takes its whole buffer along, and extents are.
  const hashAt = (at: number): ContentHash => new Uint8Array(buffer.subarray(at, at + HASH_BYTES)) as ContentHash
  const payloads = Array.from({ length: payloadCount }, (_, i): PayloadChunk => {
    const at = payloadsAt + i * PAYLOAD_ENTRY_BYTES
    return { content: hashAt(at), sizeBytes: buffer.readUInt32LE(at + HASH_BYTES) * SECTOR_BYTES }
  })
  if (payloads.some(({ sizeBytes }) => sizeBytes === 0 || sizeBytes > CHUNK_BYTES_MAX)) return undefined
  const extents = takeExtents(buffer, extentsAt, extentCount, payloads)
  if (extents === undefined) return undefined
  return {
    base: level === NO_BASE ? null : { hash: toHex(hashAt(16)), level },
    below: Array.from({ length: depth }, (_, i) => hashAt(HEAD_BYTES + i * HASH_BYTES)),
    payloads,
    extents,
  }
}

/** Finds the payload chunk of a place; extents mostly go on where the one before ended. */
class Places {
  readonly #payloads: readonly PayloadChunk[]
  readonly #starts: number[] = []
  #last = 0

  constructor(payloads: readonly PayloadChunk[]) {
    this.#payloads = payloads
    let place = 0
    for (const { sizeBytes } of payloads) {
      this.#starts.push(place)
      place += sizeBytes / SECTOR_BYTES
    }
  }

  find(place: number, sectors: number): { payload: PayloadChunk; at: number } | undefined {
    if (!this.#holds(this.#last, place)) this.#last = this.#search(place)
    const payload = this.#payloads[this.#last]
    const at = (place - (this.#starts[this.#last] ?? 0)) * SECTOR_BYTES
    if (payload === undefined || at < 0 || at + sectors * SECTOR_BYTES > payload.sizeBytes) return undefined
    return { payload, at }
  }

  #holds(i: number, place: number): boolean {
    return place >= (this.#starts[i] ?? Infinity) && place < (this.#starts[i + 1] ?? Infinity)
  }

  #search(place: number): number {
    let [low, high] = [0, this.#starts.length]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((this.#starts[middle] ?? Infinity) <= place) low = middle
      else high = middle
    }
    return low
  }
}

function takeExtents(
  buffer: Buffer,
  from: number,
  count: number,
  payloads: readonly PayloadChunk[],
): DeltaExtent[] | undefined {
  const reader = new VarintReader(buffer, from)
  const places = new Places(payloads)
  const extents: DeltaExtent[] = []
  let [end, payloadEnd] = [0, 0]
  for (let i = 0; i < count; i += 1) {
    const [gap, size] = [reader.next(), reader.next()]
    if (gap === undefined || size === undefined || size < 2) return undefined
    const [first, sectors] = [end + gap, Math.floor(size / 2)]
    const disk = { offset: first * SECTOR_BYTES, length: sectors * SECTOR_BYTES }
    end = first + sectors
    if (!Number.isSafeInteger(end * SECTOR_BYTES)) return undefined
    if (size % 2 === 1) {
      extents.push({ ...disk, payload: undefined, at: 0 })
      continue
    }
    const step = reader.next()
    const found = step === undefined ? undefined : places.find(payloadEnd + unzigzag(step), sectors)
    if (step === undefined || found === undefined) return undefined
    payloadEnd += unzigzag(step) + sectors
    extents.push({ ...disk, ...found })
  }
  return reader.at === buffer.length ? extents : undefined
}
