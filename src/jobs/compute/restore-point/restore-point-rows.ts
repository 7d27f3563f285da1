/**
 * Rows of restore points as the jobs change them. A collection holds points, a point holds one row for each of its disks, which
 * names the version in the region's repository:
 *
 *   restorePointCollections/{c}  >  restorePoints/{p}  >  diskRestorePoints/{d}
 *
 * A point and its disks succeed, fail and go together.
 */
import { isoTime } from '#base'
import {
  type Catalog,
  type CatalogTransaction,
  type ChangeSource,
  deleteResource,
  findResource,
  listResources,
  updateResource,
} from '#catalog'
import type { ConsistencyLevel } from '#engine/hypervisor'
import { DISK_TYPE, propertiesOf } from '../disk-records.ts'

export const COLLECTION_TYPE = 'Microsoft.Compute/restorePointCollections'
export const RESTORE_POINT_TYPE = `${COLLECTION_TYPE}/restorePoints`
export const DISK_RESTORE_POINT_TYPE = `${RESTORE_POINT_TYPE}/diskRestorePoints`

type Fields = Readonly<Record<string, unknown>>

const MODE_OF: Readonly<Record<ConsistencyLevel, string>> = {
  crash: 'CrashConsistent',
  filesystem: 'FileSystemConsistent',
  application: 'ApplicationConsistent',
}

/** As Azure names it. */
export function consistencyMode(level: ConsistencyLevel): string {
  return MODE_OF[level]
}

/** The point's own row: all of its disks are durable. `facts` are known of one that was taken, not of a copy. */
export async function finishRestorePoint(
  trx: CatalogTransaction,
  id: string,
  facts: Readonly<{ takenAtMs: number; consistency: ConsistencyLevel }> | undefined,
  source: ChangeSource,
): Promise<void> {
  const record = await findResource(trx, id)
  if (record === undefined) return
  const known =
    facts === undefined
      ? {}
      : { timeCreated: isoTime(facts.takenAtMs), consistencyMode: consistencyMode(facts.consistency) }
  const body = { ...record.body, properties: { ...propertiesOf(record), ...known } }
  await updateResource(trx, id, { state: 'Succeeded', body }, source)
}

/** The point will never be; its reason stands in its disks' rows and its own. */
export async function failRestorePoint(
  trx: CatalogTransaction,
  id: string,
  reason: Readonly<{ errorCode: string; errorMessage: string }>,
  source: ChangeSource,
): Promise<void> {
  const record = await findResource(trx, id)
  if (record === undefined) return
  const backing = { ...record.backing, failure: reason }
  await updateResource(trx, id, { state: 'Failed', backing }, source)
}

/** A point that nobody was told of, with its disks. */
export async function dropRestorePoint(trx: CatalogTransaction, id: string): Promise<void> {
  await deleteResource(trx, id)
}

function sourceIn(properties: Fields, field: string, name: string): string | undefined {
  const holder = (properties[field] ?? {}) as Fields
  const id = holder[name]
  return typeof id === 'string' ? id.toLowerCase() : undefined
}

/** Ids of disks and points that are still being made of this point or its disks: until they are done it stays. */
export async function unfinishedOf(from: Catalog | CatalogTransaction, pointId: string): Promise<string[]> {
  const key = pointId.toLowerCase()
  const disks = await listResources(from, { type: DISK_TYPE })
  const points = await listResources(from, { type: RESTORE_POINT_TYPE })
  const made = disks.filter(
    (disk) =>
      disk.state === 'Creating' &&
      sourceIn(propertiesOf(disk), 'creationData', 'sourceResourceId')?.startsWith(`${key}/`) === true,
  )
  const copied = points.filter(
    (point) => point.state === 'Creating' && sourceIn(propertiesOf(point), 'sourceRestorePoint', 'id') === key,
  )
  return [...made, ...copied].map(({ id }) => id)
}
