/**
 * What a backup will read of a disk, and over what it lays it: for an incremental what changed since its parent, else what
 * the source says is allocated. Reads manifests and extents; writes nothing.
 */
import { type ByteRange, openSource } from '#engine/block'
import { type DiskMode, type Repository, type ResolvedVersion, resolveVersion } from '#engine/repository'
import type { BackupDisk, BackupInput } from './backup.ts'
import { type DeltaLimits, type DeltaPlan, planDelta } from './delta-plan.ts'
import { NodeCache } from './node-cache.ts'
import { readOverBase } from './over-base.ts'
import { incrementalRanges } from './segment-plan.ts'

export type PlannedDisk = Readonly<{
  disk: BackupDisk
  ranges: readonly ByteRange[]
  mode: DiskMode
  chunkSizeBytes: number
  nodes: NodeCache
  parent: ResolvedVersion
  delta: DeltaPlan
}>

const NO_PARENT: ResolvedVersion = { tree: null, extents: [], nodes: [], extentsKept: 0, bytesKept: 0 }
const NO_DELTA: DeltaPlan = { fold: new Set(), node: 'none' }

export async function planDisk(
  repository: Repository,
  input: BackupInput,
  disk: BackupDisk,
  limits: DeltaLimits,
): Promise<PlannedDisk> {
  const nodes = new NodeCache(await repository.chunkReader())
  if (disk.changes.kind === 'since') {
    const { parent, dirty } = disk.changes
    const { chunkSizeBytes } = parent
    const ranges = incrementalRanges(dirty, {
      sizeBytes: disk.sizeBytes,
      parentSizeBytes: parent.virtualSizeBytes,
      chunkSizeBytes,
    })
    const resolved = await resolveVersion(nodes.read, parent.root)
    const hasGrown = disk.sizeBytes > parent.virtualSizeBytes
    const delta = planDelta({ dirty: ranges, chunkSizeBytes, hasGrown, chain: resolved, limits })
    return { disk, ranges, mode: 'incremental', chunkSizeBytes, nodes, parent: resolved, delta }
  }
  const source = 'opened' in disk.source ? disk.source.opened : await openSource(disk.source)
  try {
    const extents = await source.extents(0, disk.sizeBytes)
    const data = extents.filter(({ kind }) => kind === 'data').map(({ offset, length }) => ({ offset, length }))
    const { base } = disk
    const isAlone = base === undefined || 'opened' in disk.source
    const ranges = isAlone ? data : await readOverBase(disk.source, data, base, disk.sizeBytes)
    const mode: DiskMode = disk.changes.reason === 'first_backup' ? 'full' : 'scan'
    const known = repository.points().flatMap((point) => (point.machine === input.machine ? point.disks : []))
    const before = known.findLast((other) => other.id === disk.id)
    const chunkSizeBytes = before?.chunkSizeBytes ?? input.chunkSizeBytes ?? repository.config.chunkSizeBytes
    return { disk, ranges, mode, chunkSizeBytes, nodes, parent: NO_PARENT, delta: NO_DELTA }
  } finally {
    if (!('opened' in disk.source)) await source.close()
  }
}
