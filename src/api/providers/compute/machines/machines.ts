/**
 * Microsoft.Compute/virtualMachines. Making, changing and deleting are operations; a machine is made when its QEMU runs, and
 * whether its guest is ready is told apart (instanceView.vmAgent). Machines that others run are here too (adopted-machines.ts).
 */
import { deleteResource, findResource, type ResourceRecord } from '#catalog'
import { ArmError, normalizeLocation, pageOf } from '#contract'
import {
  DELETE_MACHINE_JOB,
  disksOfMachine,
  MACHINE_TYPE,
  nicsOfMachine,
  ownMachineOf,
  releaseDisk,
  RESOURCE_QUEUE,
  unfinishedCopiesOf,
} from '#jobs'
import { isHoldfastError } from '#base'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { beginOnce } from '../../../arm/operations.ts'
import { readableRecords, routesOfType } from '../../../arm/records.ts'
import { adoptMachineRoute } from './adopted-machines.ts'
import { retrieveBootDiagnostics } from './boot-diagnostics.ts'
import { attachDetach, changeMachine } from './change-machine.ts'
import { createMachine } from './create-machine.ts'
import {
  announceDeletion,
  deallocate,
  findMachine,
  generalize,
  powerOff,
  restart,
  runCommand,
  start,
} from './machine-commands.ts'
import { readMachineRequest } from './machine-request.ts'
import { machineSizeRoutes } from './machine-sizes.ts'
import { instanceView, showExpanded } from './machine-view.ts'

const IN_REGION = '/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/virtualMachines'
const ONE = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${MACHINE_TYPE}/{name}`
/** Source: Azure naming rules: 1 to 64, no underscore first, neither period nor hyphen last. */
const NAME = /^[A-Za-z0-9]([\w.-]{0,62}\w)?$/

async function get(call: ArmCall): Promise<ArmReply> {
  return ok(await showExpanded(call.host, await findMachine(call), call.query('$expand') ?? ''))
}

async function list(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  const { location } = call.params
  const readable = (await readableRecords(call, MACHINE_TYPE)).filter(
    (record) => location === undefined || record.location === normalizeLocation(location),
  )
  const { value, ...rest } = pageOf(readable, call.url, call.query('$skipToken'))
  const statusOnly = (call.query('statusOnly') ?? '').toLowerCase() === 'true'
  const expand = statusOnly ? 'instanceView' : (call.query('$expand') ?? '')
  return ok({ value: await Promise.all(value.map((record) => showExpanded(host, record, expand))), ...rest })
}

function checkName(call: ArmCall): void {
  if (NAME.test(call.param('name'))) return
  throw new ArmError('InvalidResourceName', `'${call.param('name')}' cannot be the name of a machine.`, {
    target: 'name',
  })
}

/** An equal request may have made the machine between our looking and our announcing. */
async function createOrOvertaken(call: ArmCall, existing: ResourceRecord | undefined): Promise<ArmReply> {
  const request = readMachineRequest(call.body, call.param('name'))
  try {
    return await createMachine(call, request, existing)
  } catch (error) {
    if (!isHoldfastError(error, 'AnotherOperationInProgress')) throw error
    const made = await findResource(call.host.catalog, call.id)
    if (made?.state !== 'Succeeded') throw error
    return changeMachine(call, made, request, true)
  }
}

async function put(call: ArmCall): Promise<ArmReply> {
  checkName(call)
  const existing = await findResource(call.host.catalog, call.id)
  if (existing === undefined || existing.state === 'Creating' || existing.state === 'Failed')
    return createOrOvertaken(call, existing)
  return changeMachine(call, existing, readMachineRequest(call.body, existing.name), true)
}

async function patch(call: ArmCall): Promise<ArmReply> {
  const existing = await findMachine(call)
  return changeMachine(call, existing, readMachineRequest(call.body ?? {}, existing.name), false)
}

/** One that was adopted: nothing of it is ended, so nothing has to be waited for. */
async function forget(call: ArmCall, record: ResourceRecord): Promise<ArmReply> {
  const { catalog } = call.host
  await catalog.write(async (trx) => {
    for (const { id } of disksOfMachine(record)) {
      const users = await unfinishedCopiesOf(trx, id)
      if (users.length > 0)
        throw new ArmError('OperationNotAllowed', `The disk '${id}' is still being read for ${users.join(', ')}.`)
      await releaseDisk(trx, id, changeSourceOf(call.host))
    }
    await deleteResource(trx, record.id)
  })
  return { status: 200 }
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const record = await findResource(call.host.catalog, call.id)
  if (record === undefined) return noContent
  if (ownMachineOf(record) === undefined) return forget(call, record)
  for (const { id, deleteOption } of disksOfMachine(record))
    if (deleteOption === 'Delete') call.authorize('Microsoft.Compute/disks/delete', id)
  for (const { id, deleteOption } of nicsOfMachine(record))
    if (deleteOption === 'Delete') call.authorize('Microsoft.Network/networkInterfaces/delete', id)
  const { headers, id } = await beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: record.location ?? '',
    resourceId: record.id,
    action: `${MACHINE_TYPE}/delete`,
    job: DELETE_MACHINE_JOB,
    input: { id: record.id },
    queue: RESOURCE_QUEUE,
    key: record.key,
    reply: 'empty',
    announce: (trx) => announceDeletion(call, trx, record),
  })
  return { status: 202, headers, operation: id }
}

function command(name: string, handle: ArmRoute['handle']): ArmRoute {
  return { method: 'POST', path: `${ONE}/${name}`, action: `${MACHINE_TYPE}/${name}/action`, handle }
}

export const machineRoutes: readonly ArmRoute[] = [
  ...routesOfType(MACHINE_TYPE, { list, get, put, patch, remove }),
  { method: 'GET', path: IN_REGION, action: `${MACHINE_TYPE}/read`, access: 'filter', handle: list },
  {
    method: 'GET',
    path: `${ONE}/instanceView`,
    action: `${MACHINE_TYPE}/instanceView/read`,
    handle: async (call) => {
      const record = await findMachine(call, call.id.replace(/\/instanceView$/i, ''))
      return ok(await instanceView(call.host, record))
    },
  },
  command('start', start),
  command('powerOff', powerOff),
  command('deallocate', deallocate),
  command('restart', restart),
  command('generalize', generalize),
  command('runCommand', runCommand),
  command('attachDetachDataDisks', async (call) => attachDetach(call, await findMachine(call))),
  command('retrieveBootDiagnosticsData', retrieveBootDiagnostics),
  adoptMachineRoute,
  ...machineSizeRoutes,
]
