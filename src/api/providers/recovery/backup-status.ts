/** Protection seen from the machine's side: is it protected, may it be, and the intent that protects it in one call. */
import { findResource, listProtectedItems, type ProtectedItem } from '#catalog'
import { ArmError, parseIdOfType } from '#contract'
import { MACHINE_TYPE, POLICY_TYPE, VAULT_TYPE } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { fieldAt } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { enable, machineIn } from './change-item.ts'
import { findVault, VAULT_PATH } from './find-vault.ts'
import { containerName, itemName, machineNameOf } from './item-names.ts'
import { MACHINE } from './item-view.ts'

const LOCATION = '/subscriptions/{subscription}/providers/Microsoft.RecoveryServices/locations/{location}'
const LOCATIONS = 'Microsoft.RecoveryServices/locations'
const INTENTS = 'Microsoft.RecoveryServices/vaults/backupFabrics/backupProtectionIntent'

function machineIdIn(call: ArmCall): string {
  const body = objectBody(call.body)
  const kind = fieldAt(body, 'resourceType')
  if (typeof kind !== 'string' || kind.toLowerCase() !== 'vm')
    throw new ArmError('InvalidParameter', 'resourceType must be VM: other workloads are not protected here.', {
      target: 'resourceType',
    })
  const { text } = parseIdOfType(fieldAt(body, 'resourceId'), MACHINE_TYPE, 'resourceId')
  call.authorize(`${MACHINE}/read`, text)
  return text
}

/** The item that protects it; else one that keeps its data. */
async function itemOf(call: ArmCall, machineId: string): Promise<ProtectedItem | undefined> {
  const items = await listProtectedItems(call.host.catalog, { machineKey: machineId.toLowerCase() })
  const kept = items.filter(({ softDeletedMs }) => softDeletedMs === undefined)
  return kept.find(({ policyId, state }) => policyId !== undefined && state !== 'BackupsSuspended') ?? kept[0]
}

function vaultIdOf({ id }: ProtectedItem): string {
  return id.replace(/\/backupFabrics\/.*$/i, '')
}

function word({ state }: ProtectedItem): string {
  if (state === 'IRPending') return 'Protecting'
  return state === 'ProtectionError' ? 'ProtectionFailed' : 'Protected'
}

async function status(call: ArmCall): Promise<ArmReply> {
  const machineId = machineIdIn(call)
  const item = await itemOf(call, machineId)
  if (item === undefined)
    return ok({ protectionStatus: 'NotProtected', vaultId: '', registrationStatus: 'NotRegistered' })
  const name = machineNameOf(item.machineId)
  return ok({
    protectionStatus: word(item),
    vaultId: vaultIdOf(item),
    fabricName: 'Azure',
    containerName: containerName(name),
    protectedItemName: itemName(name),
    policyName: item.policyId?.split('/').at(-1) ?? '',
    registrationStatus: 'Registered',
    protectedItemsCount: 1,
    errorCode: '',
    errorMessage: '',
  })
}

type Why = Readonly<{ errorCode: string; errorMessage: string; recommendation: string }>

async function whyNotProtect(call: ArmCall, machineId: string): Promise<Why | undefined> {
  const machine = await findResource(call.host.catalog, machineId)
  if (machine === undefined)
    return {
      errorCode: 'UserErrorVmNotFoundV2',
      errorMessage: `There is no machine '${machineId}'.`,
      recommendation: 'Check its id.',
    }
  const item = await itemOf(call, machineId)
  if (item !== undefined && item.state !== 'ProtectionStopped' && item.state !== 'BackupsSuspended')
    return {
      errorCode: 'UserErrorVmAlreadyProtected',
      errorMessage: `It is protected by '${item.id}'.`,
      recommendation: 'Change the policy there, or stop its protection first.',
    }
  const { text } = parseIdOfType(fieldAt(call.body, 'vaultId') ?? '/', VAULT_TYPE, 'vaultId')
  const vault = await findResource(call.host.catalog, text)
  if (vault !== undefined && vault.location === machine.location) return undefined
  return {
    errorCode: 'UserErrorVaultRegionMismatch',
    errorMessage:
      vault === undefined ? `There is no vault '${text}'.` : 'The vault is in another region than the machine.',
    recommendation: 'Choose a vault of the machine’s region.',
  }
}

async function preValidate(call: ArmCall): Promise<ArmReply> {
  const machineId = machineIdIn(call)
  const name = machineNameOf(machineId)
  const why = await whyNotProtect(call, machineId)
  const names = { containerName: containerName(name), protectedItemName: itemName(name) }
  return ok(why === undefined ? { status: 'Enabled', ...names } : { status: 'Disabled', ...why, ...names })
}

function validateFeatures(call: ArmCall): ArmReply {
  const kind = fieldAt(objectBody(call.body), 'featureType')
  const isOurs = typeof kind === 'string' && kind.toLowerCase() === 'azurevmresourcebackup'
  return ok({ supportStatus: isOurs ? 'Supported' : 'NotSupported' })
}

function showIntent(
  call: ArmCall,
  vaultId: string,
  item: Pick<ProtectedItem, 'id' | 'machineId' | 'policyId' | 'state'>,
) {
  const name = call.params['intent'] ?? itemName(machineNameOf(item.machineId))
  return {
    id: `${vaultId}/backupFabrics/Azure/backupProtectionIntent/${name}`,
    name,
    type: INTENTS,
    properties: {
      protectionIntentItemType: 'AzureResourceItem',
      backupManagementType: 'AzureIaasVM',
      sourceResourceId: item.machineId,
      itemId: item.id,
      policyId: item.policyId ?? '',
      protectionState: item.state === 'IRPending' ? 'Protecting' : 'Protected',
    },
  }
}

/** An intent is fulfilled at once: the item that it leads to is what there is of it. */
async function putIntent(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const body = objectBody(call.body)
  const machineId = parseIdOfType(
    fieldAt(body, 'properties.sourceResourceId'),
    MACHINE_TYPE,
    'properties.sourceResourceId',
  )
  const policy = parseIdOfType(fieldAt(body, 'properties.policyId'), POLICY_TYPE, 'properties.policyId')
  const machine = await machineIn(call, vault, machineId.text)
  const before = await itemOf(call, machine.id)
  if (before === undefined) await enable(call, vault, machine, { kind: 'protect', policy, exclusion: undefined })
  const item = await itemOf(call, machine.id)
  if (item?.vaultKey !== vault.key)
    throw new ArmError('OperationNotAllowed', `The machine is protected by '${item?.id ?? ''}' already.`)
  return ok(showIntent(call, vault.id, item))
}

async function intentItem(call: ArmCall): Promise<ProtectedItem | undefined> {
  const vault = await findVault(call)
  const wanted = call.param('intent').toLowerCase()
  const items = await listProtectedItems(call.host.catalog, { vaultKey: vault.key })
  return items.find(({ name, friendlyName }) => name.toLowerCase() === wanted || friendlyName.toLowerCase() === wanted)
}

async function getIntent(call: ArmCall): Promise<ArmReply> {
  const item = await intentItem(call)
  if (item !== undefined) return ok(showIntent(call, vaultIdOf(item), item))
  throw new ArmError('ResourceNotFound', `There is no intent '${call.param('intent')}'.`)
}

async function listIntents(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const items = await listProtectedItems(call.host.catalog, { vaultKey: vault.key })
  return ok({ value: items.map((item) => showIntent(call, vault.id, item)) })
}

async function dropIntent(call: ArmCall): Promise<ArmReply> {
  await findVault(call)
  return noContent
}

const INTENT = `${VAULT_PATH}/backupFabrics/{fabric}/backupProtectionIntent/{intent}`

export const backupStatusRoutes: readonly ArmRoute[] = [
  {
    method: 'POST',
    path: `${LOCATION}/backupStatus`,
    action: `${LOCATIONS}/backupStatus/action`,
    handle: status,
  },
  {
    method: 'POST',
    path: `${LOCATION}/backupPreValidateProtection`,
    action: `${LOCATIONS}/backupPreValidateProtection/action`,
    handle: preValidate,
  },
  {
    method: 'POST',
    path: `${LOCATION}/backupValidateFeatures`,
    action: `${LOCATIONS}/backupValidateFeatures/action`,
    handle: validateFeatures,
  },
  { method: 'GET', path: INTENT, action: `${INTENTS}/read`, handle: getIntent },
  { method: 'PUT', path: INTENT, action: `${INTENTS}/write`, handle: putIntent },
  { method: 'DELETE', path: INTENT, action: `${INTENTS}/delete`, handle: dropIntent },
  { method: 'GET', path: `${VAULT_PATH}/backupProtectionIntents`, action: `${INTENTS}/read`, handle: listIntents },
]
