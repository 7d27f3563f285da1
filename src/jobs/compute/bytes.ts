/**
 * Bytes of disks between the worker, which reads and writes them, and the control process, which talks to clients. They go
 * over a socket of their own, as HTTP with back-pressure, never through the catalog or JSON.
 *
 *   GET  /read    x-source: JSON ByteSource, x-range: from-to (to excluded)    the bytes
 *   GET  /ranges  x-source                                                     JSON [[offset, length], ...] that hold data
 *   PUT  /pages   x-path, x-offset, content-length                             204; the file exists and is not made longer
 *   POST /clear   x-path, x-range                                              204; zeros
 *   GET  /machines                                                             JSON MachineSighting[]
 *   GET  /machine/{report,serial,screenshot}   x-machine                       JSON MachineReport, or the bytes
 *   POST /release x-key                                                        204; what is kept open for the key is closed
 *   GET  /files/{list,read,pack,release}                                       files of recovery points (../vault/files)
 *
 * The socket lies in a folder of the owner's alone: whoever reaches it may do everything.
 */
import type { Readable } from 'node:stream'
import type { RepositoryAccess } from '../repository-access.ts'

export type ByteSource = Readonly<{
  /** Reads of one key share what is open; `release` closes it. */
  key: string
  bytes:
    | Readonly<{ kind: 'disk'; path: string; format: 'qcow2' | 'raw' }>
    | Readonly<{ kind: 'version'; access: RepositoryAccess; point: string; disk: string }>
  /** Of the disk; the file that is read is larger by the footer. */
  sizeBytes: number
  /** What the footer of the VHD says besides the size; the same for every read, so that ranges fit together. */
  vhd: Readonly<{ id: string; createdMs: number }>
}>

/** Offset and length. */
export type DataRange = readonly [number, number]

/** The bytes of one worker. */
export interface WorkerBytes {
  /** The bytes [from, to) of the fixed VHD. @throws JobsError `disk_not_there`, and what the worker says */
  read(source: ByteSource, from: number, to: number, signal: AbortSignal): Promise<Readable>
  /** What of [from, to) holds data; the footer does. */
  ranges(source: ByteSource): Promise<readonly DataRange[]>
  /** Writes `length` bytes at `offset` into a file of an upload. */
  writePages(path: string, offset: number, length: number, body: Readable, signal: AbortSignal): Promise<void>
  clearPages(path: string, from: number, to: number): Promise<void>
  release(key: string): Promise<void>
}

/** The bytes of all hosts: of the worker that is on the host. */
export interface ByteService {
  /** @param host `region/name`; undefined: this one */
  on(host: string | undefined): WorkerBytes
}

/** Ranges told at once; a disk with more is told coarser. */
export const RANGES_MAX = 20_000
