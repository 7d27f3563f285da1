/**
 * Machines that somebody else started: adopted by an administrator with the socket of their monitor, shown, forgotten.
 *
 *   POST .../virtualMachines/{name}/adopt   {location, qmp, agent?, tags?, osType?}     202, disks adopted in place
 *   DELETE .../virtualMachines/{name}       forgets it and leaves the machine and its images as they are
 *
 * Naming a socket of the host is more than any role inside a subscription allows: it takes a grant at the root.
 */
import { isAbsolute } from 'node:path'
import {
  deleteResource,
  findRegion,
  findResource,
  insertResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, groupId, pageOf, readLocation, readTags } from '#contract'
import {
  ADOPT_MACHINE_JOB,
  type AdoptMachineInput,
  askPower,
  MACHINE_TYPE,
  type MachineBacking,
  type MachinePower,
  propertiesOf,
  RESOURCE_QUEUE,
  unfinishedCopiesOf,
} from '#jobs'
import { type ArmCall, type ArmHost, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { noRegionHere } from '../../arm/linked-servers.ts'
import { beginOperation } from '../../arm/operations.ts'
import { type ResourceView, showResource } from '../../arm/resource-view.ts'

const ALL = '/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines'
const IN_GROUP = '/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines'
const ONE = `${IN_GROUP}/{name}`
const DISKS = 'Microsoft.Compute/disks'
const NAME = /^[A-Za-z0-9]([\w.-]{0,62}\w)?$/
const OS_TYPES: readonly unknown[] = ['Linux', 'Windows', undefined]

export const ADOPT_MACHINE_FIELDS: FieldTable = [
  { path: 'location', use: 'honoured' },
  { path: 'tags', use: 'honoured' },
  { path: 'qmp', use: 'honoured', note: 'the socket of its monitor; held while one of its disks is snapshotted' },
  { path: 'agent', use: 'honoured', note: 'the socket of its guest agent; found out when it is not given' },
  { path: 'osType', use: 'stored', only: ['Linux', 'Windows'] },
]

const POWER_WORDS: Readonly<Record<MachinePower, readonly [code: string, shown: string]>> = {
  running: ['PowerState/running', 'VM running'],
  paused: ['PowerState/stopped', 'VM stopped'],
  stopped: ['PowerState/stopped', 'VM stopped'],
  unknown: ['PowerState/unknown', 'VM unknown'],
}

async function find(call: ArmCall, id = call.id): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, id)
  if (record !== undefined) return record
  throw new ArmError('ResourceNotFound', `The Resource '${MACHINE_TYPE}/${call.param('name')}' was not found.`)
}

/** As its monitor says now. */
async function instanceView({ clock }: ArmHost, { backing, state }: ResourceRecord): Promise<unknown> {
  const { qmp, agent } = backing as Partial<MachineBacking>
  const power = qmp === undefined ? 'unknown' : await askPower(clock, qmp)
  const [code, displayStatus] = POWER_WORDS[power]
  const provisioning = {
    code: `ProvisioningState/${state.toLowerCase()}`,
    level: 'Info',
    displayStatus: `Provisioning ${state}`,
  }
  return {
    statuses: [provisioning, { code, level: 'Info', displayStatus }],
    disks: [],
    ...(agent !== undefined && { vmAgent: { vmAgentVersion: 'qemu-ga', statuses: [] } }),
  }
}

async function show(call: ArmCall, record: ResourceRecord, expanded: boolean): Promise<ResourceView> {
  const view = showResource(record)
  if (!expanded) return view
  const properties = view['properties'] as Record<string, unknown>
  return { ...view, properties: { ...properties, instanceView: await instanceView(call.host, record) } }
}

async function get(call: ArmCall): Promise<ArmReply> {
  const expanded = (call.query('$expand') ?? '').toLowerCase().includes('instanceview')
  return ok(await show(call, await find(call), expanded))
}

async function list(call: ArmCall): Promise<ArmReply> {
  const { catalog, subscriptionId } = call.host
  const { group } = call.params
  const within = group === undefined ? {} : { group: groupId(subscriptionId, group) }
  const records = await listResources(catalog, { subscription: subscriptionId, type: MACHINE_TYPE, ...within })
  const readable = records.filter(({ id }) => call.may(`${MACHINE_TYPE}/read`, id))
  return ok(pageOf(readable.map(showResource), call.url, call.query('$skipToken')))
}

function socketIn(body: Readonly<Record<string, unknown>>, field: string): string | undefined {
  const value = body[field]
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string' && isAbsolute(value)) return value
  throw new ArmError('InvalidParameter', `${field} must be the absolute path of a socket.`, { target: field })
}

function readAdoption(call: ArmCall): AdoptMachineInput {
  const body = objectBody(call.body)
  checkFields(ADOPT_MACHINE_FIELDS, body)
  const { subscriptionId: subscription } = call.host
  const qmp = socketIn(body, 'qmp')
  const agent = socketIn(body, 'agent')
  const osType = body['osType'] ?? undefined
  if (qmp === undefined) throw new ArmError('InvalidParameter', 'Name the socket of the monitor.', { target: 'qmp' })
  if (!OS_TYPES.includes(osType))
    throw new ArmError('InvalidParameter', 'osType must be Linux or Windows.', { target: 'osType' })
  return {
    id: `${groupId(subscription, call.param('group'))}/providers/${MACHINE_TYPE}/${call.param('name')}`,
    name: call.param('name'),
    group: groupId(subscription, call.param('group')),
    subscription,
    region: readLocation(body['location']),
    qmp,
    tags: readTags(body['tags']),
    ...(agent !== undefined && { agent }),
    ...(typeof osType === 'string' && { osType }),
  }
}

async function adopt(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  call.authorize('Holdfast.Protection/hosts/write', '/')
  if (!NAME.test(call.param('name')))
    throw new ArmError('InvalidResourceName', `'${call.param('name')}' cannot be the name of a machine.`, {
      target: 'name',
    })
  const input = readAdoption(call)
  const { id, region, group, name, subscription, tags } = input
  if ((await findRegion(host.catalog, region)) === undefined) throw await noRegionHere(host, region)
  const begun = await beginOperation(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: region,
    resourceId: id,
    action: `${MACHINE_TYPE}/write`,
    job: ADOPT_MACHINE_JOB,
    input,
    queue: RESOURCE_QUEUE,
    reply: 'resource',
    announce: async (trx) => {
      const existing = await findResource(trx, id)
      if (existing !== undefined && existing.state !== 'Failed')
        throw new ArmError('Conflict', `There is a machine '${id}' already.`)
      const backing = { adopted: true, qmp: input.qmp }
      const row = { id, subscription, group, type: MACHINE_TYPE, name, location: region, tags, state: 'Creating' }
      if (existing !== undefined)
        await updateResource(trx, id, { state: 'Creating', tags, backing }, changeSourceOf(host))
      else await insertResource(trx, { ...row, body: { properties: {} }, backing }, changeSourceOf(host))
    },
  })
  return { status: 202, body: showResource(await find(call, id)), headers: begun.headers, operation: begun.id }
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  const record = await findResource(host.catalog, call.id)
  if (record === undefined) return { status: 204 }
  if (record.backing['adopted'] !== true)
    throw new ArmError('NotSupported', 'Only machines that were adopted are forgotten here.')
  const source = changeSourceOf(host)
  await host.catalog.write(async (trx) => {
    const disks = (await listResources(trx, { type: DISKS })).filter(
      ({ body }) => String(body['managedBy']).toLowerCase() === record.key,
    )
    for (const disk of disks) {
      const users = await unfinishedCopiesOf(trx, disk.id)
      if (users.length > 0)
        throw new ArmError('OperationNotAllowed', `The disk '${disk.id}' is still being read for ${users.join(', ')}.`)
    }
    for (const disk of disks) {
      const { managedBy: _managedBy, ...body } = disk.body
      const { machine: _machine, ...backing } = disk.backing
      const properties = { ...propertiesOf(disk), diskState: 'Unattached' }
      await updateResource(trx, disk.id, { body: { ...body, properties }, backing }, source)
    }
    await deleteResource(trx, record.id)
  })
  return { status: 200 }
}

export const adoptedMachineRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: ALL, action: `${MACHINE_TYPE}/read`, access: 'filter', handle: list },
  { method: 'GET', path: IN_GROUP, action: `${MACHINE_TYPE}/read`, access: 'filter', handle: list },
  { method: 'GET', path: ONE, action: `${MACHINE_TYPE}/read`, handle: get },
  {
    method: 'GET',
    path: `${ONE}/instanceView`,
    action: `${MACHINE_TYPE}/read`,
    handle: async (call) => {
      const id = call.id.replace(/\/instanceView$/i, '')
      return ok(await instanceView(call.host, await find(call, id)))
    },
  },
  { method: 'POST', path: `${ONE}/adopt`, action: `${MACHINE_TYPE}/write`, handle: adopt },
  { method: 'DELETE', path: ONE, action: `${MACHINE_TYPE}/delete`, handle: remove },
]
