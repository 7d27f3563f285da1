/** From a checked request to what is to be done for it: the row, and the job with its input. */
import { isoTime, randomUuid } from '#base'
import type { ResourceRecord } from '#catalog'
import { ArmError, groupId } from '#contract'
import { type SnapshotBacking, whyNotCopy } from '#domain'
import {
  COPY_SNAPSHOT_JOB,
  type CopyLinkedSnapshotInput,
  type CopySnapshotInput,
  CREATE_SNAPSHOTS_JOB,
  type CreateSnapshotsInput,
  propertiesOf,
  sourcesOf,
} from '#jobs'
import type { ArmCall, ArmHost } from '../../arm/call.ts'
import { ofLinkedSnapshot } from './linked-snapshots.ts'
import { refused, type SnapshotRequest } from './snapshot-request.ts'
import { checkLimits, type DiskSource, diskSource, familyId, findSource, hostOfDisks } from './snapshot-sources.ts'

type Fields = Readonly<Record<string, unknown>>

/** A snapshot that is to be made. */
export type PlannedSnapshot = Readonly<{
  id: string
  name: string
  group: string
  location: string
  tags: Readonly<Record<string, string>>
  body: Fields
  /** Must be there, and still, when the row is written; undefined: it is a linked server's. */
  sourceId: string | undefined
  job: string
  input: CreateSnapshotsInput | CopySnapshotInput | CopyLinkedSnapshotInput
  waitsForInstant: boolean
}>

type Row = Readonly<{
  request: Pick<SnapshotRequest, 'createOption' | 'sku' | 'stored'>
  source: Pick<ResourceRecord, 'id' | 'body'>
  /** Identity of the disk whose bytes it shows. */
  diskId: string
  isIncremental: boolean
  location: string
}>

export function rowBody({ clock, random }: ArmHost, row: Row): Fields {
  const { request, source, diskId, isIncremental, location } = row
  const from = propertiesOf(source)
  const sku = request.sku ?? 'Standard_LRS'
  const inherited = Object.fromEntries(
    ['osType', 'hyperVGeneration', 'diskSizeGB', 'diskSizeBytes'].flatMap((name) =>
      from[name] === undefined ? [] : [[name, from[name]]],
    ),
  )
  return {
    sku: { name: sku, tier: sku.startsWith('Premium') ? 'Premium' : 'Standard' },
    properties: {
      networkAccessPolicy: 'AllowAll',
      publicNetworkAccess: 'Enabled',
      ...inherited,
      ...request.stored,
      creationData: {
        createOption: request.createOption ?? 'Copy',
        sourceResourceId: source.id,
        sourceUniqueId: diskId,
      },
      incremental: isIncremental,
      ...(isIncremental && { incrementalSnapshotFamilyId: familyId(diskId, location) }),
      encryption: { type: 'EncryptionAtRestWithPlatformKey' },
      diskState: 'Unattached',
      uniqueId: randomUuid(random),
      timeCreated: isoTime(clock.nowMs()),
      completionPercent: 0,
    },
  }
}

function needsSource(): ArmError {
  return new ArmError('InvalidParameter', 'creationData needs createOption and sourceResourceId.', {
    target: 'properties.creationData',
  })
}

async function ofDisk(call: ArmCall, request: SnapshotRequest, disk: DiskSource, waitMs: number) {
  const { host } = call
  if (request.createOption === 'CopyStart')
    throw new ArmError('InvalidParameter', 'CopyStart copies a snapshot; a disk’s snapshot is taken with Copy.', {
      target: 'properties.creationData.createOption',
    })
  await checkLimits(host, disk)
  const input: CreateSnapshotsInput = {
    region: request.location,
    ...hostOfDisks([disk]),
    snapshots: [{ id: call.id, diskId: disk.uniqueId }],
    sources: await sourcesOf(host.clock, [disk]),
    incremental: request.isIncremental === true,
    consistency: 'crash',
    strict: false,
    waitMs,
  }
  return { job: CREATE_SNAPSHOTS_JOB, input, diskId: disk.uniqueId, waitsForInstant: true }
}

function ofSnapshot(call: ArmCall, request: SnapshotRequest, source: ResourceRecord) {
  const isIncremental = request.isIncremental === true
  const refusal = whyNotCopy(
    {
      location: source.location ?? '',
      isIncremental: propertiesOf(source)['incremental'] === true,
      state: source.state,
    },
    { location: request.location, isIncremental, createOption: request.createOption ?? 'Copy' },
  )
  if (refusal !== undefined) throw refused(refusal)
  const { version } = source.backing as SnapshotBacking
  if (version === undefined)
    throw new ArmError('OperationNotAllowed', `The snapshot '${source.id}' has no bytes of its own.`)
  const input: CopySnapshotInput = { id: call.id, region: request.location, version, incremental: isIncremental }
  return { job: COPY_SNAPSHOT_JOB, input, diskId: version.disk, waitsForInstant: false }
}

/** @param waitMs how long the instant may wait for another one on the same machine @throws ArmError */
export async function planSnapshot(call: ArmCall, request: SnapshotRequest, waitMs: number): Promise<PlannedSnapshot> {
  if (request.source === undefined || request.createOption === undefined) throw needsSource()
  const owner = await call.host.links.ownerOf(request.source.subscription ?? '')
  if (owner !== undefined) {
    const { diskId, source, ...rest } = await ofLinkedSnapshot(call, request, request.source, owner)
    return planned(call, request, { ...rest, waitsForInstant: false }, { diskId, source, sourceId: undefined })
  }
  const source = await findSource(call, request.source)
  const isDisk = source.type.toLowerCase() === 'microsoft.compute/disks'
  const work = isDisk
    ? await ofDisk(call, request, diskSource(source, request.location), waitMs)
    : ofSnapshot(call, request, source)
  const { diskId, ...rest } = work
  return planned(call, request, rest, { diskId, source, sourceId: source.id })
}

function planned(
  call: ArmCall,
  request: SnapshotRequest,
  work: Pick<PlannedSnapshot, 'job' | 'input' | 'waitsForInstant'>,
  { diskId, source, sourceId }: Pick<Row, 'diskId' | 'source'> & Pick<PlannedSnapshot, 'sourceId'>,
): PlannedSnapshot {
  const { location, tags } = request
  const isIncremental = request.isIncremental === true
  return {
    ...work,
    id: call.id,
    name: call.param('name'),
    group: groupId(call.host.subscriptionId, call.param('group')),
    location,
    tags,
    body: rowBody(call.host, { request, source, diskId, isIncremental, location }),
    sourceId,
  }
}
