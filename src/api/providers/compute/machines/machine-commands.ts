/**
 * What is done to a machine by POST. Each command is judged by what the machine is (domain, `ruleCommand`) before anything
 * begins; one that finds its work done is an operation that ends at once, as in Azure. Generalizing alone is done at once.
 */
import { randomUuid } from '#base'
import { type CatalogTransaction, findResource, type ResourceRecord, updateResource } from '#catalog'
import { ArmError } from '#contract'
import { isRefusal, type MachineCommand, ruleCommand } from '#domain'
import {
  changeMachine,
  disksOfMachine,
  type GuestScript,
  MACHINE_TYPE,
  ownMachineOf,
  RESOURCE_QUEUE,
  RESTART_MACHINE_JOB,
  RUN_COMMAND_JOB,
  START_MACHINE_JOB,
  STOP_MACHINE_JOB,
} from '#jobs'
import { type ArmCall, type ArmReply, targetOf } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { checkFields, fieldAt } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { beginOnce, type OperationSpec } from '../../../arm/operations.ts'
import { stateNow } from '../disk-view.ts'
import { RUN_COMMAND_FIELDS } from './machine-fields.ts'
import { invalid } from './machine-request.ts'

export async function findMachine(call: ArmCall, id = targetOf(call)): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, id)
  if (record !== undefined) return record
  throw new ArmError('ResourceNotFound', `The Resource '${MACHINE_TYPE}/${call.param('name')}' was not found.`)
}

/** A machine of ours that no operation has just made fail. @throws ArmError `OperationNotAllowed`, by what it is */
function judge(record: ResourceRecord, command: MachineCommand): 'go' | 'done' {
  const own = ownMachineOf(record)
  if (own === undefined)
    throw new ArmError('NotSupported', 'The machine was adopted: it is started and stopped where it was made.')
  if (record.state === 'Failed')
    throw new ArmError('OperationNotAllowed', `The machine '${record.name}' was not made: delete it, or make it again.`)
  const rule = ruleCommand(command, own)
  if (isRefusal(rule)) throw new ArmError('OperationNotAllowed', `${command} of '${record.name}': ${rule.message}`)
  return rule
}

type Begun = Pick<OperationSpec, 'job' | 'input'> & Partial<Pick<OperationSpec, 'reply' | 'request' | 'announce'>>

async function begin(call: ArmCall, record: ResourceRecord, action: string, begun: Begun): Promise<ArmReply> {
  const { headers, id } = await beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: record.location ?? '',
    resourceId: record.id,
    action: `${MACHINE_TYPE}/${action}/action`,
    queue: RESOURCE_QUEUE,
    key: record.key,
    reply: 'empty',
    announce: () => Promise.resolve(),
    ...begun,
  })
  return { status: 202, headers, operation: id }
}

/** @throws ArmError when a disk's bytes are open to a URL: its image is locked then */
async function checkDisksRest(call: ArmCall, trx: CatalogTransaction, record: ResourceRecord): Promise<void> {
  for (const { id } of disksOfMachine(record)) {
    const disk = await findResource(trx, id)
    const state = disk === undefined ? 'gone' : stateNow(disk, call.host.clock.nowMs())
    if (state === 'ActiveSAS' || state === 'gone' || disk?.state === 'Deleting')
      throw new ArmError('OperationNotAllowed', `The disk '${id}' is ${state}: the machine cannot start.`)
  }
}

export async function start(call: ArmCall): Promise<ArmReply> {
  const record = await findMachine(call)
  judge(record, 'start')
  const announce = (trx: CatalogTransaction): Promise<void> => checkDisksRest(call, trx, record)
  return begin(call, record, 'start', { job: START_MACHINE_JOB, input: { id: record.id }, announce })
}

function isTrue(value: string | undefined): boolean {
  return value?.toLowerCase() === 'true'
}

export async function powerOff(call: ArmCall): Promise<ArmReply> {
  const record = await findMachine(call)
  judge(record, 'powerOff')
  const input = { id: record.id, to: 'stopped' as const, plug: isTrue(call.query('skipShutdown')) }
  return begin(call, record, 'powerOff', { job: STOP_MACHINE_JOB, input })
}

export async function deallocate(call: ArmCall): Promise<ArmReply> {
  if (isTrue(call.query('hibernate')))
    throw new ArmError('NotSupported', 'A machine does not hibernate here: its memory is given back.')
  const record = await findMachine(call)
  judge(record, 'deallocate')
  const input = { id: record.id, to: 'deallocated' as const, plug: false }
  return begin(call, record, 'deallocate', { job: STOP_MACHINE_JOB, input })
}

export async function restart(call: ArmCall): Promise<ArmReply> {
  const record = await findMachine(call)
  judge(record, 'restart')
  return begin(call, record, 'restart', { job: RESTART_MACHINE_JOB, input: { id: record.id } })
}

/** From now on it is a source of images and nothing else. */
export async function generalize(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  const record = await findMachine(call)
  judge(record, 'generalize')
  await host.catalog.write(async (trx) => {
    const now = await findResource(trx, record.id)
    if (now?.state !== 'Succeeded')
      throw new ArmError('Conflict', `The machine '${record.name}' is ${now?.state ?? 'gone'}.`)
    judge(now, 'generalize')
    const backing = { generalized: true, wanted: 'off' as const }
    await changeMachine(trx, record.id, { backing }, changeSourceOf(host))
  })
  return { status: 200 }
}

const SCRIPT_CHARS_MAX = 128 * 1024
const PARAMETER = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/

function readScript(body: unknown): GuestScript {
  const script = fieldAt(body, 'script')
  if (!Array.isArray(script) || script.length === 0 || !script.every((line) => typeof line === 'string'))
    throw invalid('script', 'RunShellScript needs the lines of a script.')
  const lines: readonly string[] = script
  if (lines.join('\n').length > SCRIPT_CHARS_MAX)
    throw invalid('script', `A script has at most ${SCRIPT_CHARS_MAX} characters.`)
  const given = fieldAt(body, 'parameters') ?? []
  if (!Array.isArray(given)) throw invalid('parameters', 'The parameters are a list.')
  const parameters = given.map((one: unknown) => {
    const [name, value] = [fieldAt(one, 'name'), fieldAt(one, 'value')]
    if (typeof name !== 'string' || !PARAMETER.test(name) || typeof value !== 'string' || value.includes('\0'))
      throw invalid('parameters', 'A parameter has a name of letters, digits and _, and a value that is a text.')
    return { name, value }
  })
  return { lines, parameters }
}

export async function runCommand(call: ArmCall): Promise<ArmReply> {
  const { host } = call
  const record = await findMachine(call)
  const body = objectBody(call.body)
  checkFields(RUN_COMMAND_FIELDS, body)
  if (fieldAt(body, 'commandId') === undefined) throw invalid('commandId', 'Name the command: RunShellScript.')
  const script = readScript(body)
  judge(record, 'runCommand')
  const order = randomUuid(host.random)
  await host.machineOrders.put(order, JSON.stringify(script))
  try {
    const reply = await begin(call, record, 'runCommand', {
      job: RUN_COMMAND_JOB,
      input: { id: record.id, order },
      reply: 'output',
    })
    return reply
  } catch (error) {
    await host.machineOrders.remove(order)
    throw error
  }
}

/** Marks it as being deleted; what it was stands beside, should that fail. */
export async function announceDeletion(call: ArmCall, trx: CatalogTransaction, record: ResourceRecord): Promise<void> {
  const now = await findResource(trx, record.id)
  if (now === undefined) return
  const stateBefore = now.backing['stateBefore'] ?? now.state
  const backing = { ...now.backing, stateBefore }
  await updateResource(trx, now.id, { state: 'Deleting', backing }, changeSourceOf(call.host))
}
