/**
 * A BlockDevice is random access to the bytes of one disk. Everything that reads or writes disks (a raw file, a qcow2 file
 * through its allocation map, an NBD peer) is one; wrappers are named by their effect.
 *
 * Offsets and lengths are bytes and any alignment is accepted. All reads of a source that is an instant give the same
 * bytes for ever. Reads past the end are a caller's error (assertion), never short.
 */
import { assert } from '#base'
import type { Extent } from './extent.ts'

/** Bytes that lie in a source's memory, in order; they do not change until `release`, which is called once. */
export type Loan = Readonly<{ parts: readonly Uint8Array[]; release: () => void }>

export interface BlockSource {
  readonly sizeBytes: number
  /** Largest number of reads worth having in flight; 1 for a plain file read synchronously. */
  readonly parallelism: number
  /**
   * Fills `into` from `offset`. After it settled, `into` is not touched again, also when `signal` aborted it.
   * @throws BlockError, or `cancelled` when `signal` aborted first.
   */
  read(offset: number, into: Uint8Array, signal?: AbortSignal): Promise<void>
  /**
   * The bytes of [offset, offset + length) where the source keeps them, so that nothing is copied: at once when they are
   * in memory, a promise when they must be fetched, undefined when the source lends no more at present: then `read` serves.
   * A promise rejects as `read` does, and then nothing is lent.
   */
  lend?(offset: number, length: number, signal?: AbortSignal): Loan | Promise<Loan> | undefined
  /** The states of [offset, offset + length), ascending, covering it completely. @throws BlockError */
  extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]>
  close(): Promise<void>
}

export interface BlockTarget {
  readonly sizeBytes: number
  /** Writes `data` at `offset`; `data` must not change until it settled. @throws BlockError, or `cancelled` */
  write(offset: number, data: Uint8Array, signal?: AbortSignal): Promise<void>
  /** Makes the range read as zeros, giving its space back where the device can. @throws BlockError, or `cancelled` */
  writeZeroes(offset: number, length: number, signal?: AbortSignal): Promise<void>
  /** Makes all that was written durable. @throws BlockError */
  flush(): Promise<void>
  close(): Promise<void>
}

export type BlockDevice = BlockSource & BlockTarget

/** Asserts that [offset, offset + length) lies inside the device. Callers check what comes from outside before. */
export function assertInside(device: Readonly<{ sizeBytes: number }>, offset: number, length: number): void {
  assert(Number.isSafeInteger(offset) && Number.isSafeInteger(length), 'Offset and length are whole numbers')
  assert(offset >= 0 && length >= 0 && offset + length <= device.sizeBytes, 'The range lies inside the device')
}

/**
 * Names a source in a form that another thread or process can open by itself (structured-clone safe). `openSource` turns
 * it into a BlockSource. Bytes never travel between threads; descriptors do.
 */
export type SourceDescriptor =
  | Readonly<{ kind: 'file'; path: string; sizeBytes: number; map: FileMap }>
  | Readonly<{ kind: 'nbd'; socketPath: string; exportName: string }>
  | Readonly<{ kind: 'nbd-tcp'; host: string; port: number; exportName: string; tlsCaFile?: string }>

/**
 * Where the bytes of a disk lie in a file that can be read directly, as `qemu-img map` tells (raw: identity by SEEK_HOLE).
 * Runs ascend by `start`; what no run covers is a hole.
 */
export type FileMap = Readonly<{ runs: readonly FileRun[] }>
export type FileRun = Readonly<{ start: number; length: number; kind: 'data' | 'zero'; fileOffset: number }>
