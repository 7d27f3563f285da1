/**
 * Snapshots of several disks, of one or of several machines, at one instant in one call. Beyond Azure, where the snapshots
 * of a striped disk's parts are never of one moment.
 *
 *   POST .../resourceGroups/{group}/providers/Holdfast.Protection/consistencyGroups/{name}/createSnapshots
 *   {disks?: [id], machines?: [id], incremental?, namePattern?, tags?, consistency?: crash | filesystem | application, strict?}
 *
 * Answered with 202 once the instant is open; the operation's output is {instant, skewMs, pauseMs, consistency, snapshots}.
 * Each disk gets a snapshot in the group of the request, named by the pattern, with the tag `consistencyGroup` and the
 * property of that name. All or none.
 */
import { isoTime, must } from '#base'
import { findResource, listResources, type ResourceRecord } from '#catalog'
import { ArmError, groupId, parseIdOfType, readTags, resourceIdIn } from '#contract'
import { NAME_PATTERN_DEFAULT, SNAPSHOT_NAME, snapshotName } from '#domain'
import {
  CREATE_SNAPSHOTS_JOB,
  type CreateSnapshotsInput,
  INSTANT_OPEN,
  MACHINE_TYPE,
  SNAPSHOT_QUEUE,
  SNAPSHOT_TYPE,
  sourcesOf,
} from '#jobs'
import type { ArmCall, ArmReply, ArmRoute } from '../../arm/call.ts'
import { checkFields, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { beginOnce } from '../../arm/operations.ts'
import { untilMilestone } from '../../arm/until-milestone.ts'
import { type PlannedSnapshot, rowBody } from '../compute/snapshot-plan.ts'
import { checkLimits, type DiskSource, diskSource, findSource, hostOfDisks } from '../compute/snapshot-sources.ts'
import { announceSnapshot, INSTANT_MS_MAX, INSTANT_WAIT_MS, showInstant } from '../compute/snapshots.ts'

const TYPE = 'Holdfast.Protection/consistencyGroups'
const TAG = 'consistencyGroup'
const GROUP_NAME = /^[A-Za-z0-9][\w-]{0,39}$/
const DISKS_MAX = 64
const LEVELS = ['crash', 'filesystem', 'application'] as const

export const GROUP_FIELDS: FieldTable = [
  { path: 'disks', use: 'honoured', note: 'ids, at most 64; all disks in one region' },
  { path: 'machines', use: 'honoured', note: 'ids, at most 64; all disks of each' },
  { path: 'incremental', use: 'honoured', note: 'false when it is not given' },
  {
    path: 'namePattern',
    use: 'honoured',
    note: '`{disk}`, `{group}`, `{time}`; `{disk}-{group}` when it is not given',
  },
  {
    path: 'consistency',
    use: 'honoured',
    only: LEVELS,
    note: 'as the agent of the guest can bring about; crash when it is not given',
  },
  { path: 'strict', use: 'honoured', note: 'refuse instead of taking less than that' },
  { path: 'tags', use: 'honoured', note: 'of each snapshot, beside `consistencyGroup`' },
]

type Wish = Readonly<{
  disks: readonly string[]
  machines: readonly string[]
  incremental: boolean
  namePattern: string
  tags: Readonly<Record<string, string>>
  consistency: (typeof LEVELS)[number]
  strict: boolean
}>

function invalid(target: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target })
}

function idsIn(value: unknown, type: string, target: string): string[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value) || value.length > DISKS_MAX)
    throw invalid(target, `${target} must be a list of at most ${DISKS_MAX} ids.`)
  return value.map((one, i) => parseIdOfType(one, type, `${target}[${i}]`).text)
}

function flag(value: unknown, target: string): boolean {
  if (value === undefined || value === null) return false
  if (typeof value === 'boolean') return value
  throw invalid(target, `${target} must be true or false.`)
}

function readWish(given: unknown): Wish {
  const body = objectBody(given)
  checkFields(GROUP_FIELDS, body)
  const { namePattern = NAME_PATTERN_DEFAULT } = body
  const level = LEVELS.find((one) => one === (body['consistency'] ?? 'crash'))
  if (level === undefined) throw invalid('consistency', `consistency must be one of ${LEVELS.join(', ')}.`)
  if (typeof namePattern !== 'string' || !namePattern.includes('{disk}'))
    throw invalid('namePattern', 'namePattern must hold {disk}, and may hold {group} and {time}.')
  const wish = {
    disks: idsIn(body['disks'], 'Microsoft.Compute/disks', 'disks'),
    machines: idsIn(body['machines'], MACHINE_TYPE, 'machines'),
    incremental: flag(body['incremental'], 'incremental'),
    namePattern,
    tags: readTags(body['tags']),
    consistency: level,
    strict: flag(body['strict'], 'strict'),
  }
  if (wish.disks.length + wish.machines.length === 0) throw invalid('disks', 'Name disks, machines, or both.')
  return wish
}

async function disksOfMachine(call: ArmCall, id: string): Promise<string[]> {
  const { catalog, subscriptionId } = call.host
  call.authorize(`${MACHINE_TYPE}/read`, id)
  if ((await findResource(catalog, id)) === undefined)
    throw new ArmError('ResourceNotFound', `There is no machine '${id}'.`, { target: 'machines' })
  const rows = await listResources(catalog, { subscription: subscriptionId, type: 'Microsoft.Compute/disks' })
  return rows.filter(({ body }) => String(body['managedBy']).toLowerCase() === id.toLowerCase()).map((row) => row.id)
}

async function findDisks(call: ArmCall, wish: Wish): Promise<readonly DiskSource[]> {
  const ids = new Map(wish.disks.map((id) => [id.toLowerCase(), id]))
  for (const machine of wish.machines)
    for (const id of await disksOfMachine(call, machine)) ids.set(id.toLowerCase(), id)
  const records: ResourceRecord[] = []
  for (const id of ids.values())
    records.push(await findSource(call, parseIdOfType(id, 'Microsoft.Compute/disks', 'disks')))
  const location = records[0]?.location
  if (location === undefined) throw invalid('machines', 'The machines have no disk.')
  return records.map((record) => diskSource(record, location))
}

function planRows(
  call: ArmCall,
  wish: Wish,
  disks: readonly DiskSource[],
): Omit<PlannedSnapshot, 'job' | 'input' | 'waitsForInstant'>[] {
  const { host } = call
  const group = call.param('group')
  const time = isoTime(host.clock.nowMs()).replaceAll(/[-:]|\..*/g, '')
  const rows = disks.map(({ record, uniqueId }) => {
    const name = snapshotName(wish.namePattern, { group: call.param('name'), disk: record.name, time })
    if (!SNAPSHOT_NAME.test(name)) throw invalid('namePattern', `'${name}' cannot be the name of a snapshot.`)
    const id = resourceIdIn(host.subscriptionId, group, SNAPSHOT_TYPE, name)
    call.authorize(`${SNAPSHOT_TYPE}/write`, id)
    const location = record.location ?? ''
    const body = rowBody(host, {
      request: { createOption: 'Copy', sku: undefined, stored: {} },
      source: record,
      diskId: uniqueId,
      isIncremental: wish.incremental,
      location,
    })
    const tags = { ...wish.tags, [TAG]: call.param('name') }
    return { id, name, group: groupId(host.subscriptionId, group), location, tags, body, sourceId: record.id }
  })
  if (new Set(rows.map(({ id }) => id.toLowerCase())).size < rows.length)
    throw invalid('namePattern', 'The pattern gives two disks the same name.')
  return rows
}

async function createSnapshots(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  const name = call.param('name')
  if (!GROUP_NAME.test(name))
    throw new ArmError('InvalidResourceName', `'${name}' cannot be the name of a consistency group.`, {
      target: 'name',
    })
  const wish = readWish(call.body)
  const disks = await findDisks(call, wish)
  for (const disk of disks) await checkLimits(host, disk)
  const rows = planRows(call, wish, disks)
  const region = must(rows[0], 'There is a disk').location
  const id = resourceIdIn(host.subscriptionId, call.param('group'), TYPE, name)
  const input: CreateSnapshotsInput = {
    region,
    ...hostOfDisks(disks),
    snapshots: rows.map((row, i) => ({ id: row.id, diskId: must(disks[i], 'A row a disk').uniqueId })),
    sources: await sourcesOf(host.clock, disks),
    incremental: wish.incremental,
    consistency: wish.consistency,
    strict: wish.strict,
    waitMs: INSTANT_WAIT_MS,
    group: name,
  }
  const begun = await beginOnce(call, {
    kind: 'operations',
    provider: 'Holdfast.Protection',
    location: region,
    resourceId: id,
    action: `${TYPE}/createSnapshots/action`,
    job: CREATE_SNAPSHOTS_JOB,
    input,
    queue: SNAPSHOT_QUEUE,
    reply: 'output',
    announce: async (trx) => {
      for (const row of rows) {
        const planned = { ...row, job: CREATE_SNAPSHOTS_JOB, input, waitsForInstant: true }
        await announceSnapshot(trx, host, planned, { operationOf: id.toLowerCase() })
      }
    },
  })
  const facts = await untilMilestone(host, begun.id, INSTANT_OPEN, INSTANT_MS_MAX)
  const ids = input.snapshots.map((one) => one.id)
  if (facts !== undefined) await showInstant(host, ids, Number(facts['takenAtMs']))
  const { takenAtMs, skewMs, pauseMs, consistency } = facts ?? {}
  const properties = {
    ...(takenAtMs !== undefined && { instant: isoTime(Number(takenAtMs)), skewMs, pauseMs, consistency }),
    snapshots: ids.map((one) => ({ id: one })),
  }
  return { status: 202, body: { id, name, type: TYPE, properties }, headers: begun.headers, operation: begun.id }
}

export const consistencyGroupRoutes: readonly ArmRoute[] = [
  {
    method: 'POST',
    path: `/subscriptions/{subscription}/resourceGroups/{group}/providers/${TYPE}/{name}/createSnapshots`,
    action: `${TYPE}/createSnapshots/action`,
    handle: createSnapshots,
  },
]
