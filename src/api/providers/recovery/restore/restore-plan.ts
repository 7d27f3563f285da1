/**
 * From a checked request to the order of a restore: what it names is looked up, with the caller's rights on all of it, and everything
 * that Azure refuses is refused here, before anything is written.
 */
import { findRegion, findResource, type ResourceRecord } from '#catalog'
import { ArmError, groupId, idKey, type ResourceId, sameId } from '#contract'
import {
  DISK_TYPE,
  MACHINE_TYPE,
  NETWORK_TYPE,
  networkOfSubnet,
  ownMachineOf,
  type RestoreOrder,
  SUBNET_TYPE,
} from '#jobs'
import type { ArmCall } from '../../../arm/call.ts'
import { STORAGE_TYPE } from '../../../blob/storage-files.ts'
import { NIC_TYPE } from '../../compute/machines/machine-nics.ts'
import type { NamedPoint } from './named-point.ts'
import { invalid, type RestoreRequest } from './restore-request.ts'

const MACHINE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/

function notFound(field: string, id: string): ArmError {
  return new ArmError('ResourceNotFound', `'${id}' was not found.`, { target: `properties.${field}` })
}

function checkPoint({ item, point }: NamedPoint, { pointName, sourceId, luns }: RestoreRequest): void {
  if (pointName !== undefined && !sameId(pointName.split('/').at(-1) ?? '', point.name))
    throw invalid('recoveryPointId', `The body names the recovery point '${pointName}', the path '${point.name}'.`)
  if (sourceId !== undefined && !sameId(sourceId.text, item.machineId))
    throw invalid('sourceResourceId', `The recovery point is one of '${item.machineId}', not of '${sourceId.text}'.`)
  const has = new Set(point.disks.map(({ lun }) => lun))
  const missing = luns?.find((lun) => !has.has(lun))
  if (missing !== undefined)
    throw invalid(
      'restoreDiskLunList',
      missing < 0
        ? 'The recovery point does not hold the disk of the operating system.'
        : `The recovery point holds no disk of LUN ${missing}; it holds ${[...has].filter((lun) => lun >= 0).join(', ')}.`,
    )
}

async function checkGroup(call: ArmCall, id: ResourceId, field: string): Promise<string> {
  const { catalog, subscriptionId } = call.host
  if (!sameId(id.subscription ?? '', subscriptionId))
    throw invalid(field, `'${id.text}' is in another subscription; a restore stays in that of its vault here.`)
  const text = groupId(subscriptionId, id.group ?? '')
  call.authorize(`${DISK_TYPE}/write`, `${text}/providers/${DISK_TYPE}/restored`)
  const group = await findResource(catalog, text)
  if (group === undefined)
    throw new ArmError('ResourceGroupNotFound', `Resource group '${id.group ?? ''}' could not be found.`, {
      target: `properties.${field}`,
    })
  return group.id
}

/** Azure's rules of a staging account. */
async function checkStorage(call: ArmCall, { storage }: RestoreRequest, region: string): Promise<string | null> {
  if (storage === undefined) return null
  const field = 'storageAccountId'
  call.authorize(`${STORAGE_TYPE}/write`, storage.text)
  const account = await findResource(call.host.catalog, storage.text)
  if (account === undefined) throw notFound(field, storage.text)
  if (account.location !== region)
    throw invalid(
      field,
      `The storage account is in '${account.location ?? ''}'; it must be in '${region}', as the restore is.`,
    )
  const sku = (account.body['sku'] ?? {}) as Readonly<{ name?: unknown }>
  if (String(sku.name).endsWith('ZRS')) throw invalid(field, 'A zone-redundant storage account cannot stage a restore.')
  if (account.body['kind'] === 'BlobStorage')
    throw invalid(field, 'A storage account for blobs alone cannot stage a restore: choose a general-purpose one.')
  return account.id
}

async function checkSubnet(call: ArmCall, { network, subnet }: RestoreRequest, region: string): Promise<string> {
  const { catalog } = call.host
  const text = subnet?.text ?? ''
  call.authorize(`${SUBNET_TYPE}/join/action`, text)
  const record = await findResource(catalog, text)
  if (record === undefined) throw notFound('subnetId', text)
  const owner = await findResource(catalog, networkOfSubnet(idKey(text)))
  if (owner?.location !== region)
    throw invalid('subnetId', `The virtual network is in '${owner?.location ?? ''}', the restore in '${region}'.`)
  if (network !== undefined && !sameId(network.text, owner.id))
    throw invalid('virtualNetworkId', `'${text}' is no subnet of the ${NETWORK_TYPE} '${network.text}'.`)
  return record.id
}

async function checkNewMachine(
  call: ArmCall,
  request: RestoreRequest,
  region: string,
): Promise<RestoreOrder['machine']> {
  const { machine } = request
  const field = 'targetVirtualMachineId'
  if (machine === undefined) return null
  if (!MACHINE_NAME.test(machine.name)) throw invalid(field, `'${machine.name}' cannot be the name of a machine.`)
  await checkGroup(call, machine, field)
  call.authorize(`${MACHINE_TYPE}/write`, machine.text)
  call.authorize(`${NIC_TYPE}/write`, `${machine.parent ?? ''}/providers/${NIC_TYPE}/restored`)
  if ((await findResource(call.host.catalog, machine.text)) !== undefined)
    throw new ArmError('Conflict', `There is a machine '${machine.text}' already: choose another name.`, {
      target: `properties.${field}`,
    })
  const subnet = await checkSubnet(call, request, region)
  return { id: machine.text, subnet, zones: request.zones }
}

/** Replacing needs the machine, and the point in the vault: it is what stays when something goes wrong. */
async function checkReplaced(call: ArmCall, { item, point, vault }: NamedPoint): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, item.machineId)
  const hint = 'Restore it to a new machine instead.'
  if (record === undefined)
    throw new ArmError('OperationNotAllowed', `The machine '${item.machineId}' is not there any more. ${hint}`)
  call.authorize(`${MACHINE_TYPE}/write`, record.id)
  if (ownMachineOf(record) === undefined)
    throw new ArmError(
      'NotSupported',
      `'${record.id}' was adopted, others run it: its disks are not exchanged. ${hint}`,
    )
  if (record.state !== 'Succeeded')
    throw new ArmError('OperationNotAllowed', `The machine '${record.id}' is ${record.state}.`)
  if (record.location !== vault.location)
    throw new ArmError('OperationNotAllowed', `The machine '${record.id}' is in another region than its vault. ${hint}`)
  if (point.vaultedMs === undefined)
    throw new ArmError(
      'OperationNotAllowed',
      'The transfer of this recovery point to the vault is not completed. Replacing the disks of a machine needs it; wait for it, or choose an older point.',
    )
  return record
}

async function regionOf(
  call: ArmCall,
  { vault }: NamedPoint,
  { region }: RestoreRequest,
  secondary: string | undefined,
) {
  const wanted = region ?? secondary ?? vault.location ?? ''
  const expected = secondary ?? vault.location
  if (wanted !== expected)
    throw invalid(
      'region',
      secondary === undefined
        ? `The vault is in '${expected ?? ''}': restore there, or by backupCrossRegionRestore in its paired region.`
        : `A restore across regions of this vault goes to '${secondary}', not to '${wanted}'.`,
    )
  if ((await findRegion(call.host.catalog, wanted)) === undefined)
    throw new ArmError('InvalidLocation', `There is no region '${wanted}' on this server.`, {
      target: 'properties.region',
    })
  return wanted
}

/**
 * @param secondary of a restore across regions: the region of the vault's copy
 * @throws ArmError what is wrong with the request
 */
export async function planRestore(
  call: ArmCall,
  named: NamedPoint,
  request: RestoreRequest,
  secondary?: string,
): Promise<RestoreOrder> {
  const { vault, item, point } = named
  const { kind, group, machine } = request
  checkPoint(named, request)
  const region = await regionOf(call, named, request, secondary)
  if (secondary !== undefined && kind === 'replace')
    throw invalid('recoveryType', 'A restore across regions makes disks or a new machine; it replaces none.')
  const replaced = kind === 'replace' ? await checkReplaced(call, named) : undefined
  const newMachine = kind === 'machine' ? await checkNewMachine(call, request, region) : null
  const storage = await checkStorage(call, request, region)
  const groupText =
    group !== undefined && kind !== 'replace'
      ? await checkGroup(call, group, 'targetResourceGroupId')
      : await checkGroup(call, groupOfMachine(call, replaced?.id ?? machine?.text ?? ''), 'targetVirtualMachineId')
  const { baseUrl, correlationId, caller } = call
  return {
    kind,
    vault: vault.id,
    itemKey: item.key,
    point: point.name,
    from: secondary === undefined ? 'any' : 'mirror',
    region,
    group: groupText,
    luns: request.luns,
    storage,
    storageUrl: storage === null ? null : `${call.accountsUrl}/${storage.split('/').at(-1) ?? ''}`,
    caller: { principal: caller.principal.id, baseUrl, correlationId },
    machine: newMachine,
    replaces: replaced?.id ?? null,
    instant: request.instant,
    friendlyName: item.friendlyName,
  }
}

function groupOfMachine(call: ArmCall, id: string): ResourceId {
  const group = /\/resourceGroups\/([^/]+)/i.exec(id)?.[1] ?? ''
  const text = groupId(call.host.subscriptionId, group)
  return {
    text,
    key: idKey(text),
    subscription: call.host.subscriptionId,
    group,
    type: undefined,
    name: group,
    parent: undefined,
  }
}
