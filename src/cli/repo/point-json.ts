/** A recovery point as the command line shows it: a stable contract, apart from how the repository keeps it. */
import { formatBytes } from '#base'
import type { DiskRecord, PointRecord } from '#engine/repository'

export function pointJson(point: PointRecord): Record<string, unknown> {
  const { schema, id, machine, machineUuid, takenAt, consistency, mode, parent, expiresAtMs, notes } = point
  return {
    schema,
    id,
    machine,
    ...(machineUuid === undefined ? {} : { machineUuid }),
    takenAt,
    consistency,
    mode,
    ...(parent === undefined ? {} : { parent }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    ...(notes.length === 0 ? {} : { notes }),
    disks: point.disks.map(diskJson),
  }
}

function diskJson(disk: DiskRecord): Record<string, unknown> {
  const { id, lun, format, mode, reason, virtualSizeBytes, usedBytes, readBytes, newBytes, storedBytes } = disk
  return {
    id,
    lun,
    format,
    mode,
    ...(reason === undefined ? {} : { reason }),
    virtualSizeBytes,
    usedBytes,
    readBytes,
    newBytes,
    storedBytes,
  }
}

/** As `list` shows points: short ids are enough, since any unique prefix is accepted. */
export const shortId = (point: PointRecord): string => point.id.slice(0, 12)

/** "2026-09-22 14:03:07" in UTC. */
export const timeText = (iso: string): string => iso.replace('T', ' ').replace(/(\.\d+)?Z$/, '')

export function sumOf(
  point: PointRecord,
  field: 'virtualSizeBytes' | 'usedBytes' | 'readBytes' | 'newBytes' | 'storedBytes',
): string {
  return formatBytes(point.disks.reduce((sum, disk) => sum + disk[field], 0))
}
