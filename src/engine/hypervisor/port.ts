/**
 * The Hypervisor port: what Holdfast asks of a host that runs machines, so that QEMU's filters and libvirt's backup jobs
 * fit alike. Drivers: qemu/ (we own the process), libvirt/ (later; we are a guest of its daemon).
 *
 * An *instant* is one moment of all disks of one machine, kept readable while the guest goes on:
 *
 *   open instant  ->  per disk {read source, changed extents, size}  ->  commit | abort
 *
 * Promises of an open instant
 *   1. All disks show the same moment; every read gives that moment's bytes or fails. Never later bytes.
 *   2. The guest is never stopped or failed by us: a full or slow scratch breaks the instant (reads fail with
 *      `instant_broken`), not the guest. Where a driver cannot keep this it says so in `weakerPromise`.
 *   3. Until `commit`, losing everything here loses no tracking: `abort` (or recovery after a crash) merges what was
 *      tracked since back, so the next instant still reports every change since the last committed generation.
 *   4. `commit` is called only after the point is durable in the repository's log. A crash between the two is decided
 *      after restart by whether the log holds the generation (`recoverInstants`, instant/recover.ts).
 */
import type { ConsistencyLevel, MachineDescription } from './machine.ts'
import type { ConsistencyReason } from './quiesce/consistency-reason.ts'

/** `hf-<tracker>-<generation>` is the bitmap's name in the image. tracker: 8 hex of the repository id; generation: 12 hex. */
export type TrackerId = string
export type Generation = string

export type TrackingRequest = Readonly<{
  tracker: TrackerId
  /**
   * The generation that each disk would become; new and random for every attempt. One a disk, so that an image in another
   * disk's place is never taken for it; one for all where that cannot happen.
   */
  next: Generation | ((diskId: string) => Generation)
  /** Per disk id: the last generation that is in the repository's log, if any. Anything else found is stale. */
  committed: Readonly<Record<string, Generation | undefined>>
  /** Bitmap granularity in bytes, a power of two between 4 KiB and 4 MiB: what the consumer reads. */
  granularityBytes: number
}>

export type OpenInstantOptions = Readonly<{
  /** Asked for. What was reached stands in `Instant.consistency`, with the reason when it is less. */
  consistency: ConsistencyLevel
  /** Fail instead of degrading when the asked-for consistency cannot be had. */
  strict?: boolean
  /** undefined: a full instant that leaves no tracking behind. */
  tracking?: TrackingRequest
  /** LUNs to leave out. */
  excludeLuns?: readonly number[]
  signal?: AbortSignal
}>

/** Why the whole disk has to be read instead of the changes only; goes onto the recovery point. */
export type ScanReason =
  | 'first_backup'
  | 'bitmap_missing'
  | 'bitmap_inconsistent'
  | 'bitmap_wrong_generation'
  | 'bitmap_unsupported'
  | 'parent_missing'
  | 'disk_shrunk'
  | 'source_without_bitmap'
  | 'source_changed_offline'
  | 'guard_mismatch'
  | 'asked_for'

export type InstantDisk = Readonly<{
  lun: number
  /** Stable identity of the disk (UUID), independent of path and LUN. */
  diskId: string
  /** Format of the image behind it, for the record. */
  format: string
  sizeBytes: number
  /**
   * How to read it. `image` is a stopped machine's file, whose locks are held until commit or abort. Reads over `nbd` fail
   * for ever once the instant is broken; with `changes` of kind `since`, reads outside the dirty extents may fail too.
   */
  source:
    | Readonly<{ kind: 'nbd'; socketPath: string; exportName: string; bitmapContext?: string }>
    | Readonly<{ kind: 'image'; path: string; format: string }>
  /**
   * The disk as it is now, over the same socket: with changes since a generation, for looking at what is said not to have
   * changed. The guest may write to it meanwhile.
   */
  present?: Readonly<{ socketPath: string; exportName: string }>
  /** What its bitmap is called from now on, when tracking was asked for; the generations of an instant land together or not. */
  generation?: Generation
  /** all: read what is allocated, because of `reason`; since: only `bitmapContext`'s dirty extents hold valid data. */
  changes: Readonly<{ kind: 'all'; reason: ScanReason }> | Readonly<{ kind: 'since'; generation: Generation }>
  /**
   * The export takes discards (NBD_CMD_TRIM) as "this will not be read": the guest's writes there are copied no more, and
   * reads there fail. A consumer of changes should discard all else at once.
   */
  releases: boolean
}>

export interface Instant {
  readonly id: string
  /** Wall clock of the hypervisor's host, milliseconds since the Unix epoch. */
  readonly takenAtMs: number
  readonly consistency: ConsistencyLevel
  /** Why less than asked for, or what else a user must know; goes onto the recovery point. */
  readonly notes: readonly string[]
  /** The same for programs: why it is less consistent than was asked for. */
  readonly reasons: readonly ConsistencyReason[]
  /** How long the guest did not run for it, and how long its file systems were frozen. */
  readonly pauseMs: number
  readonly freezeMs: number
  readonly weakerPromise: string | undefined
  readonly machine: MachineDescription
  readonly disks: readonly InstantDisk[]
  /** Throws `instant_broken` when the scratch overflowed or the connection was lost; reads may not be trusted then. */
  check(): Promise<void>
  /** The point is in the log: drop the previous generation's bitmap, remove our nodes. Idempotent. */
  commit(): Promise<void>
  /** Give up: merge the new bitmap back into the previous one, remove our nodes. Idempotent. */
  abort(reason: string): Promise<void>
}
