/**
 * All records of one vault at once: they go with it, and follow it when it becomes a deleted vault or comes back, which gives it
 * and everything in it another id. Its own row and its policies are resources; their keys are changed here too.
 */
import { sql } from 'kysely'
import type { CatalogTransaction } from './catalog.ts'

export type MovedVault = Readonly<{
  id: string
  type: string
  name: string
  /** Of the resource group; undefined: it stands outside groups. */
  group: string | undefined
}>

/**
 * Gives the vault another id, and its policies, items, points, jobs and alerts with it. Policies keep their type: their parent says
 * whose they are. Only a child whose id stands below the vault's gets another one.
 */
export async function moveVault(trx: CatalogTransaction, fromId: string, to: MovedVault): Promise<void> {
  const from = fromId.toLowerCase()
  const key = to.id.toLowerCase()
  const head = (text: string, column: string) =>
    sql<string>`${text} || substr(${sql.ref(column)}, ${sql.lit(from.length + 1)})`
  const below = `${from}/`
  await trx
    .updateTable('resource')
    .set({ key: head(key, 'key'), id: head(to.id, 'id'), parent_key: key, group_key: to.group?.toLowerCase() ?? '' })
    .where('parent_key', '=', from)
    .where(sql`substr(key, 1, ${sql.lit(below.length)})`, '=', below)
    .execute()
  await trx.updateTable('resource').set({ parent_key: key }).where('parent_key', '=', from).execute()
  await trx
    .updateTable('resource')
    .set({
      key,
      id: to.id,
      type: to.type,
      type_key: to.type.toLowerCase(),
      name: to.name,
      group_key: to.group?.toLowerCase() ?? '',
    })
    .where('key', '=', from)
    .execute()
  await moveVaultRecords(trx, fromId, to.id)
}

/** Renames the vault in the keys of its items, points, jobs and alerts. */
export async function moveVaultRecords(trx: CatalogTransaction, fromId: string, toId: string): Promise<void> {
  const from = fromId.toLowerCase()
  const to = toId.toLowerCase()
  const moved = (column: string, head: string) =>
    sql<string>`${head} || substr(${sql.ref(column)}, ${sql.lit(from.length + 1)})`
  // Points follow their items by the foreign key; what else names an item does so by hand.
  await trx
    .updateTable('protected_item')
    .set({
      key: moved('key', to),
      id: moved('id', toId),
      vault_key: to,
      policy_key: moved('policy_key', to),
      policy_id: moved('policy_id', toId),
    })
    .where('vault_key', '=', from)
    .execute()
  await trx.updateTable('vault_point').set({ vault_key: to }).where('vault_key', '=', from).execute()
  await trx
    .updateTable('backup_job')
    .set({ vault_key: to, item_key: moved('item_key', to) })
    .where('vault_key', '=', from)
    .execute()
  await trx
    .updateTable('vault_alert')
    .set({ vault_key: to, item_key: moved('item_key', to) })
    .where('vault_key', '=', from)
    .execute()
}

/** Forgets items, points, jobs and alerts of a vault that is gone. */
export async function deleteVaultRecords(trx: CatalogTransaction, vaultId: string): Promise<void> {
  const vaultKey = vaultId.toLowerCase()
  await trx.deleteFrom('protected_item').where('vault_key', '=', vaultKey).execute()
  await trx.deleteFrom('backup_job').where('vault_key', '=', vaultKey).execute()
  await trx.deleteFrom('vault_alert').where('vault_key', '=', vaultKey).execute()
}
