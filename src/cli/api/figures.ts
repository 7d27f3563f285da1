/** What `advise` reasons from, out of what the API tells of disks, snapshots and their use. Pure. */
import type { DiskFigures, KnownSnapshot } from '#domain'
import type { DiskJson, SnapshotJson, UsageJson } from './resource-json.ts'
import { nameOf } from './targets.ts'

/** A copy of a copy of a copy is followed so far. */
const COPIES_MAX = 32

type Snapshots = ReadonlyMap<string, SnapshotJson>

/** The snapshot that a copy goes back to, itself where it is none or where what it was copied from is gone. */
function originOf(snapshot: SnapshotJson, all: Snapshots): SnapshotJson {
  let origin = snapshot
  for (let i = 0; i < COPIES_MAX; i += 1) {
    const before = all.get(origin.properties.creationData?.sourceResourceId?.toLowerCase() ?? '')
    if (before === undefined) return origin
    origin = before
  }
  return origin
}

function known(snapshot: SnapshotJson, origin: SnapshotJson, usage: UsageJson | undefined): KnownSnapshot | undefined {
  const takenMs = globalThis.Date.parse(origin.properties.timeCreated ?? '')
  const { location, properties } = snapshot
  // One that is still being made protects from nothing yet.
  if (!Number.isFinite(takenMs) || location === undefined || properties.provisioningState !== 'Succeeded')
    return undefined
  return {
    takenMs,
    region: location,
    isIncremental: properties.incremental === true,
    group: origin.properties.consistencyGroup ?? origin.tags?.['consistencyGroup'],
    ownBytes: usage?.properties.ownBytes,
  }
}

export function figuresOf(
  disks: readonly DiskJson[],
  snapshots: readonly SnapshotJson[],
  usage: readonly UsageJson[],
): DiskFigures[] {
  const all: Snapshots = new Map(snapshots.map((one) => [one.id.toLowerCase(), one]))
  const uses = new Map(usage.map((one) => [one.id.toLowerCase(), one]))
  const ofDisk = new Map<string, KnownSnapshot[]>()
  for (const snapshot of snapshots) {
    const origin = originOf(snapshot, all)
    const one = known(snapshot, origin, uses.get(snapshot.id.toLowerCase()))
    const disk = origin.properties.creationData?.sourceResourceId?.toLowerCase()
    if (one !== undefined && disk !== undefined) ofDisk.set(disk, [...(ofDisk.get(disk) ?? []), one])
  }
  return disks.map(({ id, name, location = '', managedBy, properties }) => ({
    id,
    name,
    region: location,
    machine: managedBy === undefined ? undefined : nameOf(managedBy),
    sizeBytes: properties.diskSizeBytes ?? 0,
    usedBytes: uses.get(id.toLowerCase())?.properties.usedBytes,
    snapshots: ofDisk.get(id.toLowerCase()) ?? [],
  }))
}
