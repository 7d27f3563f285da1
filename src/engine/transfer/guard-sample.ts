/**
 * Whether a disk's change tracking can be believed: some chunks that it says nobody wrote to are read and compared with
 * what the parent version has there. A bitmap lies when somebody wrote past QEMU (a tool on the image of a stopped machine,
 * an image copied back with an older bitmap in it); nothing else would ever notice, and every later incremental would carry
 * the error on.
 *
 * At most 2 % of the disk's data and 4 MiB. Half of it is a window that moves on with every backup, so that in the end all
 * is looked at; half is picked by chance. What the parent has as holes is not looked at, nor chunks over which its delta nodes
 * lay something until they are folded into the tree: a lie there is found by `scan`s only.
 *
 * The disk is read as it is now, so a difference may also be a write after the instant. Who asks decides which it was.
 */
import { MIB, type Random } from '#base'
import { type ByteRange, openNbd } from '#engine/block'
import type { InstantDisk } from '#engine/hypervisor'
import {
  type ContentHash,
  contentHash,
  type DiskRecord,
  FAN_OUT,
  readNode,
  resolveVersion,
  touches,
  type TreeRoot,
} from '#engine/repository'

type ReadContent = (content: ContentHash) => Promise<Uint8Array>
/** A chunk of the parent version, by its number on the disk. */
export type SampledChunk = Readonly<{ chunk: number; content: ContentHash }>

const SAMPLE_BYTES_MAX = 4 * MIB
const SAMPLE_SHARE_MAX = 0.02

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
  const { tree, extents } = await resolveVersion(read, parent.root)
  const picked = [
    pickChunks(read, tree, choice.turn, windowed),
    ...Array.from({ length: count - windowed }, () => pickChunks(read, tree, randomTurn(choice.random), 1)),
  ]
  const size = parent.chunkSizeBytes
  const isWritten = dirtyChunks(dirty, size)
  // What delta nodes lay over a chunk makes it another one than the tree's.
  const isDirty = (chunk: number): boolean => isWritten(chunk) || touches(extents, chunk * size, (chunk + 1) * size)
  const chunks = new Map<number, SampledChunk>()
  for (const some of await Promise.all(picked)) for (const one of some) chunks.set(one.chunk, one)
  return [...chunks.values()].filter(({ chunk }) => !isDirty(chunk)).sort((a, b) => a.chunk - b.chunk)
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
