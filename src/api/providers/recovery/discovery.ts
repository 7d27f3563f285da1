/**
 * What a vault could protect, and the containers of what it does. Machines are found by looking: `refreshContainers` has nothing to
 * do, and its result is there at once.
 */
import { listProtectedItems, listResources, type ProtectedItem, type ResourceRecord } from '#catalog'
import { ArmError, checkFilterFields, equalTo, pageOf, parseFilter, RETRY_AFTER_SECONDS } from '#contract'
import { MACHINE_TYPE } from '#jobs'
import { randomUuid } from '#base'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { CONTAINER_PATH, findVault, VAULT_PATH } from './find-vault.ts'
import { containerName, machineNameOf, protectableId } from './item-names.ts'
import { MACHINE, showContainer } from './item-view.ts'

const CONTAINERS = 'Microsoft.RecoveryServices/vaults/backupProtectionContainers'
const PROTECTABLE = 'Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectableItems'
const FABRICS = 'Microsoft.RecoveryServices/vaults/backupFabrics'

function stateOf(item: ProtectedItem | undefined): string {
  if (item === undefined || item.softDeletedMs !== undefined) return 'NotProtected'
  return item.state === 'IRPending' ? 'Protecting' : 'Protected'
}

function showProtectable(vault: ResourceRecord, machine: ResourceRecord, item: ProtectedItem | undefined) {
  const name = machineNameOf(machine.id)
  return {
    id: protectableId(vault.id, name),
    name: `iaasvmcontainerv2;${name.group};${name.machine}`,
    type: PROTECTABLE,
    properties: {
      virtualMachineId: machine.id,
      virtualMachineVersion: 'Compute',
      resourceGroup: name.group,
      backupManagementType: 'AzureIaasVM',
      workloadType: 'VM',
      protectableItemType: MACHINE,
      friendlyName: machine.name,
      protectionState: stateOf(item),
    },
  }
}

/** Machines of the vault's region that the caller may see and no other vault protects. */
async function protectable(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, ['backupManagementType', 'workloadType', 'friendlyName', 'protectableItemType', 'status'])
  const { catalog } = call.host
  const machines = await listResources(catalog, { subscription: vault.subscription, type: MACHINE_TYPE })
  const items = Map.groupBy(await listProtectedItems(catalog, {}), ({ machineKey }) => machineKey)
  const wanted = equalTo(terms, 'friendlyName')?.toLowerCase()
  const found = machines.flatMap((machine) => {
    if (machine.location !== vault.location || machine.state === 'Deleting') return []
    if (wanted !== undefined && machine.name.toLowerCase() !== wanted) return []
    if (!call.may(`${MACHINE}/read`, machine.id)) return []
    const all = (items.get(machine.key) ?? []).filter(({ softDeletedMs }) => softDeletedMs === undefined)
    const isElsewhere = all.some(
      ({ vaultKey, state }) => vaultKey !== vault.key && state !== 'ProtectionStopped' && state !== 'BackupsSuspended',
    )
    return isElsewhere
      ? []
      : [
          showProtectable(
            vault,
            machine,
            all.find(({ vaultKey }) => vaultKey === vault.key),
          ),
        ]
  })
  return ok(pageOf(found, call.url, call.query('$skipToken')))
}

async function containers(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, ['backupManagementType', 'status', 'friendlyName', 'containerName', 'fabricName'])
  const wanted = equalTo(terms, 'friendlyName')?.toLowerCase()
  const isOther =
    (equalTo(terms, 'backupManagementType') ?? 'AzureIaasVM').toLowerCase() !== 'azureiaasvm' ||
    (equalTo(terms, 'status') ?? 'Registered').toLowerCase() !== 'registered'
  const items = isOther ? [] : await listProtectedItems(call.host.catalog, { vaultKey: vault.key })
  const found = items.filter(({ friendlyName }) => wanted === undefined || friendlyName.toLowerCase() === wanted)
  const shown = found.map((item) => showContainer(vault, item))
  return ok(pageOf(shown, call.url, call.query('$skipToken')))
}

async function container(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const wanted = call.param('container').toLowerCase()
  const items = await listProtectedItems(call.host.catalog, { vaultKey: vault.key })
  const item = items.find(({ machineId }) => containerName(machineNameOf(machineId)).toLowerCase() === wanted)
  if (item !== undefined) return ok(showContainer(vault, item))
  throw new ArmError('ResourceNotFound', `The vault '${vault.name}' has no container '${call.param('container')}'.`)
}

async function refresh(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const id = randomUuid(call.host.random)
  const at = `${vault.id}/backupFabrics/${call.param('fabric')}/operationResults/${id}`
  const location = `${call.baseUrl}${at}?api-version=${call.apiVersion}`
  return { status: 202, headers: { location, 'retry-after': String(RETRY_AFTER_SECONDS) } }
}

async function refreshed(call: ArmCall): Promise<ArmReply> {
  await findVault(call)
  return { status: 204 }
}

export const discoveryRoutes: readonly ArmRoute[] = [
  {
    method: 'GET',
    path: `${VAULT_PATH}/backupProtectableItems`,
    action: 'Microsoft.RecoveryServices/vaults/backupProtectableItems/read',
    handle: protectable,
  },
  { method: 'GET', path: `${VAULT_PATH}/backupProtectionContainers`, action: `${CONTAINERS}/read`, handle: containers },
  { method: 'GET', path: CONTAINER_PATH, action: `${FABRICS}/protectionContainers/read`, handle: container },
  {
    method: 'POST',
    path: `${VAULT_PATH}/backupFabrics/{fabric}/refreshContainers`,
    action: `${FABRICS}/refreshContainers/action`,
    handle: refresh,
  },
  {
    method: 'GET',
    path: `${VAULT_PATH}/backupFabrics/{fabric}/operationResults/{operation}`,
    action: `${FABRICS}/operationResults/read`,
    handle: refreshed,
  },
]
