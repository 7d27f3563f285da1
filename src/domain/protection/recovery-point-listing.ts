/**
 * What a repository says about one of its recovery points, as a plain record; and how the catalog's cache of it is brought
 * into agreement. The repository is the truth, the catalog a cache: a lost catalog is refilled from listings alone.
 */

export type PointConsistency = 'crash' | 'filesystem' | 'application'

export type ListedDisk = Readonly<{
  /** UUID, kept for the disk's life. */
  diskId: string
  lun: number
  virtualBytes: number
  usedBytes: number
  mode: 'full' | 'incremental' | 'scan'
}>

export type ListedPoint = Readonly<{
  repositoryId: string
  pointId: string
  /** SMBIOS UUID of the machine. */
  machineId: string
  machineName: string
  /** Hypervisor's clock, ms since the epoch; what policies read. */
  takenAtMs: number
  /** Position in the repository's log; what order is taken from, never the clock. */
  sequence: number
  consistency: PointConsistency
  /** ms since the epoch; null when it has none. */
  expiresAtMs: number | null
  legalHold: boolean
  disks: readonly ListedDisk[]
}>

export type RefillPlan = Readonly<{
  /** Points to write, new or changed, in log order. */
  put: readonly ListedPoint[]
  /** Ids of points that the catalog knows and the repository does not. */
  drop: readonly string[]
}>

function sameDisks(a: readonly ListedDisk[], b: readonly ListedDisk[]): boolean {
  return (
    a.length === b.length &&
    a.every((disk, index) => {
      const other = b[index]
      return (
        other !== undefined &&
        disk.diskId === other.diskId &&
        disk.lun === other.lun &&
        disk.virtualBytes === other.virtualBytes &&
        disk.usedBytes === other.usedBytes &&
        disk.mode === other.mode
      )
    })
  )
}

function samePoint(a: ListedPoint, b: ListedPoint): boolean {
  return (
    a.machineId === b.machineId &&
    a.machineName === b.machineName &&
    a.takenAtMs === b.takenAtMs &&
    a.sequence === b.sequence &&
    a.consistency === b.consistency &&
    a.expiresAtMs === b.expiresAtMs &&
    a.legalHold === b.legalHold &&
    sameDisks(a.disks, b.disks)
  )
}

/** The smallest change that makes `known` say what `listed` says; both of one repository. */
export function planRefill(known: readonly ListedPoint[], listed: readonly ListedPoint[]): RefillPlan {
  const before = new Map(known.map((point) => [point.pointId, point]))
  const after = new Set(listed.map((point) => point.pointId))
  const put = listed.filter((point) => {
    const old = before.get(point.pointId)
    return old === undefined || !samePoint(old, point)
  })
  return {
    put: put.toSorted((a, b) => a.sequence - b.sequence),
    drop: known.filter((point) => !after.has(point.pointId)).map((point) => point.pointId),
  }
}
