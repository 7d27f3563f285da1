/** The vault that a path names, and ids below it. */
import { findResource, type ResourceRecord } from '#catalog'
import { ArmError, resourceIdIn } from '#contract'
import { VAULT_TYPE } from '#jobs'
import type { ArmCall } from '../../arm/call.ts'

export const VAULT_PATH = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${VAULT_TYPE}/{vault}`
export const CONTAINER_PATH = `${VAULT_PATH}/backupFabrics/{fabric}/protectionContainers/{container}`
export const ITEM_PATH = `${CONTAINER_PATH}/protectedItems/{item}`
export const POINT_PATH = `${ITEM_PATH}/recoveryPoints/{point}`
/** What a role says of items. */
export const ITEM_ACTION = 'Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems'

/** @throws ArmError `ResourceNotFound` */
export async function findVault(call: ArmCall): Promise<ResourceRecord> {
  const id = resourceIdIn(call.host.subscriptionId, call.param('group'), VAULT_TYPE, call.param('vault'))
  const record = await findResource(call.host.catalog, id)
  if (record?.type === VAULT_TYPE) return record
  throw new ArmError('ResourceNotFound', `The Resource '${VAULT_TYPE}/${call.param('vault')}' was not found.`)
}
