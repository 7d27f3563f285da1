/**
 * A recovery point as the repository keeps it: one instant of one machine, all its disks, and what is needed to make the
 * machine again. Sealed in the body of the log entry that committed it, so that with every catalog gone the repository
 * still lists and restores everything.
 */
export type PointId = string

/** full: no parent. incremental: only what the tracking bitmap named was read. scan: all was read and compared by hash. */
export type DiskMode = 'full' | 'incremental' | 'scan'

/** A manifest tree: content hash (hex) of its top node and its level. */
export type TreeRoot = Readonly<{ hash: string; level: number }>

/** A delta node: content hash (hex), and how many delta nodes the version rests on, this one included. */
export type DeltaRoot = Readonly<{ hash: string; delta: number }>

/** What a version is: a tree, delta nodes over one (see manifest/version.ts), or null, a disk that is all holes. */
export type RootRef = TreeRoot | DeltaRoot | null

export type DiskRecord = Readonly<{
  /** Stable identity of the disk, independent of its path and LUN. */
  id: string
  lun: number
  /** Format of the image that it was read from. */
  format: string
  mode: DiskMode
  /** Why it is a full or a scan; always present then. */
  reason?: string
  virtualSizeBytes: number
  usedBytes: number
  /** Bytes read from the source, plain bytes that were new to the repository, and what those took in the store. */
  readBytes: number
  newBytes: number
  storedBytes: number
  chunkSizeBytes: number
  root: RootRef
  /** Generation of the tracking bitmap that began at this instant; absent when the source keeps none. */
  generation?: string
}>

/** A small file that belongs to the machine: UEFI variables, TPM state, cloud-init seed, domain XML. */
export type AttachmentRecord = Readonly<{ name: string; sizeBytes: number; chunks: readonly string[] }>

/** Points of several machines at one moment: all that name this instant. */
export type PointGroup = Readonly<{
  name: string
  instant: string
  /** How far apart the machines were stopped, at most. */
  skewMs: number
  /** Their histories, this one's too. */
  machines: readonly string[]
}>

export type PointRecord = Readonly<{
  schema: 1
  id: PointId
  /** Of a copy under another id, because its own had been given up here: the point that it is a copy of. */
  origin?: PointId
  machine: string
  machineUuid?: string
  /** ISO 8601, UTC, by the clock of the hypervisor's host. Policies read it; order comes from the log number. */
  takenAt: string
  consistency: 'application' | 'filesystem' | 'crash'
  /** Why it is less consistent than was asked for, for programs; `notes` say it to people. Absent when it is not. */
  consistencyReasons?: readonly string[]
  notes: readonly string[]
  /** The machines that share its instant. */
  group?: PointGroup
  /** The worst of the disks' modes: full, then scan, then incremental. */
  mode: DiskMode
  parent?: PointId
  expiresAtMs?: number
  disks: readonly DiskRecord[]
  /** The machine's description in the hypervisor's own terms, kept as it was given. */
  description?: unknown
  attachments: readonly AttachmentRecord[]
  writer: string
}>

const WORST_FIRST: readonly DiskMode[] = ['full', 'scan', 'incremental']

/** The worst of some modes, as the point's `mode` states it. */
export function worstMode(modes: readonly DiskMode[]): DiskMode {
  return WORST_FIRST.find((mode) => modes.includes(mode)) ?? 'full'
}
