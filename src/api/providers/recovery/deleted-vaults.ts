/** Vaults that were deleted while they held soft-deleted items: kept until `purgeAt`, and brought back with everything in them. */
import { isoTime } from '#base'
import { findResource, listResources, type ResourceRecord } from '#catalog'
import { ArmError, parseResourceId, normalizeLocation, pageOf } from '#contract'
import { DELETED_VAULT_TYPE, undeleteVault, VAULT_TYPE, vaultBackingOf } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { fieldAt } from '../../arm/field-table.ts'
import type { ResourceView } from '../../arm/resource-view.ts'
import { GROUP_TYPE } from '../resources/groups.ts'
import { showVault } from './vault-view.ts'

const ALL = '/subscriptions/{subscription}/providers/Microsoft.RecoveryServices/locations/{location}/deletedVaults'
const ONE = `${ALL}/{name}`
const ACTION = 'Microsoft.RecoveryServices/locations/deletedVaults'

function show(row: ResourceRecord): ResourceView {
  const { deleted } = vaultBackingOf(row)
  return {
    id: row.id,
    name: row.name,
    type: DELETED_VAULT_TYPE,
    properties: {
      vaultId: deleted?.vaultId,
      vaultDeletionTime: isoTime(deleted?.atMs ?? row.changedMs),
      purgeAt: isoTime(deleted?.purgeAtMs ?? row.changedMs),
    },
  }
}

async function list(call: ArmCall): Promise<ArmReply> {
  const { catalog, subscriptionId: subscription } = call.host
  const location = normalizeLocation(call.param('location'))
  const all = await listResources(catalog, { subscription, type: DELETED_VAULT_TYPE })
  const here = all.filter((row) => row.location === location && call.may(`${ACTION}/read`, row.id))
  return ok(pageOf(here.map(show), call.url, call.query('$skipToken')))
}

async function find(call: ArmCall): Promise<ResourceRecord> {
  const id = `/subscriptions/${call.host.subscriptionId}/providers/Microsoft.RecoveryServices/locations/${normalizeLocation(call.param('location'))}/deletedVaults/${call.param('name')}`
  const row = await findResource(call.host.catalog, id)
  if (row?.type === DELETED_VAULT_TYPE) return row
  throw new ArmError('ResourceNotFound', `There is no deleted vault '${call.param('name')}'.`)
}

/** The group that the vault comes back into. @throws ArmError `ResourceGroupNotFound`, `LinkedAuthorizationFailed` */
async function groupOf(call: ArmCall, row: ResourceRecord): Promise<string> {
  const given = fieldAt(call.body, 'properties.recoveryResourceGroupId')
  const [, was = ''] = /^(.*)\/providers\//.exec(vaultBackingOf(row).deleted?.vaultId ?? '') ?? []
  const { text: id } = parseResourceId(given ?? was, 'properties.recoveryResourceGroupId')
  const group = await findResource(call.host.catalog, id)
  if (group?.type !== GROUP_TYPE)
    throw new ArmError('ResourceGroupNotFound', `Resource group '${id}' could not be found.`, {
      target: 'properties.recoveryResourceGroupId',
    })
  call.authorize(`${VAULT_TYPE}/write`, group.id)
  return group.id
}

async function undelete(call: ArmCall): Promise<ArmReply> {
  const row = await find(call)
  const group = await groupOf(call, row)
  const { catalog } = call.host
  const vault = await catalog.write((trx) => undeleteVault(trx, row.id, group, changeSourceOf(call.host)))
  return ok(showVault(vault))
}

export const deletedVaultRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: ALL, action: `${ACTION}/read`, access: 'filter', handle: list },
  { method: 'GET', path: ONE, action: `${ACTION}/read`, handle: async (call) => ok(show(await find(call))) },
  { method: 'POST', path: `${ONE}/undelete`, action: `${ACTION}/undelete/action`, handle: undelete },
]
