/** Bringing disks back in one thread: reads leaves and chunks, checks each, writes it where it belongs. */
import { assert } from '#base'
import { systemClock } from '#runtime'
import { type BlockTarget, openNbd, openStagedTarget, type Qcow2Range } from '#engine/block'
import {
  type BlobStore,
  type ChunkReader,
  type ContentHash,
  decodeNode,
  emptyNode,
  type ExtentList,
  FAN_OUT,
  isZero,
  openStore,
  piecesIn,
  Scratch,
  type StoreDescriptor,
  type ThreadAccess,
  threadReader,
} from '#engine/repository'
import { DeltaLayer } from '../delta-layer.ts'
import { placeInQcow2 } from '../qcow2-place.ts'
import { isOpened } from './backup-runner.ts'
import type { TaskRunner } from './task-runner.ts'

/** Where a disk goes, in a form that another thread can open: a raw file or device that exists, or a writable NBD export. */
export type TargetDescriptor =
  | Readonly<{ kind: 'raw'; path: string }>
  | Readonly<{ kind: 'nbd'; socketPath: string; exportName: string }>

/** A qcow2 file that all threads fill, and the counter of places in it (see qcow2-place.ts). */
export type Qcow2Filling = Readonly<{ kind: 'qcow2'; path: string; fileBytes: number; counter: SharedArrayBuffer }>

export type RestoreInit = Readonly<{
  store: StoreDescriptor | BlobStore
  access: ThreadAccess
  target: TargetDescriptor | Qcow2Filling | Readonly<{ opened: BlockTarget }>
  sizeBytes: number
  chunkSizeBytes: number
  /** Whether what is absent in the manifest must be written as zeros (a target that was not empty). */
  writeHoles: boolean
}>
export type RestoreTask =
  /** One leaf's part of the disk, and what delta nodes lay over it; without `content` the tree has nothing there. */
  | Readonly<{ kind: 'leaf'; index: number; content?: ContentHash; over: ExtentList }>
  /** A leaf that the manifest does not have: all zeros. Only for targets that were not empty. */
  | Readonly<{ kind: 'hole'; index: number }>
  | Readonly<{ kind: 'flush' }>
/** `ranges`: where the chunks of a leaf lie in a qcow2 file. */
export type RestoreResult = Readonly<{ writtenBytes: number; ranges?: readonly Qcow2Range[] }>

class RestoreRunner implements TaskRunner<'restore'> {
  readonly #init: RestoreInit
  readonly #store: BlobStore
  readonly #reader: ChunkReader
  readonly #target: BlockTarget
  readonly #memory = new Scratch()
  readonly #layer: DeltaLayer

  constructor(init: RestoreInit, store: BlobStore, target: BlockTarget) {
    this.#init = init
    this.#store = store
    this.#reader = threadReader(store, init.access).reader
    this.#target = target
    this.#layer = new DeltaLayer((content) => this.#reader.read(content))
  }

  async run(task: RestoreTask): Promise<RestoreResult> {
    if (task.kind === 'flush') {
      await this.#target.flush()
      return { writtenBytes: 0 }
    }
    if (task.kind === 'hole') {
      await this.#writeHoles(task.index, () => true)
      return { writtenBytes: 0 }
    }
    const node = task.content === undefined ? emptyNode(0) : decodeNode(await this.#reader.read(task.content), 0)
    assert(node !== undefined, 'walkLeaves gave a leaf')
    const { chunkSizeBytes, sizeBytes } = this.#init
    const start = task.index * FAN_OUT * chunkSizeBytes
    const laid = this.#laidOver(start, task.over)
    const requests = node.slots.flatMap((content, slot) => {
      const offset = start + slot * chunkSizeBytes
      return content === undefined || laid.has(offset) ? [] : [{ content, tag: offset }]
    })
    const placed = this.#place([...requests.map(({ tag }) => tag), ...laid.keys()].sort((a, b) => a - b))
    let writtenBytes = 0
    const write = async (plain: Uint8Array, offset: number): Promise<void> => {
      assert(plain.length === Math.min(chunkSizeBytes, sizeBytes - offset), 'A chunk is its part of the disk')
      await this.#target.write(placed?.fileOffsets.get(offset) ?? offset, plain)
      writtenBytes += plain.length
    }
    await this.#reader.readMany(requests, write, this.#memory)
    for (const [offset, pieces] of laid) {
      const bytes = await this.#layOver(node.slots[(offset - start) / chunkSizeBytes], offset, pieces)
      if (placed !== undefined || !isZero(bytes)) await write(bytes, offset)
      else if (this.#init.writeHoles) await this.#target.writeZeroes(offset, bytes.length)
    }
    if (this.#init.writeHoles)
      await this.#writeHoles(
        task.index,
        (slot) => node.slots[slot] === undefined && !laid.has(start + slot * chunkSizeBytes),
      )
    return placed === undefined ? { writtenBytes } : { writtenBytes, ranges: placed.ranges }
  }

  /** By the offset of each chunk that delta nodes lay something over: what. */
  #laidOver(start: number, over: ExtentList): Map<number, ExtentList> {
    const { chunkSizeBytes } = this.#init
    const laid = new Map<number, ExtentList>()
    if (over.length === 0) return laid
    for (let slot = 0; slot < FAN_OUT; slot += 1) {
      const offset = start + slot * chunkSizeBytes
      const pieces = piecesIn(over, offset, offset + chunkSizeBytes)
      if (pieces.length > 0) laid.set(offset, pieces)
    }
    return laid
  }

  /** A chunk put together. No manifest has a hash of it as a whole; its parts were compared with theirs. */
  async #layOver(content: ContentHash | undefined, offset: number, pieces: ExtentList): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.min(this.#init.chunkSizeBytes, this.#init.sizeBytes - offset))
    if (content !== undefined) bytes.set(await this.#reader.read(content))
    await this.#layer.lay(pieces, offset, bytes)
    return bytes
  }

  async close(): Promise<void> {
    if (!('opened' in this.#init.target)) await this.#target.close()
    if (!isOpened(this.#init.store)) await this.#store.close()
  }

  /** undefined: chunks lie in the target where they lie in the disk. */
  #place(offsets: readonly number[]): ReturnType<typeof placeInQcow2> | undefined {
    const { target } = this.#init
    return 'kind' in target && target.kind === 'qcow2' ? placeInQcow2(target.counter, offsets, this.#init) : undefined
  }

  async #writeHoles(leafIndex: number, isHole: (slot: number) => boolean): Promise<void> {
    const { chunkSizeBytes, sizeBytes } = this.#init
    const start = leafIndex * FAN_OUT * chunkSizeBytes
    const end = Math.min(sizeBytes, start + FAN_OUT * chunkSizeBytes)
    const isHoleAt = (offset: number): boolean => offset < end && isHole((offset - start) / chunkSizeBytes)
    for (let offset = start; offset < end; offset += chunkSizeBytes) {
      const from = offset
      while (isHoleAt(offset)) offset += chunkSizeBytes
      if (offset > from) await this.#target.writeZeroes(from, Math.min(offset, end) - from)
    }
  }
}

async function openTarget(target: TargetDescriptor | Qcow2Filling, sizeBytes: number): Promise<BlockTarget> {
  if (target.kind === 'qcow2') return openStagedTarget(target.path, target.fileBytes)
  if (target.kind === 'raw') return openStagedTarget(target.path, sizeBytes)
  return openNbd({ socketPath: target.socketPath, exportName: target.exportName, clock: systemClock })
}

export async function startRestoreRunner(init: RestoreInit): Promise<TaskRunner<'restore'>> {
  const store = isOpened(init.store) ? init.store : await openStore(init.store)
  const target = 'opened' in init.target ? init.target.opened : await openTarget(init.target, init.sizeBytes)
  return new RestoreRunner(init, store, target)
}
