/**
 * Protection groups: machines of a vault that are backed up at one instant. Beyond Azure, where machines of one application are
 * never restored to one moment.
 *
 *   GET     .../vaults/{v}/protectionGroups[/{g}]
 *   PUT     .../vaults/{v}/protectionGroups/{g}          {properties: {items: [id, ...]}}: these and no others
 *   DELETE  .../vaults/{v}/protectionGroups/{g}          its machines are backed up each by itself again
 *   POST    .../vaults/{v}/protectionGroups/{g}/backup   as of any of its items
 *
 * A group is what its items name; it is nowhere else on record. Its machines follow one policy, so that a slot is one instant.
 */
import { isoTime } from '#base'
import {
  type CatalogTransaction,
  changeProtectedItem,
  findProtectedItem,
  listProtectedItems,
  listVaultPoints,
  type ProtectedItem,
  type ResourceRecord,
} from '#catalog'
import { ArmError } from '#contract'
import { membersOfGroup } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { checkFields, fieldAt, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { backUpNow } from './backup-now.ts'
import { findVault, ITEM_ACTION, VAULT_PATH } from './find-vault.ts'

const TYPE = 'Microsoft.RecoveryServices/vaults/protectionGroups'
const PATH = `${VAULT_PATH}/protectionGroups`
const ONE = `${PATH}/{protectionGroup}`
const NAME = /^[A-Za-z0-9][\w-]{0,39}$/
const ITEMS_MIN = 2
/** As many as Azure's consistency groups of replication have at most. */
const ITEMS_MAX = 16
const ITEMS = 'properties.items'

export const PROTECTION_GROUP_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'properties.items', use: 'honoured', note: 'ids of 2 to 16 items of this vault, all under one policy' },
  { path: 'properties.policyId', use: 'read-only' },
  { path: 'properties.lastInstant', use: 'read-only' },
]

function invalid(message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target: ITEMS })
}

/** The newest point of the group's first machine that was taken with the group says when and how far apart. */
async function lastInstant(call: ArmCall, name: string, members: readonly ProtectedItem[]) {
  const [first] = members
  if (first === undefined) return undefined
  const points = await listVaultPoints(call.host.catalog, { itemKey: first.key, limit: 20 })
  for (const { facts, takenMs } of points) {
    const group = facts['group'] as Readonly<{ name: string; instant: string; skewMs: number }> | undefined
    if (group?.name.toLowerCase() === name.toLowerCase())
      return { instant: group.instant, time: isoTime(takenMs), skewMs: group.skewMs }
  }
  return undefined
}

async function shown(call: ArmCall, vault: ResourceRecord, name: string, members: readonly ProtectedItem[]) {
  const last = await lastInstant(call, name, members)
  return {
    id: `${vault.id}/protectionGroups/${name}`,
    name,
    type: TYPE,
    properties: {
      items: members.map(({ id }) => id),
      policyId: members[0]?.policyId ?? '',
      ...(last !== undefined && { lastInstant: last }),
    },
  }
}

async function list(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const items = await listProtectedItems(call.host.catalog, { vaultKey: vault.key })
  const grouped = items.filter(({ group, softDeletedMs }) => group !== undefined && softDeletedMs === undefined)
  const groups = Map.groupBy(grouped, ({ group = '' }) => group)
  return ok({ value: await Promise.all([...groups].map(([name, members]) => shown(call, vault, name, members))) })
}

async function findMembers(call: ArmCall, vault: ResourceRecord): Promise<ProtectedItem[]> {
  const name = call.param('protectionGroup')
  const members = await membersOfGroup(call.host.catalog, vault.key, name)
  if (members.length > 0) return members
  throw new ArmError('ResourceNotFound', `The vault '${vault.name}' has no protection group '${name}'.`)
}

async function show(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const members = await findMembers(call, vault)
  return ok(await shown(call, vault, members[0]?.group ?? '', members))
}

function readItems(given: unknown): string[] {
  const body = objectBody(given)
  checkFields(PROTECTION_GROUP_FIELDS, body)
  const items = fieldAt(body, ITEMS)
  if (!Array.isArray(items) || !items.every((one): one is string => typeof one === 'string'))
    throw invalid('items must be a list of ids of protected items.')
  const keys = [...new Set(items.map((one) => one.toLowerCase()))]
  if (keys.length < ITEMS_MIN || keys.length > ITEMS_MAX)
    throw invalid(`A protection group has ${ITEMS_MIN} to ${ITEMS_MAX} items.`)
  return keys
}

async function findWanted(
  trx: CatalogTransaction,
  vault: ResourceRecord,
  name: string,
  keys: readonly string[],
): Promise<ProtectedItem[]> {
  const items: ProtectedItem[] = []
  for (const key of keys) {
    const item = await findProtectedItem(trx, key)
    if (item === undefined || item.vaultKey !== vault.key || item.softDeletedMs !== undefined)
      throw invalid(`The vault '${vault.name}' protects nothing by the id '${key}'.`)
    if (item.group !== undefined && item.group.toLowerCase() !== name.toLowerCase())
      throw new ArmError('Conflict', `'${item.friendlyName}' is in the protection group '${item.group}' already.`)
    items.push(item)
  }
  if (new Set(items.map(({ policyId }) => policyId?.toLowerCase())).size > 1)
    throw invalid('The items of a protection group must be under one policy: a slot of it is one instant.')
  return items
}

/** These and no others; the group is gone when there are none. */
async function setMembers(
  trx: CatalogTransaction,
  vault: ResourceRecord,
  name: string,
  wanted: readonly ProtectedItem[],
  nowMs: number,
): Promise<void> {
  const keys = new Set(wanted.map(({ key }) => key))
  for (const { key } of await membersOfGroup(trx, vault.key, name))
    if (!keys.has(key)) await changeProtectedItem(trx, key, { group: undefined }, nowMs)
  for (const key of keys) await changeProtectedItem(trx, key, { group: name }, nowMs)
}

async function put(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const name = call.param('protectionGroup')
  if (!NAME.test(name))
    throw new ArmError('InvalidResourceName', 'A protection group has 1 to 40 letters, digits, dashes and underscores.')
  const keys = readItems(call.body)
  const nowMs = call.host.clock.nowMs()
  const { isNew, members } = await call.host.catalog.write(async (trx) => {
    const before = await membersOfGroup(trx, vault.key, name)
    const wanted = await findWanted(trx, vault, name, keys)
    const kept = before[0]?.group ?? name
    await setMembers(trx, vault, kept, wanted, nowMs)
    return { isNew: before.length === 0, members: await membersOfGroup(trx, vault.key, kept) }
  })
  const body = await shown(call, vault, members[0]?.group ?? name, members)
  return isNew ? { status: 201, body } : ok(body)
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const name = call.param('protectionGroup')
  const nowMs = call.host.clock.nowMs()
  return call.host.catalog.write(async (trx) => {
    const before = await membersOfGroup(trx, vault.key, name)
    await setMembers(trx, vault, name, [], nowMs)
    return before.length === 0 ? noContent : { status: 200 }
  })
}

async function backup(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const members = await findMembers(call, vault)
  const first = members.find(({ state }) => state !== 'ProtectionStopped' && state !== 'BackupsSuspended') ?? members[0]
  if (first === undefined) throw new ArmError('ResourceNotFound', 'The group has no items.')
  return backUpNow(call, vault, first)
}

export const protectionGroupRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: PATH, action: `${TYPE}/read`, handle: list },
  { method: 'GET', path: ONE, action: `${TYPE}/read`, handle: show },
  { method: 'PUT', path: ONE, action: `${ITEM_ACTION}/write`, handle: put },
  { method: 'DELETE', path: ONE, action: `${ITEM_ACTION}/write`, handle: remove },
  { method: 'POST', path: `${ONE}/backup`, action: `${ITEM_ACTION}/backup/action`, handle: backup },
]
