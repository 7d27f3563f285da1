/** Who is in a protection group. An item names its group; a group is what names it. */
import {
  type Catalog,
  type CatalogTransaction,
  findProtectedItem,
  listProtectedItems,
  type ProtectedItem,
} from '#catalog'

/** Items of a vault that name this group, and are backed up. */
export async function membersOfGroup(
  from: Catalog | CatalogTransaction,
  vaultKey: string,
  group: string,
): Promise<ProtectedItem[]> {
  const all = await listProtectedItems(from, { vaultKey })
  const name = group.toLowerCase()
  return all.filter((item) => item.group?.toLowerCase() === name && item.softDeletedMs === undefined)
}

/** Backups of a group are of those that are protected now: one whose protection is stopped keeps none of the others. */
function isBackedUp({ state }: ProtectedItem): boolean {
  return state !== 'ProtectionStopped' && state !== 'BackupsSuspended'
}

/** The item, and those that are backed up with it. */
export async function withItsGroup(from: Catalog | CatalogTransaction, key: string): Promise<ProtectedItem[]> {
  const item = await findProtectedItem(from, key)
  if (item === undefined) return []
  if (item.group === undefined) return [item]
  const members = await membersOfGroup(from, item.vaultKey, item.group)
  return members.filter((one) => one.key === item.key || isBackedUp(one))
}
