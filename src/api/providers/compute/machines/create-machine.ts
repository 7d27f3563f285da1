/**
 * PUT of a machine that is not there, or whose making failed. Everything is checked and looked up while the client waits; then
 * the machine, its new disks and whom the others belong to are written in one transaction with the operation.
 *
 * What its first boot is to find is sealed before that, under a name that only the winner's record keeps: of equal requests at
 * once, and of one that a crash cut short, the others' orders are removed here or swept.
 */
import { isoTime, must, randomUuid } from '#base'
import { findRegion, findResource, insertResource, type ResourceRecord, updateResource } from '#catalog'
import { ArmError, groupId, type Tags } from '#contract'
import { isRefusal, type OwnMachineBacking, planDataDisks } from '#domain'
import {
  CREATE_MACHINE_JOB,
  type CreateMachineInput,
  machineName,
  MACHINE_TYPE,
  propertiesOf,
  RESOURCE_QUEUE,
  sealSeed,
} from '#jobs'
import type { ArmCall, ArmReply } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { noRegionHere } from '../../../arm/linked-servers.ts'
import { beginOnce } from '../../../arm/operations.ts'
import { type DiskOwner, planDisk, type PlannedDisk, takeDisk } from './machine-disks.ts'
import { checkProfile, findImage, withImageDisks } from './machine-image.ts'
import { checkNics, takeNics } from './machine-nics.ts'
import { invalid, type MachineRequest } from './machine-request.ts'
import { showMachine } from './machine-view.ts'

type Fields = Readonly<Record<string, unknown>>

async function checkLocation(call: ArmCall, { location }: MachineRequest): Promise<string> {
  if (location === undefined) throw invalid('location', 'The location is required.')
  if ((await findRegion(call.host.catalog, location)) !== undefined) return location
  throw await noRegionHere(call.host, location)
}

/** One whose making failed keeps what it was, so that the disks that were made for it are found again. */
function vmIdFor(call: ArmCall, existing: ResourceRecord | undefined): string {
  const known = existing === undefined ? undefined : propertiesOf(existing)['vmId']
  return typeof known === 'string' ? known : randomUuid(call.host.random)
}

async function planDisks(call: ArmCall, owner: DiskOwner, request: MachineRequest): Promise<PlannedDisk[]> {
  const { osDisk, dataDisks: asked = [] } = request
  const { image } = owner
  if (osDisk === undefined)
    throw invalid('properties.storageProfile.osDisk', 'A machine needs an OS disk: to attach, or to be made.')
  const dataDisks = image === undefined ? asked : withImageDisks(asked, image, osDisk.deleteOption)
  const wrong = planDataDisks([], dataDisks)
  if (isRefusal(wrong)) throw invalid(wrong.target ?? '', wrong.message)
  const planned: PlannedDisk[] = []
  for (const wish of [osDisk, ...dataDisks]) planned.push(await planDisk(call, owner, wish))
  const ids = planned.map(({ id }) => id.toLowerCase())
  const twice = ids.find((id, at) => ids.indexOf(id) !== at)
  if (twice !== undefined) throw invalid('properties.storageProfile', `The disk '${twice}' stands in it twice.`)
  return planned
}

function propertiesFor(
  call: ArmCall,
  request: MachineRequest,
  { vmId, image }: DiskOwner,
  disks: readonly PlannedDisk[],
): Fields {
  const { size, osProfile, nics = [], bootDiagnostics, stored } = request
  const [os, ...data] = disks
  return {
    ...stored,
    vmId,
    timeCreated: isoTime(call.host.clock.nowMs()),
    hardwareProfile: { vmSize: must(size, 'Its size was checked').name },
    storageProfile: {
      ...(image !== undefined && { imageReference: { ...request.imageReference, id: image.id } }),
      osDisk: must(os, 'It has an OS disk').entry,
      dataDisks: data.map(({ entry }) => entry).toSorted((a, b) => Number(a['lun']) - Number(b['lun'])),
    },
    ...(osProfile !== undefined && { osProfile }),
    networkProfile: {
      networkInterfaces: nics.map(({ id, primary, deleteOption }) => ({ id, properties: { primary, deleteOption } })),
    },
    ...(bootDiagnostics !== undefined && { diagnosticsProfile: { bootDiagnostics: { enabled: bootDiagnostics } } }),
  }
}

type NewMachine = Readonly<{
  owner: DiskOwner
  tags: Tags
  body: Fields
  backing: OwnMachineBacking
  disks: readonly PlannedDisk[]
  request: MachineRequest
}>

async function announce(call: ArmCall, made: NewMachine, trx: Parameters<typeof takeNics>[1]): Promise<void> {
  const { host } = call
  const { owner, tags, body, backing, disks, request } = made
  const { id, group, name, location } = owner
  const source = changeSourceOf(host)
  const now = await findResource(trx, id)
  if (now !== undefined && now.state !== 'Failed')
    throw new ArmError('AnotherOperationInProgress', `'${id}' has been made by another request meanwhile.`)
  const record = { location, tags, state: 'Creating', body, backing: backing as unknown as Record<string, unknown> }
  if (now !== undefined) await updateResource(trx, id, record, source)
  else {
    const { subscriptionId: subscription } = host
    await insertResource(trx, { ...record, id, subscription, group, type: MACHINE_TYPE, name }, source)
  }
  for (const disk of disks) await takeDisk(host, trx, owner, disk)
  await takeNics(host, trx, id, request.nics ?? [])
}

function backingFor(owner: DiskOwner, disks: readonly PlannedDisk[], request: MachineRequest): OwnMachineBacking {
  return {
    machine: machineName(owner.name, owner.vmId),
    firmware: disks[0]?.generation === 'V2' ? 'uefi' : 'bios',
    power: 'deallocated',
    wanted: 'running',
    allocated: false,
    generalized: false,
    ...(request.userData !== undefined && { userData: request.userData }),
  }
}

/** What an equal request asks for: without what is secret, and without what was made up. */
function digestible(request: MachineRequest): Fields {
  const { firstBoot: _secret, userData, ...rest } = request
  return { ...rest, hasUserData: userData !== undefined }
}

export async function createMachine(
  call: ArmCall,
  request: MachineRequest,
  existing: ResourceRecord | undefined,
): Promise<ArmReply> {
  const { host } = call
  const name = call.param('name')
  const location = await checkLocation(call, request)
  if (request.size === undefined)
    throw invalid('properties.hardwareProfile.vmSize', 'The size of the machine is required.')
  const group = groupId(host.subscriptionId, call.param('group'))
  const vmId = vmIdFor(call, existing)
  const image = await findImage(call, request, location)
  if (image !== undefined) checkProfile(request, image)
  const owner: DiskOwner = { id: call.id, group, groupName: call.param('group'), name, location, vmId, image }
  const disks = await planDisks(call, owner, request)
  await checkNics(call, owner, request.nics ?? [])
  const seed = request.firstBoot === undefined ? undefined : randomUuid(host.random)
  if (seed !== undefined && request.firstBoot !== undefined)
    await sealSeed(host.machineOrders, host.random, seed, { vmId, ...request.firstBoot })
  const made: NewMachine = {
    owner,
    tags: request.tags ?? {},
    body: { ...request.storedTop, properties: propertiesFor(call, request, owner, disks) },
    backing: { ...backingFor(owner, disks, request), ...(seed !== undefined && { seed }) },
    disks,
    request,
  }
  const input: CreateMachineInput = {
    id: call.id,
    disks: disks.flatMap(({ make }) => (make === undefined ? [] : [make.input])),
  }
  try {
    const { headers, id } = await beginOnce(call, {
      kind: 'operations',
      provider: 'Microsoft.Compute',
      location,
      resourceId: call.id,
      action: `${MACHINE_TYPE}/write`,
      job: CREATE_MACHINE_JOB,
      input,
      request: digestible(request),
      queue: RESOURCE_QUEUE,
      key: call.id.toLowerCase(),
      reply: 'resource',
      announce: (trx) => announce(call, made, trx),
    })
    const record = must(await findResource(host.catalog, call.id), 'It was announced')
    return { status: 201, body: showMachine(record), headers, operation: id }
  } finally {
    await dropUnused(call, seed)
  }
}

/** The order of a request that another one was quicker than, or that was refused. */
async function dropUnused({ host, id }: ArmCall, seed: string | undefined): Promise<void> {
  if (seed === undefined) return
  const record = await findResource(host.catalog, id)
  if (record?.backing['seed'] !== seed) await host.machineOrders.remove(seed)
}
