/**
 * Making a disk that holds something into what a manifest says, in one thread: every chunk of a leaf is compared with the
 * hash that the manifest has for it, and only what differs is fetched and written.
 *
 * Where the target says it has a hole it is believed to read as zeros (base:allocation, NBD doc/proto.md); all else is read.
 */
import { must } from '#base'
import { systemClock } from '#runtime'
import { type BlockDevice, type ByteRange, openNbd, type SourceDescriptor } from '#engine/block'
import {
  type BlobStore,
  type ChunkReader,
  type ContentHash,
  contentHash,
  decodeNode,
  type ExtentList,
  FAN_OUT,
  isZero,
  openStore,
  piecesIn,
  type StoreDescriptor,
  type ThreadAccess,
  threadReader,
} from '#engine/repository'
import { DeltaLayer } from '../delta-layer.ts'
import { isOpened } from './backup-runner.ts'
import type { TaskRunner } from './task-runner.ts'

/** A writable NBD export. */
export type ReplaceTarget = Exclude<SourceDescriptor, { kind: 'file' }>
export type ReplaceInit = Readonly<{
  store: StoreDescriptor | BlobStore
  access: ThreadAccess
  target: ReplaceTarget
  sizeBytes: number
  chunkSizeBytes: number
}>
export type ReplaceTask =
  /** One leaf's part of the disk, and what delta nodes lay over it; without `content` the tree has nothing there but zeros. */
  Readonly<{ kind: 'leaf'; index: number; content?: ContentHash; over: ExtentList }> | Readonly<{ kind: 'flush' }>
/** Bytes read from the target and compared, bytes of chunks written, and bytes that became zeros. */
export type ReplaceResult = Readonly<{ comparedBytes: number; writtenBytes: number; zeroedBytes: number }>

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Reads in flight; each is one chunk. */
const READS = 8

type Chunk = ByteRange & Readonly<{ content: ContentHash | undefined; over: ExtentList; isHole: boolean }>

class ReplaceRunner implements TaskRunner<'replace'> {
  readonly #init: ReplaceInit
  readonly #store: BlobStore
  readonly #reader: ChunkReader
  readonly #target: BlockDevice
  readonly #layer: DeltaLayer

  constructor(init: ReplaceInit, store: BlobStore, target: BlockDevice) {
    this.#init = init
    this.#store = store
    this.#reader = threadReader(store, init.access).reader
    this.#target = target
    this.#layer = new DeltaLayer((content) => this.#reader.read(content))
  }

  async run(task: ReplaceTask): Promise<ReplaceResult> {
    if (task.kind === 'flush') {
      await this.#target.flush()
      return { comparedBytes: 0, writtenBytes: 0, zeroedBytes: 0 }
    }
    const chunks = await this.#chunksOf(task)
    const [plain, laidOver] = [
      chunks.filter(({ over }) => over.length === 0),
      chunks.filter(({ over }) => over.length > 0),
    ]
    const unread = plain.filter(({ isHole }) => !isHole)
    // A chunk that is kept is never all zeros, so a hole differs from it without a look.
    const differing = plain.filter(({ isHole, content }) => isHole && content !== undefined)
    for (let first = 0; first < unread.length; first += READS) {
      const group = unread.slice(first, first + READS)
      const same = await Promise.all(group.map((chunk) => this.#isSame(chunk)))
      differing.push(...group.filter((_, i) => same[i] !== true))
    }
    const { writtenBytes, zeroedBytes } = await this.#replace(differing)
    const sum = { comparedBytes: sizeOf(unread) + sizeOf(laidOver), writtenBytes, zeroedBytes }
    for (const chunk of laidOver) await this.#replaceLaidOver(chunk, sum)
    return sum
  }

  /** A chunk that no manifest has a hash of as a whole: put together, compared byte by byte. */
  async #replaceLaidOver({ offset, length, content, over }: Chunk, sum: Mutable<ReplaceResult>): Promise<void> {
    const wanted = new Uint8Array(length)
    if (content !== undefined) wanted.set(await this.#reader.read(content))
    await this.#layer.lay(over, offset, wanted)
    const there = new Uint8Array(length)
    await this.#target.read(offset, there)
    if (Buffer.compare(wanted, there) === 0) return
    if (isZero(wanted)) {
      await this.#target.writeZeroes(offset, length)
      sum.zeroedBytes += length
    } else {
      await this.#target.write(offset, wanted)
      sum.writtenBytes += length
    }
  }

  async close(): Promise<void> {
    await this.#target.close()
    if (!isOpened(this.#init.store)) await this.#store.close()
  }

  async #chunksOf(task: Extract<ReplaceTask, { kind: 'leaf' }>): Promise<Chunk[]> {
    const { sizeBytes, chunkSizeBytes } = this.#init
    const node = task.content === undefined ? undefined : decodeNode(await this.#reader.read(task.content), 0)
    const start = task.index * FAN_OUT * chunkSizeBytes
    const end = Math.min(sizeBytes, start + FAN_OUT * chunkSizeBytes)
    const extents = await this.#target.extents(start, end - start)
    const filled = extents.filter(({ kind }) => kind === 'data')
    const chunks: Chunk[] = []
    let next = 0
    for (let offset = start; offset < end; offset += chunkSizeBytes) {
      const length = Math.min(chunkSizeBytes, end - offset)
      while (next < filled.length && endOf(must(filled[next], 'Inside the list')) <= offset) next += 1
      const isHole = (filled[next]?.offset ?? end) >= offset + length
      chunks.push({
        offset,
        length,
        content: node?.slots[(offset - start) / chunkSizeBytes],
        over: piecesIn(task.over, offset, offset + length),
        isHole,
      })
    }
    return chunks
  }

  async #isSame({ offset, length, content }: Chunk): Promise<boolean> {
    const bytes = new Uint8Array(length)
    await this.#target.read(offset, bytes)
    if (content === undefined) return isZero(bytes)
    return Buffer.compare(contentHash(bytes), content) === 0
  }

  async #replace(chunks: readonly Chunk[]): Promise<Omit<ReplaceResult, 'comparedBytes'>> {
    const zeros = joinRanges(chunks.filter(({ content }) => content === undefined))
    for (const { offset, length } of zeros) await this.#target.writeZeroes(offset, length)
    let writtenBytes = 0
    const requests = chunks.flatMap(({ content, offset }) => (content === undefined ? [] : [{ content, tag: offset }]))
    await this.#reader.readMany(requests, async (plain, offset) => {
      await this.#target.write(offset, plain)
      writtenBytes += plain.length
    })
    return { writtenBytes, zeroedBytes: sizeOf(zeros) }
  }
}

function endOf({ offset, length }: ByteRange): number {
  return offset + length
}

/** Neighbours in one: a request for each chunk costs more than the zeros do. */
function joinRanges(ranges: readonly ByteRange[]): ByteRange[] {
  const joined: ByteRange[] = []
  for (const { offset, length } of ranges) {
    const last = joined.at(-1)
    if (last !== undefined && endOf(last) === offset)
      joined[joined.length - 1] = { offset: last.offset, length: last.length + length }
    else joined.push({ offset, length })
  }
  return joined
}

function sizeOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { length }) => sum + length, 0)
}

export async function startReplaceRunner(init: ReplaceInit): Promise<TaskRunner<'replace'>> {
  const store = isOpened(init.store) ? init.store : await openStore(init.store)
  const { kind: _, ...address } = init.target
  return new ReplaceRunner(init, store, await openNbd({ ...address, clock: systemClock }))
}
