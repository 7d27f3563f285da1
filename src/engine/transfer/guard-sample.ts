/**
 * Whether a disk's change tracking can be believed: some chunks that it says nobody wrote to are read and compared with
 * what the parent version has there. A bitmap lies when somebody wrote past QEMU (a tool on the image of a stopped machine,
 * an image copied back with an older bitmap in it); nothing else would ever notice, and every later incremental would carry
 * the error on.
 *
 * At most 2 % of the disk's data and 4 MiB. Half of it is a window that moves on with every backup, so that in the end all
 * is looked at; half is picked by chance. Chunks of the tree are compared by their hashes, which costs no more than manifest
 * nodes. A chunk over which the parent's delta nodes lay something has no hash: it is put together as a restore would, from the
 * tree's chunk and payload, so of these there are few (COMPOSED_BYTES_MAX). What the parent has as holes is not looked at.
 *
 * The disk is read as it is now, so a difference may also be a write after the instant. Who asks decides which it was.
 */
import { MIB, must, type Random } from '#base'
import { type ByteRange, openNbd } from '#engine/block'
import type { InstantDisk } from '#engine/hypervisor'
import {
  type ContentHash,
  contentHash,
  type DiskRecord,
  FAN_OUT,
  readNode,
  findLeaf,
  piecesIn,
  type ResolvedVersion,
  resolveVersion,
  overlaidChunks,
  touches,
  type TreeRoot,
} from '#engine/repository'
import { DeltaLayer } from './delta-layer.ts'

type ReadContent = (content: ContentHash) => Promise<Uint8Array>
/** A chunk of the parent version, by its number on the disk. */
export type SampledChunk = Readonly<{ chunk: number; content: ContentHash }>

const SAMPLE_BYTES_MAX = 4 * MIB
const SAMPLE_SHARE_MAX = 0.02
/** Of chunks that are put together: each is read from the repository, and may need a payload chunk of every delta node. */
const COMPOSED_BYTES_MAX = MIB
const COMPOSED_SHARE = 1 / 4

/** How many chunks of this disk a run looks at. */
export function sampleCount(disk: Pick<DiskRecord, 'usedBytes' | 'chunkSizeBytes'>): number {
  return Math.floor(Math.min(SAMPLE_BYTES_MAX, disk.usedBytes * SAMPLE_SHARE_MAX) / disk.chunkSizeBytes)
}

/**
 * Chunks of the parent: a window by `turn`, which counts the backups, and others by chance. What is dirty is left out, so
 * it may be fewer. @throws chunk_missing, chunk_corrupt when the parent's manifest cannot be read
 */
export async function sampleChunks(
  read: ReadContent,
  parent: DiskRecord,
  dirty: readonly ByteRange[],
  choice: Readonly<{ turn: number; random: Random }>,
): Promise<SampledChunk[]> {
  const count = sampleCount(parent)
  const windowed = Math.floor(count / 2)
  const version = await resolveVersion(read, parent.root)
  const { tree, extents } = version
  const picked = [
    pickChunks(read, tree, choice.turn, windowed),
    ...Array.from({ length: count - windowed }, () => pickChunks(read, tree, randomTurn(choice.random), 1)),
  ]
  const size = parent.chunkSizeBytes
  const isWritten = dirtyChunks(dirty, size)
  // What delta nodes lay over a chunk makes it another one than the tree's.
  const isDirty = (chunk: number): boolean => isWritten(chunk) || touches(extents, chunk * size, (chunk + 1) * size)
  const chunks = new Map<number, SampledChunk>()
  for (const some of await Promise.all(picked))
    for (const one of some) if (!isDirty(one.chunk)) chunks.set(one.chunk, one)
  const overlaid = overlaidChunks(extents, size).filter((chunk) => !isWritten(chunk))
  const composer = new ChunkComposer(read, parent, version)
  for (const chunk of pickOverlaid(overlaid, Math.min(count, composedCount(parent)), choice))
    chunks.set(chunk, { chunk, content: await composer.contentOf(chunk) })
  return [...chunks.values()].sort((a, b) => a.chunk - b.chunk)
}

/** How many chunks are put together: a share of the sample, and one at least. */
function composedCount(parent: DiskRecord): number {
  const bytes = Math.min(COMPOSED_BYTES_MAX, sampleCount(parent) * COMPOSED_SHARE * parent.chunkSizeBytes)
  return Math.max(1, Math.floor(bytes / parent.chunkSizeBytes))
}

/** Half of them a window by `turn`, and others by chance; some may be the same. */
function pickOverlaid(
  chunks: readonly number[],
  count: number,
  { turn, random }: Readonly<{ turn: number; random: Random }>,
): number[] {
  if (chunks.length === 0 || count === 0) return []
  const windowed = Math.ceil(count / 2)
  return Array.from({ length: count }, (_, i) => {
    const at = i < windowed ? turn * windowed + i : randomTurn(random)
    return must(chunks[at % chunks.length], 'Inside the list')
  })
}

/** Chunks as the version has them, with what its delta nodes lay over the tree. */
class ChunkComposer {
  readonly #read: ReadContent
  readonly #disk: DiskRecord
  readonly #version: ResolvedVersion
  readonly #layer: DeltaLayer

  constructor(read: ReadContent, disk: DiskRecord, version: ResolvedVersion) {
    this.#read = read
    this.#disk = disk
    this.#version = version
    this.#layer = new DeltaLayer(read)
  }

  /** The hash of the chunk's plain bytes. */
  async contentOf(chunk: number): Promise<ContentHash> {
    const { chunkSizeBytes, virtualSizeBytes } = this.#disk
    const { tree, extents } = this.#version
    const offset = chunk * chunkSizeBytes
    const bytes = new Uint8Array(Math.min(chunkSizeBytes, virtualSizeBytes - offset))
    const leaf = await findLeaf(this.#read, tree, Math.floor(chunk / FAN_OUT))
    const node = leaf === undefined ? undefined : await readNode(this.#read, { content: leaf, level: 0 })
    const below = node?.slots[chunk % FAN_OUT]
    if (below !== undefined) bytes.set((await this.#read(below)).subarray(0, bytes.length))
    await this.#layer.lay(piecesIn(extents, offset, offset + bytes.length), offset, bytes)
    return contentHash(bytes)
  }
}

function randomTurn(random: Random): number {
  return random.bytes(6).reduce((number, byte) => number * 256 + byte, 0)
}

/**
 * `count` chunks that follow each other among those present in one leaf. `turn` is read as digits, one for each level of
 * the tree, lowest first: as it counts up, every child of every node has its turn.
 */
async function pickChunks(
  read: ReadContent,
  root: TreeRoot | null,
  turn: number,
  count: number,
): Promise<SampledChunk[]> {
  if (root === null || count === 0) return []
  let index = 0
  let content = Buffer.from(root.hash, 'hex') as Uint8Array as ContentHash
  for (let { level } = root; ; level -= 1) {
    const node = await readNode(read, { content, level })
    const present = node.slots.flatMap((child, slot) => (child === undefined ? [] : [{ slot, child }]))
    const step = level === 0 ? count : 1
    const choices = Math.ceil(present.length / step)
    if (choices === 0) return []
    const first = (turn % choices) * step
    turn = Math.floor(turn / choices)
    const chosen = present.slice(first, first + step)
    if (level === 0) return chosen.map(({ slot, child }) => ({ chunk: index * FAN_OUT + slot, content: child }))
    const [next] = chosen
    if (next === undefined) return []
    index = index * FAN_OUT + next.slot
    content = next.child
  }
}

/** Whether a chunk is touched by one of the ascending ranges. */
export function dirtyChunks(dirty: readonly ByteRange[], chunkSizeBytes: number): (chunk: number) => boolean {
  return (chunk) => {
    const start = chunk * chunkSizeBytes
    const end = start + chunkSizeBytes
    let low = 0
    for (let high = dirty.length; low < high;) {
      const middle = (low + high) >>> 1
      const range = dirty[middle]
      if (range !== undefined && range.offset + range.length <= start) low = middle + 1
      else high = middle
    }
    return (dirty[low]?.offset ?? end) < end
  }
}

/** Reads the chunks from the disk as it is now; gives the numbers of those that differ, and how much was read. */
export async function compareSample(
  present: NonNullable<InstantDisk['present']>,
  parent: DiskRecord,
  sample: readonly SampledChunk[],
): Promise<Readonly<{ readBytes: number; differing: readonly number[] }>> {
  const client = await openNbd(present)
  try {
    let readBytes = 0
    const differing: number[] = []
    for (const { chunk, content } of sample) {
      const offset = chunk * parent.chunkSizeBytes
      const bytes = new Uint8Array(Math.min(parent.chunkSizeBytes, parent.virtualSizeBytes - offset))
      await client.read(offset, bytes)
      readBytes += bytes.length
      if (Buffer.compare(contentHash(bytes), content) !== 0) differing.push(chunk)
    }
    return { readBytes, differing }
  } finally {
    await client.close()
  }
}
