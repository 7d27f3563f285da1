/**
 * What is done to a protected item: enabled, given another policy or other disks, stopped, brought back. Each is one transaction with
 * its record in the list of jobs, and what it means for the item's points is written in the same one.
 */
import { randomUuid } from '#base'
import {
  type Catalog,
  type CatalogTransaction,
  changeProtectedItem,
  findProtectedItem,
  findResource,
  insertProtectedItem,
  listProtectedItems,
  listVaultPoints,
  type ProtectedItem,
  type ProtectedItemChange,
  type ResourceRecord,
} from '#catalog'
import { ArmError, type ResourceId, sameId } from '#contract'
import { type BackupPolicy, isImmutable, whyNotVersion, whyWeaker } from '#domain'
import { dueAfter, findPolicy, keepByPolicy, vaultSettingsOf } from '#jobs'
import type { ArmCall, ArmReply } from '../../arm/call.ts'
import { ITEM_ACTION } from './find-vault.ts'
import { itemId, itemName, type MachineName, machineNameOf } from './item-names.ts'
import { MACHINE } from './item-view.ts'
import type { ItemWish } from './read-item.ts'
import { beginVaultOperation } from './vault-operations.ts'

const WRITE = `${ITEM_ACTION}/write`

function refused(message: string): ArmError {
  return new ArmError('OperationNotAllowed', message)
}

/** @throws ArmError when the policy is not this vault's */
export async function policyIn(
  call: ArmCall,
  vault: ResourceRecord,
  { text, parent }: ResourceId,
): Promise<BackupPolicy> {
  const policy = sameId(parent ?? '', vault.id) ? await findPolicy(call.host.catalog, text) : undefined
  if (policy !== undefined) return policy
  throw new ArmError('InvalidResourceReference', `'${text}' is no policy of the vault '${vault.name}'.`, {
    target: 'properties.policyId',
  })
}

/** The machine, which the caller may see. @throws ArmError */
export async function machineIn(call: ArmCall, vault: ResourceRecord, machineId: string): Promise<ResourceRecord> {
  call.authorize(`${MACHINE}/read`, machineId)
  const machine = await findResource(call.host.catalog, machineId)
  const target = 'properties.sourceResourceId'
  if (machine === undefined)
    throw new ArmError(
      'ResourceNotFound',
      `The Resource '${MACHINE}/${machineId.split('/').at(-1) ?? ''}' was not found.`,
      {
        target,
      },
    )
  if (machine.location !== vault.location)
    throw new ArmError(
      'InvalidParameter',
      `The machine is in '${machine.location ?? ''}', the vault in '${vault.location ?? ''}': a vault protects machines of its own region.`,
      { target },
    )
  if (machine.state === 'Deleting' || machine.state === 'Creating')
    throw refused(`The machine '${machine.id}' is ${machine.state}: protect it when that has ended.`)
  return machine
}

/** A machine is protected by one vault at a time; data that is kept elsewhere does not matter. @throws ArmError */
async function checkNotElsewhere(trx: CatalogTransaction, vaultKey: string, machineKey: string): Promise<void> {
  const items = await listProtectedItems(trx, { machineKey })
  const other = items.find(
    (item) =>
      item.vaultKey !== vaultKey &&
      item.softDeletedMs === undefined &&
      item.state !== 'ProtectionStopped' &&
      item.state !== 'BackupsSuspended',
  )
  if (other !== undefined)
    throw refused(`The machine is protected by the item '${other.id}' already: stop its protection there first.`)
}

function propertyBag(policyId: string | undefined): Readonly<Record<string, string>> {
  return policyId === undefined ? {} : { 'Policy Name': policyId.split('/').at(-1) ?? '' }
}

type Protect = Extract<ItemWish, { kind: 'protect' }>

export async function enable(
  call: ArmCall,
  vault: ResourceRecord,
  machine: ResourceRecord,
  { policy: policyId, exclusion }: Protect,
): Promise<ArmReply> {
  const { clock, random } = call.host
  const policy = await policyIn(call, vault, policyId)
  const name = machineNameOf(machine.id)
  const id = itemId(vault.id, name)
  const nowMs = clock.nowMs()
  const item: ProtectedItem = {
    key: id.toLowerCase(),
    id,
    vaultKey: vault.key,
    name: itemName(name),
    machineId: machine.id,
    machineKey: machine.key,
    friendlyName: machine.name,
    state: 'IRPending',
    policyId: policyId.text,
    ...(exclusion !== null && exclusion !== undefined && { exclusion }),
    facts: { dataId: randomUuid(random) },
    createdMs: nowMs,
    changedMs: nowMs,
  }
  return beginVaultOperation(call, vault, {
    at: id,
    itemKey: item.key,
    entityName: machine.name,
    operation: 'ConfigureBackup',
    action: WRITE,
    properties: propertyBag(policyId.text),
    announce: async (trx) => {
      if ((await findProtectedItem(trx, id)) !== undefined)
        throw new ArmError('AnotherOperationInProgress', `'${id}' was made by another request meanwhile.`)
      await checkNotElsewhere(trx, vault.key, machine.key)
      await insertProtectedItem(trx, { ...item, ...(await dueAfter(trx, item, policy, nowMs)) })
    },
  })
}

/** What an immutable vault does not allow of a change of policy. */
function whyNotPolicy(
  vault: ResourceRecord,
  before: BackupPolicy | undefined,
  after: BackupPolicy,
): string | undefined {
  if (before === undefined) return undefined
  const weaker = isImmutable(vaultSettingsOf(vault)) ? whyWeaker(before, after) : undefined
  const version = whyNotVersion(before, after)
  if (version !== undefined) return 'A machine that is protected by a policy of type V2 cannot be given one of type V1.'
  return weaker && `The vault is immutable, and the policy keeps less than the one before: ${weaker}.`
}

/** What the item was protected by until it was stopped for ever; its record may be gone, or another's of the same name, by now. */
const LAST_POLICY = 'lastPolicy'

function policyBefore(from: CatalogTransaction | Catalog, { policyId, facts }: ProtectedItem) {
  return policyId === undefined
    ? Promise.resolve(facts[LAST_POLICY] as BackupPolicy | undefined)
    : findPolicy(from, policyId)
}

async function current(trx: CatalogTransaction, item: ProtectedItem): Promise<ProtectedItem> {
  const now = await findProtectedItem(trx, item.key)
  if (now?.changedMs === item.changedMs && now.state === item.state) return now
  throw new ArmError('AnotherOperationInProgress', `'${item.id}' is being changed by another request.`)
}

async function change(trx: CatalogTransaction, item: ProtectedItem, wanted: ProtectedItemChange, nowMs: number) {
  const changed = await changeProtectedItem(trx, item.key, wanted, nowMs)
  if (changed !== undefined) await keepByPolicy(trx, changed, nowMs)
}

/** Another policy, other disks, or protection again after it was stopped. */
export async function modify(
  call: ArmCall,
  vault: ResourceRecord,
  item: ProtectedItem,
  { policy: policyId, exclusion }: Protect,
): Promise<ArmReply> {
  const { catalog, clock } = call.host
  const nowMs = clock.nowMs()
  if (item.softDeletedMs !== undefined)
    throw refused(
      `The backup data of '${item.friendlyName}' is deleted and kept until its time is over: undelete it first.`,
    )
  await machineIn(call, vault, item.machineId)
  const policy = await policyIn(call, vault, policyId)
  const why = whyNotPolicy(vault, await policyBefore(catalog, item), policy)
  if (why !== undefined) throw refused(why)
  return beginVaultOperation(call, vault, {
    at: item.id,
    itemKey: item.key,
    entityName: item.friendlyName,
    operation: 'ModifyPolicy',
    action: WRITE,
    properties: propertyBag(policyId.text),
    announce: async (trx) => {
      const now = await current(trx, item)
      await checkNotElsewhere(trx, vault.key, item.machineKey)
      const isStopped = now.state === 'ProtectionStopped' || now.state === 'BackupsSuspended'
      const hasPoints = (await listVaultPoints(trx, { itemKey: item.key, softDeleted: false, limit: 1 })).length > 0
      const due = await dueAfter(trx, { key: item.key, policyId: policyId.text }, policy, nowMs)
      await change(
        trx,
        now,
        {
          policyId: policyId.text,
          facts: { ...now.facts, [LAST_POLICY]: undefined },
          ...due,
          ...(isStopped && { state: hasPoints ? ('Protected' as const) : ('IRPending' as const) }),
          ...(exclusion !== undefined && { exclusion: exclusion ?? undefined }),
        },
        nowMs,
      )
    },
  })
}

/** Stop, and keep the data: for ever, or as the policy that the item had says. */
export function stop(
  call: ArmCall,
  vault: ResourceRecord,
  item: ProtectedItem,
  { state }: Extract<ItemWish, { kind: 'stop' }>,
): Promise<ArmReply> {
  const nowMs = call.host.clock.nowMs()
  if (item.softDeletedMs !== undefined) throw refused(`The backup data of '${item.friendlyName}' is deleted already.`)
  if (state === 'BackupsSuspended' && item.policyId === undefined)
    throw refused(
      `'${item.friendlyName}' has no policy by which its data could be kept: its protection was stopped before.`,
    )
  return beginVaultOperation(call, vault, {
    at: item.id,
    itemKey: item.key,
    entityName: item.friendlyName,
    operation: 'DisableBackup',
    action: WRITE,
    announce: async (trx) => {
      const now = await current(trx, item)
      const lastPolicy = await policyBefore(trx, now)
      const forever =
        state === 'ProtectionStopped' ? { policyId: undefined, facts: { ...now.facts, [LAST_POLICY]: lastPolicy } } : {}
      await change(trx, now, { state, nextDueMs: undefined, slotMs: undefined, ...forever }, nowMs)
    },
  })
}

/** Deleted data comes back; protection stays stopped until it is resumed, as in Azure. */
export function undelete(call: ArmCall, vault: ResourceRecord, item: ProtectedItem): Promise<ArmReply> {
  const nowMs = call.host.clock.nowMs()
  return beginVaultOperation(call, vault, {
    at: item.id,
    itemKey: item.key,
    entityName: item.friendlyName,
    operation: 'Undelete',
    action: WRITE,
    announce: async (trx) => {
      const now = await current(trx, item)
      if (now.softDeletedMs === undefined) throw refused(`The backup data of '${item.friendlyName}' is not deleted.`)
      if (now.purgeAtMs !== undefined && now.purgeAtMs <= nowMs)
        throw refused(`The time of the deleted data of '${item.friendlyName}' is over: it is being removed.`)
      await change(trx, now, { softDeletedMs: undefined, purgeAtMs: undefined, state: 'ProtectionStopped' }, nowMs)
    },
  })
}

/** The item that a path of names leads to, as it is now. */
export function findItemOf(
  call: ArmCall,
  vault: ResourceRecord,
  name: MachineName,
): Promise<ProtectedItem | undefined> {
  return findProtectedItem(call.host.catalog, itemId(vault.id, name))
}
