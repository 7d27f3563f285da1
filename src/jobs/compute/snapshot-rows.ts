/** Rows of snapshots as the jobs change them: finished, failed, or gone; and who still reads a source. */
import {
  type Catalog,
  type CatalogTransaction,
  type ChangeSource,
  deleteResource,
  findResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { sizeGb, type VersionRef } from '#domain'
import { DISK_TYPE, propertiesOf } from './disk-records.ts'
import type { TakenVersion } from './take-snapshots.ts'

export const SNAPSHOT_TYPE = 'Microsoft.Compute/snapshots'

type Fields = Readonly<Record<string, unknown>>

export function withProperties(record: ResourceRecord, added: Fields): Fields {
  return { ...record.body, properties: { ...propertiesOf(record), ...added } }
}

export type FinishedSnapshot = Readonly<{ id: string; region: string; version: TakenVersion; more?: Fields }>

/** The snapshot is durable without its source. */
export async function finishSnapshot(
  trx: CatalogTransaction,
  { id, region, version, more = {} }: FinishedSnapshot,
  source: ChangeSource,
): Promise<void> {
  const record = await findResource(trx, id)
  if (record === undefined) return
  const { copyCompletionError: _error, ...kept } = propertiesOf(record)
  const properties = {
    ...kept,
    timeCreated: version.takenAt,
    diskSizeBytes: version.sizeBytes,
    diskSizeGB: sizeGb(version.sizeBytes),
    completionPercent: 100,
    ...more,
  }
  const ref: VersionRef = { region, point: version.point, disk: version.diskId }
  const backing = { ...record.backing, version: ref, usedBytes: version.usedBytes }
  await updateResource(trx, id, { state: 'Succeeded', body: { ...record.body, properties }, backing }, source)
}

/** The snapshot will never be: the reason stays with it until it is deleted. */
export async function failSnapshot(
  trx: CatalogTransaction,
  id: string,
  reason: Readonly<{ errorCode: string; errorMessage: string }>,
  source: ChangeSource,
): Promise<void> {
  const record = await findResource(trx, id)
  if (record === undefined) return
  const body = withProperties(record, { completionPercent: 0, copyCompletionError: reason })
  await updateResource(trx, id, { state: 'Failed', body }, source)
}

/** A snapshot that nobody was told of. */
export async function dropSnapshot(trx: CatalogTransaction, id: string): Promise<void> {
  await deleteResource(trx, id)
}

/** Ids of the snapshots and disks that are still being made of a disk or snapshot: until they are done it stays. */
export async function unfinishedCopiesOf(from: Catalog | CatalogTransaction, sourceId: string): Promise<string[]> {
  const snapshots = await listResources(from, { type: SNAPSHOT_TYPE })
  const disks = await listResources(from, { type: DISK_TYPE })
  return [...snapshots, ...disks]
    .filter((row) => {
      const { creationData } = propertiesOf(row)
      const source = ((creationData ?? {}) as Fields)['sourceResourceId']
      return row.state === 'Creating' && typeof source === 'string' && source.toLowerCase() === sourceId.toLowerCase()
    })
    .map(({ id }) => id)
}
