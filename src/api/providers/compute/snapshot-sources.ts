/** Where the bytes of a snapshot come from: a disk as it can be read now, or a snapshot that is there. */
import { createHash } from 'node:crypto'
import { findResource, findSetting, listResources, type ResourceRecord } from '#catalog'
import { ArmError, type ResourceId } from '#contract'
import { type DiskBacking, limitReached, SNAPSHOT_LIMITS, type SnapshotLimits } from '#domain'
import { backingOf, propertiesOf, SNAPSHOT_TYPE } from '#jobs'
import type { ArmCall, ArmHost } from '../../arm/call.ts'
import { refused } from './snapshot-request.ts'

type Fields = Readonly<Record<string, unknown>>

export function textIn(fields: Fields, name: string): string | undefined {
  const value = fields[name]
  return typeof value === 'string' ? value : undefined
}

/** The row behind an id in a body, which the caller may read the bytes of. @throws ArmError */
export async function findSource(call: ArmCall, id: ResourceId): Promise<ResourceRecord> {
  call.authorize(`${id.type ?? ''}/beginGetAccess/action`, id.text)
  const record = await findResource(call.host.catalog, id.text)
  if (record !== undefined) return record
  throw new ArmError('ResourceNotFound', `The Resource '${id.type ?? ''}/${id.name}' was not found.`, {
    target: 'properties.creationData.sourceResourceId',
  })
}

/** What a disk is, as far as a snapshot of it is concerned. */
export type DiskSource = Readonly<{ record: ResourceRecord; uniqueId: string; backing: DiskBacking }>

/** @throws ArmError when the disk has no bytes that stand still, or is in another region */
export function diskSource(record: ResourceRecord, location: string): DiskSource {
  const properties = propertiesOf(record)
  const uniqueId = textIn(properties, 'uniqueId')
  const state = textIn(properties, 'diskState') ?? 'Unattached'
  const { file } = record.backing as Partial<DiskBacking>
  const isEmpty = state === 'ReadyToUpload' || state === 'ActiveUpload'
  if (record.state !== 'Succeeded' || isEmpty || uniqueId === undefined || file === undefined)
    throw new ArmError(
      'OperationNotAllowed',
      `The disk '${record.id}' is ${isEmpty ? state : record.state}: there is nothing to take a snapshot of.`,
    )
  if (record.location !== location)
    throw new ArmError(
      'InvalidParameter',
      `A snapshot is taken in the region of its disk (${record.location ?? ''}); copy it to ${location} afterwards.`,
      { target: 'location' },
    )
  return { record, uniqueId, backing: backingOf(record) }
}

/** The one host that has the disks. @throws ArmError when they lie on several: there is no instant across hosts */
export function hostOfDisks(disks: readonly DiskSource[]): Readonly<{ host?: string }> {
  const [first, ...others] = disks.map(({ backing }) => backing.host)
  if (others.some((host) => host !== first))
    throw new ArmError('InvalidParameter', 'The disks lie on several hosts; one instant is of the disks of one host.')
  return first === undefined ? {} : { host: first }
}

/** One for the incremental snapshots of a disk in a region, wherever they are copied from. A UUID of version 8. */
export function familyId(diskUniqueId: string, location: string): string {
  const hex = createHash('sha256').update(`holdfast family\0${diskUniqueId}\0${location}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** The settings `snapshot-limits` (`generous` or `azure`) and `snapshots-per-disk` choose. */
async function limitsOf({ catalog }: ArmHost): Promise<SnapshotLimits> {
  const chosen = await findSetting(catalog, 'snapshot-limits')
  const limits = SNAPSHOT_LIMITS[chosen === 'azure' ? 'azure' : 'generous']
  const perDisk = Number(await findSetting(catalog, 'snapshots-per-disk'))
  return Number.isSafeInteger(perDisk) && perDisk > 0 ? { ...limits, perDiskMax: perDisk } : limits
}

/** @throws ArmError `OperationNotAllowed` */
export async function checkLimits(host: ArmHost, { uniqueId, record }: DiskSource): Promise<void> {
  const rows = (await listResources(host.catalog, { type: SNAPSHOT_TYPE })).filter((row) => {
    const { creationData } = propertiesOf(row)
    return textIn((creationData ?? {}) as Fields, 'sourceUniqueId') === uniqueId && row.location === record.location
  })
  const incremental = rows.filter((row) => propertiesOf(row)['incremental'] === true).length
  const begun = rows.map(({ createdMs }) => createdMs)
  const refusal = limitReached(await limitsOf(host), incremental, begun, host.clock.nowMs())
  if (refusal !== undefined) throw refused(refusal)
}
