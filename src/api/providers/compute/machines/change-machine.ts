/**
 * PUT over a machine that is there, PATCH, and `attachDetachDataDisks`: what differs from what is. Tags and what has no effect
 * here change with the announcement; disks and size are the job's. What was fixed when it was made may be repeated, not changed.
 */
import { type CatalogTransaction, findResource, type ResourceRecord, updateResource } from '#catalog'
import { ArmError, groupId, sameId } from '#contract'
import { freeLun, isRefusal, planDataDisks } from '#domain'
import {
  CHANGE_MACHINE_JOB,
  type ChangeMachineInput,
  disksOfMachine,
  MACHINE_TYPE,
  nicsOfMachine,
  ownMachineOf,
  propertiesOf,
  RESOURCE_QUEUE,
  sizeOfMachine,
  vmIdOf,
} from '#jobs'
import { type ArmCall, type ArmReply, ok } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { checkFields, fieldAt } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { beginOnce, type BegunOperation } from '../../../arm/operations.ts'
import { type DiskOwner, planDisk, type PlannedDisk, takeDisk } from './machine-disks.ts'
import { ATTACH_FIELDS, DETACH_FIELDS } from './machine-fields.ts'
import { invalid, type MachineRequest, type WishedDataDisk } from './machine-request.ts'
import { showMachine } from './machine-view.ts'

type Fields = Readonly<Record<string, unknown>>

const DATA_DISKS = 'properties.storageProfile.dataDisks'

function unchangeable(target: string, why = ''): ArmError {
  return new ArmError('PropertyChangeNotAllowed', `Changing property '${target}' is not allowed.${why}`, { target })
}

function checkFixed(request: MachineRequest, record: ResourceRecord): void {
  const { location, osDisk, osProfile, nics } = request
  if (location !== undefined && location !== record.location) throw unchangeable('location')
  const [os] = disksOfMachine(record)
  if (osDisk?.id !== undefined && os !== undefined && !sameId(osDisk.id, os.id))
    throw unchangeable('properties.storageProfile.osDisk.managedDisk.id', ' Make another machine with that disk.')
  const profile = propertiesOf(record)['osProfile']
  for (const name of ['computerName', 'adminUsername'])
    if (osProfile?.[name] !== undefined && osProfile[name] !== fieldAt(profile, name))
      throw unchangeable(`properties.osProfile.${name}`)
  if (nics === undefined) return
  const before = nicsOfMachine(record).map(({ id }) => id.toLowerCase())
  const wanted = nics.map(({ id }) => id.toLowerCase())
  if (before.length !== wanted.length || before.some((id) => !wanted.includes(id)))
    throw unchangeable('properties.networkProfile.networkInterfaces', ' They are given when the machine is made.')
}

/** The record with what the body changes at once. */
function changed(record: ResourceRecord, request: MachineRequest, isWhole: boolean) {
  const properties = propertiesOf(record)
  const { osDisk, bootDiagnostics, userData, tags, stored, storedTop } = request
  const storage = (properties['storageProfile'] ?? {}) as Fields
  const os = (storage['osDisk'] ?? {}) as Fields
  const osEntry = osDisk === undefined ? os : { ...os, caching: osDisk.caching, deleteOption: osDisk.deleteOption }
  return {
    ...((isWhole || tags !== undefined) && { tags: tags ?? {} }),
    body: {
      ...record.body,
      ...storedTop,
      properties: {
        ...properties,
        ...stored,
        storageProfile: { ...storage, osDisk: osEntry },
        ...(bootDiagnostics !== undefined && { diagnosticsProfile: { bootDiagnostics: { enabled: bootDiagnostics } } }),
      },
    },
    backing: { ...record.backing, ...(userData !== undefined && { userData }) },
  }
}

export type MachineChangePlan = Readonly<{
  planned: readonly PlannedDisk[]
  detach: ChangeMachineInput['detach']
  size: string | null
}>

function ownerOf(call: ArmCall, record: ResourceRecord): DiskOwner {
  const groupName = call.param('group')
  return {
    id: record.id,
    group: groupId(call.host.subscriptionId, groupName),
    groupName,
    name: record.name,
    location: record.location ?? '',
    vmId: vmIdOf(record),
  }
}

/** Disks as they are wanted, against those that it has. */
async function planDisks(
  call: ArmCall,
  record: ResourceRecord,
  wanted: readonly WishedDataDisk[] | undefined,
): Promise<Pick<MachineChangePlan, 'planned' | 'detach'>> {
  if (wanted === undefined) return { planned: [], detach: [] }
  const before = disksOfMachine(record).flatMap(({ id, lun }) => (lun === undefined ? [] : [{ id, lun }]))
  const plan = planDataDisks(before, wanted)
  if (isRefusal(plan)) throw invalid(plan.target ?? DATA_DISKS, plan.message)
  const removed = before.filter(({ lun }) => plan.removed.includes(lun))
  for (const { id } of removed) call.authorize('Microsoft.Compute/disks/write', id)
  const owner = ownerOf(call, record)
  const planned: PlannedDisk[] = []
  for (const wish of plan.added) {
    const moved = removed.some(({ id }) => wish.id !== undefined && sameId(id, wish.id))
    if (moved) throw invalid(wish.target, 'A disk moves to another lun in two steps: detach it first.')
    planned.push(await planDisk(call, owner, wish))
  }
  return { planned, detach: removed.map(({ id, lun }) => ({ id, lun, goes: false })) }
}

function inputOf(record: ResourceRecord, { planned, detach, size }: MachineChangePlan): ChangeMachineInput {
  return {
    id: record.id,
    make: planned.flatMap(({ make }) => (make === undefined ? [] : [make.input])),
    attach: planned.map(({ id, wish, entry }) => ({ id, entry, lun: wish.lun ?? 0 })),
    detach,
    size,
  }
}

async function begin(
  call: ArmCall,
  record: ResourceRecord,
  plan: MachineChangePlan,
  request: unknown,
  apply: (now: ResourceRecord) => Parameters<typeof updateResource>[2],
  how: Readonly<{ action: string; reply: 'resource' | 'output' }> = {
    action: `${MACHINE_TYPE}/write`,
    reply: 'resource',
  },
): Promise<BegunOperation> {
  const { host } = call
  const owner = ownerOf(call, record)
  const announce = async (trx: CatalogTransaction): Promise<void> => {
    const now = await findResource(trx, record.id)
    if (now?.state !== 'Succeeded')
      throw new ArmError('Conflict', `The machine '${record.name}' is ${now?.state ?? 'gone'}.`)
    await updateResource(trx, record.id, { ...apply(now), state: 'Updating' }, changeSourceOf(host))
    for (const disk of plan.planned) await takeDisk(host, trx, owner, disk)
  }
  return beginOnce(call, {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location: record.location ?? '',
    resourceId: record.id,
    ...how,
    job: CHANGE_MACHINE_JOB,
    input: inputOf(record, plan),
    request,
    queue: RESOURCE_QUEUE,
    key: record.key,
    announce,
  })
}

function checkSettled(record: ResourceRecord): void {
  if (ownMachineOf(record) === undefined)
    throw new ArmError('NotSupported', 'The machine was adopted: it is changed where it was made.')
  if (record.state === 'Succeeded') return
  throw new ArmError('Conflict', `The machine '${record.name}' is ${record.state}.`)
}

export async function changeMachine(
  call: ArmCall,
  record: ResourceRecord,
  request: MachineRequest,
  isWhole: boolean,
): Promise<ArmReply> {
  checkSettled(record)
  checkFixed(request, record)
  const disks = await planDisks(call, record, request.dataDisks)
  const { size } = request
  const isResized = size !== undefined && size.name !== sizeOfMachine(record).name
  const plan = { ...disks, size: isResized ? size.name : null }
  if (plan.planned.length + plan.detach.length === 0 && plan.size === null) {
    const source = changeSourceOf(call.host)
    const now = await call.host.catalog.write(async (trx) => {
      const found = (await findResource(trx, record.id)) ?? record
      return updateResource(trx, record.id, changed(found, request, isWhole), source)
    })
    return ok(showMachine(now ?? record))
  }
  const { firstBoot: _secret, ...asked } = request
  const { headers, id } = await begin(call, record, plan, asked, (now) => changed(now, request, isWhole))
  const now = (await findResource(call.host.catalog, record.id)) ?? record
  return { status: 200, body: showMachine(now), headers, operation: id }
}

type Entries = readonly Readonly<Record<string, unknown>>[]

function entriesIn(body: Fields, name: string): Entries {
  const list = body[name] ?? []
  if (!Array.isArray(list)) throw invalid(name, `'${name}' must be a list.`)
  const table = name === 'dataDisksToAttach' ? ATTACH_FIELDS : DETACH_FIELDS
  return list.map((entry: unknown) => {
    const fields = objectBody(entry)
    checkFields(table, fields)
    if (typeof fieldAt(fields, 'diskId') !== 'string') throw invalid(`${name}.diskId`, 'Each disk is named by diskId.')
    return fields
  })
}

function attachedWish(entry: Fields, lun: number): WishedDataDisk {
  const caching = fieldAt(entry, 'caching')
  return {
    lun,
    createOption: 'Attach',
    id: String(entry['diskId']),
    sourceId: undefined,
    name: undefined,
    sizeGb: undefined,
    osType: undefined,
    caching: typeof caching === 'string' ? caching : 'None',
    deleteOption: String(fieldAt(entry, 'deleteOption')).toLowerCase() === 'delete' ? 'Delete' : 'Detach',
    storageAccountType: undefined,
    toBeDetached: false,
    target: 'dataDisksToAttach',
  }
}

/** POST attachDetachDataDisks: {dataDisksToAttach, dataDisksToDetach}. */
export async function attachDetach(call: ArmCall, record: ResourceRecord): Promise<ArmReply> {
  checkSettled(record)
  const body = objectBody(call.body)
  const unknown = Object.keys(body).find((name) => !['dataDisksToAttach', 'dataDisksToDetach'].includes(name))
  if (unknown !== undefined) throw new ArmError('UnsupportedField', `Holdfast does not know the property '${unknown}'.`)
  const has = disksOfMachine(record).flatMap(({ id, lun }) => (lun === undefined ? [] : [{ id, lun }]))
  const gone = entriesIn(body, 'dataDisksToDetach').map((entry) => {
    const id = String(entry['diskId'])
    const found = has.find((disk) => sameId(disk.id, id))
    if (found !== undefined) return found
    throw invalid('dataDisksToDetach', `The machine has no data disk '${id}'.`)
  })
  const left = has.filter((disk) => !gone.includes(disk))
  const taken = left.map(({ lun }) => lun)
  const come = entriesIn(body, 'dataDisksToAttach').map((entry) => {
    const asked = fieldAt(entry, 'lun')
    const lun = typeof asked === 'number' ? asked : freeLun(taken)
    if (lun === undefined) throw invalid('dataDisksToAttach', 'Every lun is taken.')
    taken.push(lun)
    return attachedWish(entry, lun)
  })
  const stays = left.map(({ id, lun }) => attachedWish({ diskId: id }, lun))
  const plan = { ...(await planDisks(call, record, [...stays, ...come])), size: null }
  const how = { action: `${MACHINE_TYPE}/attachDetachDataDisks/action`, reply: 'output' as const }
  const { headers, id } = await begin(call, record, plan, body, () => ({}), how)
  return { status: 202, headers, operation: id }
}
