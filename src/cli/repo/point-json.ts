/** A recovery point as the command line shows it: a stable contract, apart from how the repository keeps it. */
import { formatBytes } from '#base'
import type { DiskRecord, PointRecord } from '#engine/repository'

/** @param lockedUntilMs until when the point is, or was, locked */
export function pointJson(point: PointRecord, lockedUntilMs?: number): Record<string, unknown> {
  const { schema, id, machine, machineUuid, takenAt, consistency, mode, parent, expiresAtMs, notes } = point
  const { consistencyReasons } = point
  return {
    schema,
    id,
    machine,
    ...(machineUuid === undefined ? {} : { machineUuid }),
    takenAt,
    consistency,
    ...(consistencyReasons === undefined ? {} : { consistencyReasons }),
    mode,
    ...(parent === undefined ? {} : { parent }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs, expiresAt: isoTime(expiresAtMs) }),
    ...(lockedUntilMs === undefined ? {} : { lockedUntil: isoTime(lockedUntilMs) }),
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

/** ISO 8601 in UTC of a given Unix time. */
export const isoTime = (unixMs: number): string => new globalThis.Date(unixMs).toISOString()

/** "2026-09-22 14:03:07" in UTC. */
export const timeText = (iso: string): string => iso.replace('T', ' ').replace(/(\.\d+)?Z$/, '')

export function sumOf(
  point: PointRecord,
  field: 'virtualSizeBytes' | 'usedBytes' | 'readBytes' | 'newBytes' | 'storedBytes',
): string {
  return formatBytes(point.disks.reduce((sum, disk) => sum + disk[field], 0))
}

/** "2026-12-22 14:03", in UTC; a dash when it never was locked. */
export const lockText = (untilMs: number | undefined): string =>
  untilMs === undefined ? '-' : timeText(isoTime(untilMs)).slice(0, 16)
