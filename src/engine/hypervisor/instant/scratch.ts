/**
 * Room for the bytes that the guest overwrites while an instant is open. Each disk gets a capped qcow2; the caps together
 * never eat into the free-space floor. A full scratch breaks the instant, not the guest.
 *
 * The cap is a `raw` layer of fixed size under the qcow2: QEMU refuses writes past it with ENOSPC. The file is sparse.
 */
import { chmod, chown, statfs, truncate } from 'node:fs/promises'
import { GIB, KIB, MIB } from '#base'
import { checkCommand } from '#runtime'
import { HypervisorError } from '../errors.ts'
import type { ProcessUser } from '../qemu/supervisor.ts'

/** What must stay free on the scratch folder's file system, whatever the guest writes. */
export const SCRATCH_FLOOR_BYTES_DEFAULT = GIB
/** Less than this holds no more than a qcow2's own tables. */
const CAP_BYTES_MIN = 2 * MIB
const CLUSTER_BYTES = 64 * KIB

/** What a scratch needs when every byte of the disk is overwritten: the data, 1/4096 for tables, and headers. */
export function scratchBytesWhole(diskBytes: number): number {
  const bytes = diskBytes + Math.ceil(diskBytes / 4096) + CAP_BYTES_MIN
  return Math.ceil(bytes / CLUSTER_BYTES) * CLUSTER_BYTES
}

/**
 * Shares `budgetBytes` among the disks in proportion to their sizes, none getting more than it can use.
 * Returns one cap per disk, or undefined when there is too little for every disk to get the least.
 */
export function shareScratch(diskBytes: readonly number[], budgetBytes: number): number[] | undefined {
  if (budgetBytes < CAP_BYTES_MIN * diskBytes.length) return undefined
  const spareBytes = budgetBytes - CAP_BYTES_MIN * diskBytes.length
  const totalBytes = diskBytes.reduce((sum, bytes) => sum + bytes, 0)
  return diskBytes.map((bytes) => {
    const share = CAP_BYTES_MIN + spareBytes * (totalBytes === 0 ? 0 : bytes / totalBytes)
    return Math.min(scratchBytesWhole(bytes), Math.floor(share / CLUSTER_BYTES) * CLUSTER_BYTES)
  })
}

export async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

/** The caps for disks of these sizes in `folder` now. @throws `instant_failed` when there is no room. */
export async function capScratch(
  folder: string,
  diskBytes: readonly number[],
  limits: Readonly<{ floorBytes: number; bytesMax: number }>,
): Promise<number[]> {
  const freeBytes = await freeBytesOf(folder)
  const caps = shareScratch(diskBytes, Math.min(limits.bytesMax, freeBytes - limits.floorBytes))
  if (caps !== undefined) return caps
  throw new HypervisorError('instant_failed', 'The scratch folder has no room for an instant of this machine.', {
    facts: { folder, freeBytes, floorBytes: limits.floorBytes, bytesMax: limits.bytesMax },
    retry: 'later',
    hint: 'Free space there, or choose a scratch folder on a larger disk.',
  })
}

export type Scratch = Readonly<{ scratchPath: string; scratchCapBytes: number; sizeBytes: number }>

/** Creates an empty scratch of the disk's size whose file may grow to its cap. */
export async function createScratch(scratch: Scratch, user: ProcessUser | undefined): Promise<void> {
  await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', scratch.scratchPath, String(scratch.sizeBytes)])
  await chmod(scratch.scratchPath, 0o600) // it holds what the guest overwrote
  await truncate(scratch.scratchPath, scratch.scratchCapBytes)
  if (user !== undefined) await chown(scratch.scratchPath, user.uid, user.gid)
}
