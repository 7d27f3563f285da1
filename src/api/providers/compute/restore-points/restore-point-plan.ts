/**
 * From a request for a restore point to what is to be done for it: a row for each disk, what the point shows of the machine, and the
 * job with its input. Names are derived from the request alone, so that the same request asks for the same.
 */
import { createHash } from 'node:crypto'
import { isoTime, randomUuid } from '#base'
import { findResource, listResources, type ResourceRecord } from '#catalog'
import { ArmError, parseIdOfType, parseResourceId, sameId } from '#contract'
import type { SnapshotBacking } from '#domain'
import {
  COPY_RESTORE_POINT_JOB,
  type CopyRestorePointInput,
  CREATE_SNAPSHOTS_JOB,
  type CreateSnapshotsInput,
  DISK_TYPE,
  MACHINE_TYPE,
  propertiesOf,
  RESTORE_POINT_TYPE,
  sourcesOf,
} from '#jobs'
import type { ArmCall } from '../../../arm/call.ts'
import { fieldAt } from '../../../arm/field-table.ts'
import { disksOfMachine, type MachineDiskRow } from '../machine-disks.ts'
import { diskSource, familyId } from '../snapshot-sources.ts'
import { INSTANT_WAIT_MS } from '../snapshots.ts'

type Fields = Readonly<Record<string, unknown>>

const LEVELS = {
  crashconsistent: 'crash',
  filesystemconsistent: 'filesystem',
  applicationconsistent: 'application',
} as const
const EXCLUDE = 'properties.excludeDisks'
const FROM = 'properties.sourceRestorePoint.id'

export type DiskPointRow = Readonly<{ id: string; name: string; properties: Fields }>

export type PlannedPoint = Readonly<{
  properties: Fields
  disks: readonly DiskPointRow[]
  job: string
  input: CreateSnapshotsInput | CopyRestorePointInput
  waitsForInstant: boolean
  /** Must be there, and settled, when the rows are written. */
  sourceIds: readonly string[]
}>

function invalid(target: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target })
}

function diskPointName(pointId: string, diskName: string, diskId: string): string {
  const digest = createHash('sha256').update(`${pointId.toLowerCase()}\0${diskId}`).digest('hex').slice(0, 12)
  return `${diskName.slice(0, 60)}_${digest}`
}

function levelIn(body: unknown): CreateSnapshotsInput['consistency'] {
  const given = fieldAt(body, 'properties.consistencyMode')
  if (given === undefined) return 'application'
  const word = typeof given === 'string' ? given.toLowerCase() : ''
  return LEVELS[word as keyof typeof LEVELS] ?? 'application'
}

function excludedIn(body: unknown): Map<string, string> {
  const given = fieldAt(body, EXCLUDE) ?? []
  if (!Array.isArray(given)) throw invalid(EXCLUDE, 'excludeDisks must be a list.')
  return new Map(
    given.map((one: unknown, i) => {
      const { text, key } = parseIdOfType(fieldAt(one, 'id'), DISK_TYPE, `${EXCLUDE}[${i}].id`)
      return [key, text]
    }),
  )
}

/** Of a disk of the machine: what its restore point shows, however its bytes come there. */
function diskProperties(call: ArmCall, disk: ResourceRecord, location: string): Fields {
  const from = propertiesOf(disk)
  const kept = Object.fromEntries(
    ['osType', 'hyperVGeneration', 'diskSizeBytes', 'diskSizeGB'].flatMap((name) =>
      from[name] === undefined ? [] : [[name, from[name]]],
    ),
  )
  return {
    ...kept,
    sourceResourceId: disk.id,
    sourceUniqueId: from['uniqueId'],
    sourceResourceLocation: disk.location,
    familyId: familyId(String(from['uniqueId']), location),
    encryption: { type: 'EncryptionAtRestWithPlatformKey' },
    networkAccessPolicy: 'AllowAll',
    publicNetworkAccess: 'Enabled',
    replicationState: 'Succeeded',
    uniqueId: randomUuid(call.host.random),
    timeCreated: isoTime(call.host.clock.nowMs()),
    completionPercent: 0,
  }
}

const SHOWN_OF_MACHINE = ['vmId', 'hardwareProfile', 'diagnosticsProfile', 'licenseType', 'securityProfile'] as const
const SHOWN_OF_DISK = ['name', 'osType', 'lun', 'caching', 'diskSizeGB', 'managedDisk', 'writeAcceleratorEnabled']

/** The machine as it was, without what is secret. */
function metadataOf(
  machine: ResourceRecord,
  disks: readonly MachineDiskRow[],
  idOf: (disk: ResourceRecord) => string,
): Fields {
  const properties = propertiesOf(machine)
  const profile = ({ shown, record }: MachineDiskRow): Fields => ({
    ...Object.fromEntries(
      SHOWN_OF_DISK.flatMap((name) => {
        const value = fieldAt(shown, name)
        return value === undefined ? [] : [[name, value]]
      }),
    ),
    diskRestorePoint: { id: idOf(record) },
  })
  const os = disks.find(({ lun }) => lun === 'os')
  const { adminPassword: _password, customData: _data, ...osProfile } = (properties['osProfile'] ?? {}) as Fields
  const generation = os === undefined ? undefined : propertiesOf(os.record)['hyperVGeneration']
  return {
    location: machine.location,
    ...Object.fromEntries(
      SHOWN_OF_MACHINE.flatMap((name) => (properties[name] === undefined ? [] : [[name, properties[name]]])),
    ),
    ...(Object.keys(osProfile).length > 0 && { osProfile }),
    ...(generation !== undefined && { hyperVGeneration: generation }),
    storageProfile: {
      ...(os !== undefined && { osDisk: profile(os) }),
      dataDisks: disks.filter(({ lun }) => lun !== 'os').map(profile),
    },
  }
}

async function ofMachine(
  call: ArmCall,
  body: unknown,
  collection: ResourceRecord,
  machineId: string,
): Promise<PlannedPoint> {
  const { host, id } = call
  if (fieldAt(body, FROM) !== undefined)
    throw invalid(FROM, 'Points are copied into a collection whose source is another collection.')
  const machine = await findResource(host.catalog, machineId)
  if (machine === undefined) throw new ArmError('ResourceNotFound', `The machine '${machineId}' is not there any more.`)
  call.authorize(`${MACHINE_TYPE}/read`, machine.id)
  const location = collection.location ?? ''
  const excluded = excludedIn(body)
  const all = await disksOfMachine(call, machine)
  const foreign = [...excluded].find(([key]) => !all.some(({ record }) => record.key === key))
  if (foreign !== undefined) throw invalid(EXCLUDE, `'${foreign[1]}' is no disk of '${machine.name}'.`)
  const disks = all.filter(({ record }) => !excluded.has(record.key))
  if (disks.length === 0) throw invalid(EXCLUDE, 'No disk of the machine is left to keep.')
  for (const { record } of disks) call.authorize(`${DISK_TYPE}/beginGetAccess/action`, record.id)
  const sources = disks.map(({ record }) => diskSource(record, location))
  const rows = sources.map(({ record, uniqueId }): DiskPointRow => {
    const name = diskPointName(id, record.name, uniqueId)
    return { id: `${id}/diskRestorePoints/${name}`, name, properties: diskProperties(call, record, location) }
  })
  const idOf = (disk: ResourceRecord): string => rows[disks.findIndex(({ record }) => record === disk)]?.id ?? ''
  const input: CreateSnapshotsInput = {
    region: location,
    snapshots: rows.map((row, i) => ({ id: row.id, diskId: sources[i]?.uniqueId ?? '' })),
    sources: await sourcesOf(host.clock, sources),
    incremental: true,
    consistency: levelIn(body),
    strict: false,
    waitMs: INSTANT_WAIT_MS,
    restorePoint: id,
  }
  const properties = {
    ...(excluded.size > 0 && { excludeDisks: Array.from(excluded.values(), (one) => ({ id: one })) }),
    sourceMetadata: metadataOf(machine, disks, idOf),
  }
  const sourceIds = disks.map(({ record }) => record.id)
  return { properties, disks: rows, job: CREATE_SNAPSHOTS_JOB, input, waitsForInstant: true, sourceIds }
}

/** `value` with every id of a disk's restore point replaced by that of its copy. */
function withIds(value: unknown, copies: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(value)) return value.map((one) => withIds(one, copies))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => {
      const copy = name === 'id' && typeof one === 'string' ? copies.get(one.toLowerCase()) : undefined
      return [name, copy ?? withIds(one, copies)]
    }),
  )
}

async function ofPoint(
  call: ArmCall,
  body: unknown,
  collection: ResourceRecord,
  sourceId: string,
): Promise<PlannedPoint> {
  const { host, id } = call
  const given = fieldAt(body, FROM)
  if (given === undefined)
    throw invalid(FROM, 'sourceRestorePoint.id is required: the source of this collection is another collection.')
  if (fieldAt(body, EXCLUDE) !== undefined) throw invalid(EXCLUDE, 'A copy has all disks of its source.')
  const from = parseIdOfType(given, RESTORE_POINT_TYPE, FROM)
  if (!sameId(from.parent ?? '', sourceId))
    throw invalid(FROM, `'${from.text}' is no point of '${sourceId}', the source of this collection.`)
  call.authorize(`${RESTORE_POINT_TYPE}/read`, from.text)
  const point = await findResource(host.catalog, from.text)
  if (point?.state !== 'Succeeded')
    throw new ArmError('OperationNotAllowed', `The restore point '${from.text}' is not there, or not durable yet.`)
  const disks = await listResources(host.catalog, { parent: point.id })
  const location = collection.location ?? ''
  const rows = disks.map((disk): DiskPointRow => {
    const { sourceUniqueId, diskState: _state, ...properties } = propertiesOf(disk)
    const name = disk.name
    const family = familyId(String(sourceUniqueId), location)
    const own = { uniqueId: randomUuid(host.random), familyId: family, sourceResourceId: disk.id, completionPercent: 0 }
    return { id: `${id}/diskRestorePoints/${name}`, name, properties: { ...properties, sourceUniqueId, ...own } }
  })
  const input: CopyRestorePointInput = {
    id,
    region: location,
    disks: disks.flatMap(({ backing }, i) => {
      const { version } = backing as SnapshotBacking
      return version === undefined ? [] : [{ id: rows[i]?.id ?? '', version }]
    }),
  }
  const copies = new Map(disks.map(({ key }, i) => [key, rows[i]?.id ?? '']))
  const shown = propertiesOf(point)
  const properties = {
    ...Object.fromEntries(
      ['timeCreated', 'consistencyMode', 'excludeDisks'].flatMap((name) =>
        shown[name] === undefined ? [] : [[name, shown[name]]],
      ),
    ),
    sourceMetadata: withIds(shown['sourceMetadata'], copies),
    sourceRestorePoint: { id: point.id },
  }
  return { properties, disks: rows, job: COPY_RESTORE_POINT_JOB, input, waitsForInstant: false, sourceIds: [point.id] }
}

/** @param body checked against RESTORE_POINT_FIELDS @throws ArmError */
export function planRestorePoint(call: ArmCall, body: unknown, collection: ResourceRecord): Promise<PlannedPoint> {
  const source = String(fieldAt(propertiesOf(collection), 'source.id'))
  const { type = '' } = parseResourceId(source)
  return sameId(type, MACHINE_TYPE)
    ? ofMachine(call, body, collection, source)
    : ofPoint(call, body, collection, source)
}
