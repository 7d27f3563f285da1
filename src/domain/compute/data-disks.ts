/** What a new list of data disks means for the one before: pure. A disk is known by its id; an entry without one is to be made. */
import { isRefusal, type Refusal } from './disk.ts'

/** Azure's largest sizes take 64; every size does here. */
export const DATA_DISKS_MAX = 64

export type DataDiskEntry = Readonly<{ lun: number; id?: string | undefined; toBeDetached?: boolean }>

export type DataDiskPlan<Entry extends DataDiskEntry> = Readonly<{
  /** With an id: attach that one; without: make one. */
  added: readonly Entry[]
  /** Luns. */
  removed: readonly number[]
  kept: readonly Entry[]
}>

function fault(entries: readonly DataDiskEntry[]): Refusal | undefined {
  const target = 'properties.storageProfile.dataDisks'
  const bad = entries.find(({ lun }) => !Number.isInteger(lun) || lun < 0 || lun >= DATA_DISKS_MAX)
  if (bad !== undefined) return { target, message: `A lun is a whole number from 0 to ${DATA_DISKS_MAX - 1}.` }
  const luns = entries.map(({ lun }) => lun)
  const twice = luns.find((lun, at) => luns.indexOf(lun) !== at)
  if (twice !== undefined) return { target, message: `Two data disks have the lun ${twice}.` }
  const ids = entries.flatMap(({ id }) => (id === undefined ? [] : [id.toLowerCase()]))
  const again = ids.find((id, at) => ids.indexOf(id) !== at)
  return again === undefined ? undefined : { target, message: `The disk '${again}' stands in the list twice.` }
}

/** A disk that only changes its lun is taken away and attached anew. */
export function planDataDisks<Entry extends DataDiskEntry>(
  before: readonly Readonly<{ lun: number; id: string }>[],
  wanted: readonly Entry[],
): DataDiskPlan<Entry> | Refusal {
  const after = wanted.filter(({ toBeDetached }) => toBeDetached !== true)
  const wrong = fault(after)
  if (isRefusal(wrong)) return wrong
  const at = new Map(before.map(({ lun, id }) => [lun, id.toLowerCase()]))
  const stays = (entry: DataDiskEntry): boolean => {
    const known = at.get(entry.lun)
    // An entry that names no disk, at a lun that has one, means that one: clients echo what they know.
    return known !== undefined && (entry.id === undefined || entry.id.toLowerCase() === known)
  }
  const kept = after.filter(stays)
  const keptLuns = new Set(kept.map(({ lun }) => lun))
  return {
    kept,
    added: after.filter((entry) => !stays(entry)),
    removed: before.map(({ lun }) => lun).filter((lun) => !keptLuns.has(lun)),
  }
}

/** The first lun that none of them has; undefined when all are taken. */
export function freeLun(taken: readonly number[]): number | undefined {
  for (let lun = 0; lun < DATA_DISKS_MAX; lun += 1) if (!taken.includes(lun)) return lun
  return undefined
}
