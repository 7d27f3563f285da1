/** Disks and snapshots as `az` prints them, and the disk whose bytes the tests know. */
import { MIB, SECTOR_BYTES } from '#base'
import type { SparseDisk } from '../rig/signed-vhd.ts'
import { sectorData } from '../rig/sector-data.ts'

export const DISKS = 'Microsoft.Compute/disks'
export const SNAPSHOTS = 'Microsoft.Compute/snapshots'

export type DiskView = Readonly<{
  id: string
  name: string
  location: string
  tags: Readonly<Record<string, string>> | null
  sku: Readonly<{ name: string }>
  diskSizeGB: number
  diskSizeBytes: number
  diskState: string
  provisioningState: string
  osType: string | null
  uniqueId: string
  timeCreated: string
  creationData: Readonly<{ createOption: string; sourceResourceId?: string; sourceUniqueId?: string }>
}>
export type SnapshotView = DiskView &
  Readonly<{ incremental: boolean; completionPercent: number | null; incrementalSnapshotFamilyId?: string | null }>

const SIZE_BYTES = 64 * MIB
const piece = (offset: number, length: number, version: number) => ({
  offset,
  data: sectorData(1, offset / SECTOR_BYTES, length / SECTOR_BYTES, version),
})

/** Data at the begin, in the middle and in the last sectors. Small: it is downloaded often. */
export const KNOWN_DISK: SparseDisk = {
  sizeBytes: SIZE_BYTES,
  pieces: [piece(0, 5 * MIB, 1), piece(30 * MIB + SECTOR_BYTES, MIB, 1), piece(SIZE_BYTES - MIB, MIB, 1)],
}

/** az prints it in capitals or not, by its version. */
export function signedUrl(granted: Readonly<{ accessSAS?: string; accessSas?: string }>): string {
  const url = granted.accessSAS ?? granted.accessSas
  if (url?.startsWith('https://') === true) return url
  throw new Error(`No signed URL was given: ${JSON.stringify(granted)}`)
}
