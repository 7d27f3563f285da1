/**
 * What a machine's next incremental may build on: for each disk its own newest version that began a generation. Disks need
 * not be in the same points (one was left out, added later, restored alone), so each has a version of its own.
 *
 * A generation is one disk's: an image that holds its bitmap holds that version and every write since, whatever path, LUN
 * or host it has now. An image in another disk's place, an old copy, or one that was made anew does not, and is scanned.
 */
import type { DiskRecord, PointRecord } from '#engine/repository'

export type LandedVersion = Readonly<{ point: PointRecord; disk: DiskRecord; order: number }>

/** By disk id. @param points in the log's order */
export function landedVersions(points: readonly PointRecord[], machine: string): ReadonlyMap<string, LandedVersion> {
  const versions = new Map<string, LandedVersion>()
  for (const [order, point] of points.entries()) {
    if (point.machine !== machine) continue
    for (const disk of point.disks) if (isItsOwn(point, disk)) versions.set(disk.id, { point, disk, order })
  }
  return versions
}

/** Points of before 2026-11-22 gave one generation to all disks of an instant: it does not tell them apart. */
function isItsOwn(point: PointRecord, { generation }: DiskRecord): boolean {
  return generation !== undefined && point.disks.filter((other) => other.generation === generation).length === 1
}

/** The newest of the points that these versions are in. */
export function newestPoint(versions: readonly LandedVersion[]): PointRecord | undefined {
  return versions.toSorted((a, b) => a.order - b.order).at(-1)?.point
}
