/** The record of a disk as jobs read and change it. */
import {
  type Catalog,
  type CatalogTransaction,
  type ChangeSource,
  findResource,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { type DiskBacking, type DiskState, sizeGb } from '#domain'
import { JobsError } from '../errors.ts'

export const DISK_TYPE = 'Microsoft.Compute/disks'

export type DiskProperties = Readonly<Record<string, unknown>>

export function propertiesOf(record: Pick<ResourceRecord, 'body'>): DiskProperties {
  return (record.body['properties'] ?? {}) as DiskProperties
}

export function backingOf(record: Pick<ResourceRecord, 'backing'>): DiskBacking {
  return record.backing as unknown as DiskBacking
}

export function diskStateOf(record: Pick<ResourceRecord, 'body'>): DiskState {
  return (propertiesOf(record)['diskState'] ?? 'Unattached') as DiskState
}

/** The size that the disk has, in bytes; 0 while it is not known. */
export function sizeBytesOf(record: Pick<ResourceRecord, 'body'>): number {
  const { diskSizeBytes } = propertiesOf(record)
  return typeof diskSizeBytes === 'number' ? diskSizeBytes : 0
}

/** @throws JobsError `disk_not_there` */
export async function findDisk(from: Catalog | CatalogTransaction, id: string): Promise<ResourceRecord> {
  const record = await findResource(from, id)
  if (record !== undefined) return record
  throw new JobsError('disk_not_there', `There is no disk ${id}.`, { facts: { id } })
}

export type DiskChange = Readonly<{
  state?: string
  /** Merged into the properties; undefined takes a property away. */
  properties?: Readonly<Record<string, unknown>>
  backing?: Readonly<Record<string, unknown>>
}>

function merged(
  before: Readonly<Record<string, unknown>>,
  change: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value !== undefined))
}

/** Changes what is given and keeps the rest; nothing when the disk is gone. */
export async function changeDisk(
  trx: CatalogTransaction,
  id: string,
  change: DiskChange,
  source: ChangeSource,
): Promise<void> {
  const record = await findResource(trx, id)
  if (record === undefined) return
  const { state, properties, backing } = change
  await updateResource(
    trx,
    id,
    {
      ...(state !== undefined && { state }),
      ...(properties !== undefined && {
        body: { ...record.body, properties: merged(propertiesOf(record), properties) },
      }),
      ...(backing !== undefined && { backing: merged(record.backing, backing) }),
    },
    source,
  )
}

export function sizeProperties(sizeBytes: number): Readonly<Record<string, unknown>> {
  return { diskSizeBytes: sizeBytes, diskSizeGB: sizeGb(sizeBytes) }
}
