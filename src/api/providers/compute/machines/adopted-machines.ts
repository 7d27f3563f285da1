/**
 * Machines that somebody else started: adopted by an administrator with the socket of their monitor. Deleting one forgets it and
 * leaves the machine and its images as they are.
 *
 *   POST .../virtualMachines/{name}/adopt   {location, qmp, agent?, tags?, osType?}     202, disks adopted in place
 *
 * Naming a socket of the host is more than any role inside a subscription allows: it takes a grant at the root.
 */
import { isAbsolute } from 'node:path'
import { findRegion, findResource, insertResource, updateResource } from '#catalog'
import { ArmError, groupId, readLocation, readTags } from '#contract'
import { ADOPT_MACHINE_JOB, type AdoptMachineInput, MACHINE_TYPE, RESOURCE_QUEUE } from '#jobs'
import type { ArmCall, ArmReply, ArmRoute } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { checkFields, type FieldTable } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { noRegionHere } from '../../../arm/linked-servers.ts'
import { beginOperation } from '../../../arm/operations.ts'
import { showResource } from '../../../arm/resource-view.ts'
import { findMachine } from './machine-commands.ts'

const IN_GROUP = '/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines'
const NAME = /^[A-Za-z0-9]([\w.-]{0,62}\w)?$/
const OS_TYPES: readonly unknown[] = ['Linux', 'Windows', undefined]

export const ADOPT_MACHINE_FIELDS: FieldTable = [
  { path: 'location', use: 'honoured' },
  { path: 'tags', use: 'honoured' },
  { path: 'qmp', use: 'honoured', note: 'the socket of its monitor; held while one of its disks is snapshotted' },
  { path: 'agent', use: 'honoured', note: 'the socket of its guest agent; found out when it is not given' },
  { path: 'osType', use: 'stored', only: ['Linux', 'Windows'] },
]

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
  return { status: 202, body: showResource(await findMachine(call, id)), headers: begun.headers, operation: begun.id }
}

export const adoptMachineRoute: ArmRoute = {
  method: 'POST',
  path: `${IN_GROUP}/{name}/adopt`,
  action: `${MACHINE_TYPE}/write`,
  handle: adopt,
}
