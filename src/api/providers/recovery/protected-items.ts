/**
 * vaults/{v}/.../protectedItems: a machine that the vault protects. A PUT enables protection, changes it, stops it, resumes it or
 * brings back what was deleted, by what its body says; every one is answered with 202 and leaves a job (vault-operations.ts).
 */
import { listProtectedItems, listVaultPoints, type ProtectedItem, type ResourceRecord } from '#catalog'
import { ArmError, checkFilterFields, equalTo, type FilterTerm, PAGE_MAX, parseFilter, sameId } from '#contract'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { backUpNow } from './backup-now.ts'
import { enable, findItemOf, machineIn, modify, stop, undelete } from './change-item.ts'
import { deleteItem } from './delete-item.ts'
import { findVault, ITEM_ACTION, ITEM_PATH, VAULT_PATH } from './find-vault.ts'
import { machineNameOf, machineOfPath, type MachineName } from './item-names.ts'
import { ITEM_TYPE, showItem } from './item-view.ts'
import { nextPage } from './next-page.ts'
import { readItemWish } from './read-item.ts'

const FILTERS = [
  'backupManagementType',
  'itemType',
  'policyName',
  'containerName',
  'friendlyName',
  'fabricName',
  'healthState',
  'backupEngineName',
  'backupSetName',
  'protectedItemType',
]

export function pathName(call: ArmCall): MachineName {
  return machineOfPath(call.param('container'), call.param('item'))
}

/** @throws ArmError `ResourceNotFound` */
export async function findItemIn(call: ArmCall, vault: ResourceRecord): Promise<ProtectedItem> {
  const name = pathName(call)
  const item = await findItemOf(call, vault, name)
  if (item !== undefined) return item
  throw new ArmError(
    'ResourceNotFound',
    `The vault '${vault.name}' protects no machine '${name.machine}' of the group '${name.group}'.`,
  )
}

function same(left: string | undefined, right: string): boolean {
  return left?.toLowerCase() === right.toLowerCase()
}

function matches(terms: readonly FilterTerm[], item: ProtectedItem): boolean {
  const by: Readonly<Record<string, string>> = {
    backupmanagementtype: 'AzureIaasVM',
    itemtype: 'VM',
    protecteditemtype: 'Microsoft.Compute/virtualMachines',
    fabricname: 'Azure',
    policyname: item.policyId?.split('/').at(-1) ?? '',
    friendlyname: item.friendlyName,
  }
  return terms.every((term) => {
    if (term.kind !== 'compare' || term.operator !== 'eq') return false
    const field = term.field.toLowerCase()
    if (field === 'containername')
      return item.key.includes(`/${term.value.toLowerCase()}/`) || item.key.includes(`;${term.value.toLowerCase()}/`)
    return same(by[field], term.value)
  })
}

async function list(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, FILTERS)
  const policy = equalTo(terms, 'policyName')
  const after = call.query('$skipToken')
  const found = await listProtectedItems(call.host.catalog, {
    vaultKey: vault.key,
    ...(policy !== undefined && { policyKey: `${vault.key}/backuppolicies/${policy.toLowerCase()}` }),
    ...(after !== undefined && after !== '' && { afterKey: after }),
    limit: PAGE_MAX + 1,
  })
  const page = found.slice(0, PAGE_MAX)
  const nowMs = call.host.clock.nowMs()
  const shown = page.filter((item) => matches(terms, item)).map((item) => showItem(vault, item, nowMs))
  return ok(nextPage(call.url, shown, found.length > PAGE_MAX ? page.at(-1)?.key : undefined))
}

async function show(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const item = await findItemIn(call, vault)
  const points = await listVaultPoints(call.host.catalog, { itemKey: item.key, softDeleted: false })
  return ok(showItem(vault, item, call.host.clock.nowMs(), points))
}

async function put(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  if (vault.state !== 'Succeeded') throw new ArmError('Conflict', `The vault '${vault.name}' is ${vault.state}.`)
  const name = pathName(call)
  const { wish, machine } = readItemWish(call.body)
  const item = await findItemOf(call, vault, name)
  if (machine !== undefined) {
    const given = machineNameOf(machine.text)
    if (
      !same(given.group, name.group) ||
      !same(given.machine, name.machine) ||
      (item !== undefined && !sameId(machine.text, item.machineId))
    )
      throw new ArmError('InvalidParameter', `'${machine.text}' is not the machine that the path names.`, {
        target: 'properties.sourceResourceId',
      })
  }
  if (item === undefined) {
    if (wish.kind !== 'protect') return notThere(vault, name)
    if (machine === undefined)
      throw new ArmError('InvalidParameter', 'sourceResourceId is required: the machine that is to be protected.', {
        target: 'properties.sourceResourceId',
      })
    return enable(call, vault, await machineIn(call, vault, machine.text), wish)
  }
  if (wish.kind === 'undelete') return undelete(call, vault, item)
  return wish.kind === 'stop' ? stop(call, vault, item, wish) : modify(call, vault, item, wish)
}

function notThere(vault: ResourceRecord, { machine }: MachineName): never {
  throw new ArmError('ResourceNotFound', `The vault '${vault.name}' protects no machine '${machine}'.`)
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const item = await findItemOf(call, vault, pathName(call))
  return item === undefined ? noContent : deleteItem(call, vault, item)
}

async function backup(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  return backUpNow(call, vault, await findItemIn(call, vault))
}

export const protectedItemRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: `${VAULT_PATH}/backupProtectedItems`, action: `${ITEM_TYPE}/read`, handle: list },
  { method: 'GET', path: ITEM_PATH, action: `${ITEM_ACTION}/read`, handle: show },
  { method: 'PUT', path: ITEM_PATH, action: `${ITEM_ACTION}/write`, handle: put },
  { method: 'DELETE', path: ITEM_PATH, action: `${ITEM_ACTION}/delete`, handle: remove },
  { method: 'POST', path: `${ITEM_PATH}/backup`, action: `${ITEM_ACTION}/backup/action`, handle: backup },
]
