/**
 * What a managed disk may be and do, as data and pure rules. States are Azure's (DiskState of Microsoft.Compute):
 *
 *   Unattached ──> Attached | Reserved           a machine has it: running, or not
 *        │  ^          └────┴──> Unattached
 *        │  └──> ActiveSAS                        somebody may read its bytes by a signed URL (also from Reserved)
 *   ReadyToUpload ──> ActiveUpload ──> Unattached its bytes come from outside; back to ReadyToUpload when they were no disk
 *
 * Invariants: a disk that a machine runs on is never read by URL nor removed; a disk never becomes smaller; one that waits for
 * its upload can be nothing else.
 */
import { assert, DISK_BYTES_MAX, GIB, SECTOR_BYTES } from '#base'

export const DISK_STATES = ['Unattached', 'Attached', 'Reserved', 'ActiveSAS', 'ReadyToUpload', 'ActiveUpload'] as const
export type DiskState = (typeof DISK_STATES)[number]

export const DISK_TRANSITIONS = {
  Unattached: ['Attached', 'Reserved', 'ActiveSAS'],
  Attached: ['Reserved', 'Unattached'],
  Reserved: ['Attached', 'Unattached', 'ActiveSAS'],
  ActiveSAS: ['Unattached', 'Reserved'],
  ReadyToUpload: ['ActiveUpload'],
  ActiveUpload: ['Unattached', 'ReadyToUpload'],
} satisfies Record<DiskState, readonly DiskState[]>

export function mayBecome(from: DiskState, to: DiskState): boolean {
  const allowed: readonly DiskState[] = DISK_TRANSITIONS[from]
  return allowed.includes(to)
}

/** `to`, asserted against the table: a move outside it is our own fault. */
export function diskMove(from: DiskState, to: DiskState): DiskState {
  assert(mayBecome(from, to), `A disk cannot go from ${from} to ${to}`)
  return to
}

/** One who may read or write the bytes by a signed URL. */
export type DiskGrant = Readonly<{
  id: string
  access: 'Read' | 'Write'
  /** ms since the epoch. */
  expiresMs: number
}>

/** One disk of one recovery point in the repository of a region. */
export type VersionRef = Readonly<{ region: string; point: string; disk: string }>

/** What stands behind a disk that is an overlay: the read-only file that it rests on, the version that this holds, its image. */
export type DiskBase = Readonly<{
  file: string
  version: VersionRef
  /** Id of the image that the disk was made from, which may be gone. */
  image?: string
}>

/** What stands behind a disk; never shown. */
export type DiskBacking = Readonly<{
  /** Absolute. */
  file: string
  format: 'qcow2' | 'raw'
  /** Names the pool inside the region; undefined for an adopted file, which stays when the disk is deleted. */
  pool?: string
  /** Of a disk that is made from an image. */
  base?: DiskBase
  /** The host elsewhere whose file it is, as `region/name`; undefined: this one. Never changes. */
  host?: string
  /** The machine that has it, and the monitor of its QEMU. */
  machine?: Readonly<{ name: string; qmp: string; agent?: string }>
  grant?: DiskGrant
  /** File that an upload goes to until it is whole. */
  upload?: string
  /** While it is being deleted: what it is again should that fail. */
  stateBefore?: string
}>

/** What stands behind a snapshot, as far as reading its bytes needs it. */
export type SnapshotBacking = Readonly<{ version?: VersionRef; grant?: DiskGrant }>

/** A refusal: which field or state is in the way, in a sentence. */
export type Refusal = Readonly<{ target?: string; message: string }>

/** Whole gibibytes that hold so many bytes, as `diskSizeGB` tells it. */
export function sizeGb(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / GIB))
}

/** `diskSizeGB` from outside as bytes. */
export function bytesOfGb(gb: unknown): number | Refusal {
  const inRange = typeof gb === 'number' && Number.isInteger(gb) && gb >= 1 && gb * GIB <= DISK_BYTES_MAX
  if (inRange) return gb * GIB
  return {
    target: 'properties.diskSizeGB',
    message: `diskSizeGB must be a whole number from 1 to ${DISK_BYTES_MAX / GIB}.`,
  }
}

/**
 * The size of a disk that is made from another one's bytes: as asked for, at least as large as the source. Without a wish
 * the source's own, to the byte.
 */
export function sizeFromSource(sourceBytes: number, wantedBytes: number | undefined): number | Refusal {
  if (wantedBytes === undefined) return sourceBytes
  if (wantedBytes >= sourceBytes) return wantedBytes
  return {
    target: 'properties.diskSizeGB',
    message: `The disk cannot be smaller (${sizeGb(wantedBytes)} GiB) than its source (${sizeGb(sourceBytes)} GiB).`,
  }
}

/**
 * What a wish for another size comes to: undefined when nothing is to be done.
 * @param mayEcho of a whole body, which repeats the size that was shown: rounded up, so that it is no wish
 */
export function growth(
  presentBytes: number,
  wantedBytes: number | undefined,
  mayEcho: boolean,
): number | undefined | Refusal {
  if (wantedBytes === undefined || wantedBytes === presentBytes) return undefined
  if (mayEcho && wantedBytes === sizeGb(presentBytes) * GIB) return undefined
  if (wantedBytes > presentBytes) return wantedBytes
  return {
    target: 'properties.diskSizeGB',
    message: `A disk cannot be made smaller: it has ${sizeGb(presentBytes)} GiB.`,
  }
}

/** Bytes of the fixed VHD that holds a disk: the disk and its footer. */
export const VHD_FOOTER_BYTES = 512

/** Bytes of the disk in an upload of this size. */
export function diskBytesOfUpload(uploadSizeBytes: unknown): number | Refusal {
  const target = 'properties.creationData.uploadSizeBytes'
  if (typeof uploadSizeBytes !== 'number' || !Number.isSafeInteger(uploadSizeBytes))
    return { target, message: 'uploadSizeBytes must be the size of the VHD file, footer and all.' }
  const disk = uploadSizeBytes - VHD_FOOTER_BYTES
  if (disk >= SECTOR_BYTES && disk % SECTOR_BYTES === 0 && disk <= DISK_BYTES_MAX) return disk
  return { target, message: `uploadSizeBytes must be whole sectors of 512 bytes and the footer's 512.` }
}

/** Why the disk cannot be removed now; undefined when it can. */
export function whyNotDelete(state: DiskState, managedBy: string | undefined): Refusal | undefined {
  if (managedBy !== undefined || state === 'Attached' || state === 'Reserved')
    return { message: `It is attached to ${managedBy ?? 'a machine'}: detach it first.` }
  if (state === 'ActiveSAS' || state === 'ActiveUpload')
    return { message: 'Its bytes are open to a signed URL: revoke the access first.' }
  return undefined
}

/** The state in which it is read or written by URL, or why it cannot be. */
export function stateUnderGrant(state: DiskState, access: 'Read' | 'Write'): DiskState | Refusal {
  const to = access === 'Read' ? 'ActiveSAS' : 'ActiveUpload'
  if (state === to || mayBecome(state, to)) return to
  if (access === 'Write')
    return { message: `Only a disk that was made for an upload can be written by URL; it is ${state}.` }
  if (state === 'Attached') return { message: 'A running machine has the disk: take a snapshot and export that.' }
  return { message: `It is ${state}; its bytes cannot be read by URL.` }
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === 'object' && value !== null && 'message' in value
}
