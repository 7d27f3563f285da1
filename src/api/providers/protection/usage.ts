/**
 * What resources use, are alone in using, and would free: a disk costs what is written to it, not what it could hold.
 *
 *   GET  .../providers/Holdfast.Protection/usage                                  of the subscription, or of a group
 *   POST .../providers/Holdfast.Protection/locations/{location}/measureUsage      measures a region anew
 *   POST .../providers/Holdfast.Protection/locations/{location}/prune             frees what nothing needs any more
 *
 * `usedBytes` of a snapshot is known from its making; `ownBytes` and `freedBytes` are of the last measurement, whose time
 * stands beside them, and are left out before the first. `billedGiB` is what it used, rounded up.
 */
import { GIB, isoTime } from '#base'
import type { ResourceRecord } from '#catalog'
import { normalizeLocation, pageOf } from '#contract'
import type { ImageBacking } from '#domain'
import {
  DISK_RESTORE_POINT_TYPE,
  IMAGE_TYPE,
  MEASURE_USAGE_JOB,
  type MeasuredShare,
  type MeasuredUsage,
  propertiesOf,
  PRUNE_REGIONS_JOB,
  RESOURCE_QUEUE,
  type ResourceUsage,
  SNAPSHOT_TYPE,
} from '#jobs'
import { type ArmCall, type ArmHost, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { beginOnce, operationRoutes } from '../../arm/operations.ts'
import { checkRegion, readableRecords } from '../../arm/records.ts'

const NAMESPACE = 'Holdfast.Protection'
const TYPES = [SNAPSHOT_TYPE, 'Microsoft.Compute/disks', IMAGE_TYPE, DISK_RESTORE_POINT_TYPE]
const SHARES_MAX = 1000

type Measured = Readonly<{ usage: ResourceUsage; measuredMs: number }>

/** By id in lower case, of the newest measurement of the region. */
async function measuredIn({ jobs }: ArmHost, region: string): Promise<Map<string, Measured>> {
  const found = await jobs.list({ name: MEASURE_USAGE_JOB, key: region, status: ['succeeded'], limit: 1 })
  const [newest] = found
  if (newest === undefined) return new Map()
  const { measuredMs } = newest.output as MeasuredUsage
  const shares = await jobs.list({ parent: newest.id, status: ['succeeded'], limit: SHARES_MAX })
  const all = shares.flatMap(({ output }) => (output as MeasuredShare).resources)
  return new Map(all.map((usage) => [usage.id.toLowerCase(), { usage, measuredMs }]))
}

function view(record: ResourceRecord, measured: Measured | undefined): Readonly<Record<string, unknown>> {
  const { diskSizeBytes } = propertiesOf(record)
  const { disks } = record.backing as ImageBacking
  const sizeBytes = disks?.reduce((sum, disk) => sum + disk.sizeBytes, 0) ?? diskSizeBytes
  const known = record.backing['usedBytes']
  const usedBytes = measured?.usage.usedBytes ?? (typeof known === 'number' ? known : undefined)
  return {
    id: record.id,
    name: record.name,
    type: record.type,
    location: record.location,
    tags: record.tags,
    properties: {
      sizeBytes,
      ...(usedBytes !== undefined && { usedBytes, billedGiB: Math.ceil(usedBytes / GIB) }),
      ...(measured !== undefined && {
        ownBytes: measured.usage.ownBytes,
        freedBytes: measured.usage.freedBytes,
        measuredAt: isoTime(measured.measuredMs),
      }),
    },
  }
}

async function list(call: ArmCall): Promise<ArmReply> {
  const readable: ResourceRecord[] = []
  for (const type of TYPES) readable.push(...(await readableRecords(call, type)))
  const regions = new Set(readable.map(({ location }) => location ?? ''))
  const measured = new Map<string, Measured>()
  for (const region of regions) for (const [id, one] of await measuredIn(call.host, region)) measured.set(id, one)
  return ok(
    pageOf(
      readable.map((record) => view(record, measured.get(record.key))),
      call.url,
      call.query('$skipToken'),
    ),
  )
}

async function begin(call: ArmCall, action: string, job: string): Promise<ArmReply> {
  const location = normalizeLocation(call.param('location'))
  await checkRegion(call, location)
  const { headers, id } = await beginOnce(call, {
    kind: 'operations',
    provider: NAMESPACE,
    location,
    resourceId: `/subscriptions/${call.host.subscriptionId}/providers/${NAMESPACE}/locations/${location}/${action}`,
    action: `${NAMESPACE}/locations/${action}/action`,
    job,
    input: { region: location },
    queue: RESOURCE_QUEUE,
    key: location,
    reply: 'output',
    announce: () => Promise.resolve(),
  })
  return { status: 202, headers, operation: id }
}

const LOCATION = `/subscriptions/{subscription}/providers/${NAMESPACE}/locations/{location}`

export const usageRoutes: readonly ArmRoute[] = [
  {
    method: 'GET',
    path: `/subscriptions/{subscription}/providers/${NAMESPACE}/usage`,
    action: `${NAMESPACE}/usage/read`,
    access: 'filter',
    handle: list,
  },
  {
    method: 'GET',
    path: `/subscriptions/{subscription}/resourceGroups/{group}/providers/${NAMESPACE}/usage`,
    action: `${NAMESPACE}/usage/read`,
    access: 'filter',
    handle: list,
  },
  {
    method: 'POST',
    path: `${LOCATION}/measureUsage`,
    action: `${NAMESPACE}/locations/measureUsage/action`,
    handle: (call) => begin(call, 'measureUsage', MEASURE_USAGE_JOB),
  },
  {
    method: 'POST',
    path: `${LOCATION}/prune`,
    action: `${NAMESPACE}/locations/prune/action`,
    handle: (call) => begin(call, 'prune', PRUNE_REGIONS_JOB),
  },
  ...operationRoutes(NAMESPACE, ['operations']),
]
