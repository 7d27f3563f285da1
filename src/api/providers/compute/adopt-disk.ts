/**
 * POST .../disks/{name}/adopt: an image file that is there already becomes a disk where it lies. Only who may manage the
 * server itself may do it; the file must lie in a folder that is allowed, and depend on no other. Ours, not Azure's.
 *
 *   {location, path, format?: qcow2 | raw, osType?, tags?, machine?: {name, qmp, agent?}}
 *
 * With `machine` the disk belongs to a QEMU that others started: its monitor is how the disk grows and is snapshotted.
 */
import { isAbsolute } from 'node:path'
import { findResource } from '#catalog'
import { ArmError, readLocation, readTags, resourceIdIn } from '#contract'
import type { DiskBacking } from '#domain'
import { ADOPT_DISK_JOB, DISK_TYPE } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, targetOf } from '../../arm/call.ts'
import { checkFields, fieldAt, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { checkRegion } from '../../arm/records.ts'
import { accepted, announceDisk, checkDiskName, diskOperation } from './disks.ts'

export const ADOPT_FIELDS: FieldTable = [
  { path: 'location', use: 'honoured' },
  { path: 'tags', use: 'honoured' },
  { path: 'path', use: 'honoured', note: 'absolute, in an allowed folder' },
  { path: 'format', use: 'honoured', only: ['qcow2', 'raw'], note: 'found out when it is not given' },
  { path: 'osType', use: 'stored', only: ['Linux', 'Windows'] },
  { path: 'machine.name', use: 'honoured' },
  { path: 'machine.qmp', use: 'honoured', note: 'the socket of its monitor' },
  { path: 'machine.agent', use: 'honoured', note: 'the socket of its guest agent' },
]

const MACHINE_NAME = /^[\w][\w.-]{0,79}$/

function pathAt(body: unknown, field: string): string {
  const value = fieldAt(body, field)
  if (typeof value === 'string' && isAbsolute(value)) return value
  throw new ArmError('InvalidParameter', `'${field}' must be an absolute path.`, { target: field })
}

function machineIn(body: unknown): DiskBacking['machine'] {
  if (fieldAt(body, 'machine') === undefined) return undefined
  const name = fieldAt(body, 'machine.name')
  if (typeof name !== 'string' || !MACHINE_NAME.test(name))
    throw new ArmError('InvalidParameter', 'The machine has no valid name.', { target: 'machine.name' })
  const agent = fieldAt(body, 'machine.agent') === undefined ? {} : { agent: pathAt(body, 'machine.agent') }
  return { name, qmp: pathAt(body, 'machine.qmp'), ...agent }
}

async function adopt(call: ArmCall): Promise<ArmReply> {
  checkDiskName(call)
  call.authorize(`${DISK_TYPE}/adopt/action`, '/')
  const body = objectBody(call.body)
  checkFields(ADOPT_FIELDS, body)
  const location = readLocation(fieldAt(body, 'location'))
  await checkRegion(call, location)
  const path = pathAt(body, 'path')
  const machine = machineIn(body)
  const tags = readTags(fieldAt(body, 'tags'))
  const osType = fieldAt(body, 'osType')
  const existing = await findResource(call.host.catalog, targetOf(call))
  if (existing !== undefined && existing.state !== 'Failed' && existing.state !== 'Creating')
    throw new ArmError('Conflict', `There is a disk '${existing.name}' already.`)
  const format = fieldAt(body, 'format') === undefined ? null : String(fieldAt(body, 'format')).toLowerCase()
  const managedBy =
    machine === undefined
      ? undefined
      : resourceIdIn(call.host.subscriptionId, call.param('group'), 'Microsoft.Compute/virtualMachines', machine.name)
  const disk = {
    body: { properties: { creationData: { createOption: 'Attach' } } },
    location,
    tags,
    origin: {
      origin: { kind: 'empty' as const },
      sizeBytes: undefined,
      inherited: { ...(osType !== undefined && { osType }) },
    },
    file: (): DiskBacking => ({ file: path, format: format === 'raw' ? 'raw' : 'qcow2', ...(machine && { machine }) }),
    managedBy,
    ...(managedBy !== undefined && { diskState: 'Attached' as const }),
  }
  return accepted(
    call,
    diskOperation(call, location, {
      action: `${DISK_TYPE}/write`,
      job: ADOPT_DISK_JOB,
      input: { id: targetOf(call), path, format, machine: machine ?? null },
      reply: 'resource',
      announce: (trx) => announceDisk(call, trx, disk),
    }),
  )
}

export const adoptRoutes: readonly ArmRoute[] = [
  {
    method: 'POST',
    path: `/subscriptions/{subscription}/resourceGroups/{group}/providers/${DISK_TYPE}/{name}/adopt`,
    action: `${DISK_TYPE}/write`,
    handle: adopt,
  },
]
