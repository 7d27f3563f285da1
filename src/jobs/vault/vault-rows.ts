/** Vaults as records: what stands behind the row of `Microsoft.RecoveryServices/vaults`. */
import { type Catalog, type CatalogTransaction, findResource, type ResourceRecord } from '#catalog'
import { JobsError } from '../errors.ts'

export const VAULT_TYPE = 'Microsoft.RecoveryServices/vaults'
export const DELETED_VAULT_TYPE = 'Microsoft.RecoveryServices/deletedVaults'
export const POLICY_TYPE = 'Microsoft.RecoveryServices/vaults/backupPolicies'

export type VaultBacking = Readonly<{
  /** What its folder and its key file are named by; never changes, and is never given again. */
  uid: string
  region: string
  /** Where its repository lies: a folder or an s3:// URL. */
  location: string
  /** Undefined while it is being made. */
  repositoryId?: string
  /** A copy that is kept in another region (GRS): the same packs, the same log, the same key. */
  mirror?: Readonly<{ region: string; location: string }>
}>

export function vaultBackingOf(row: ResourceRecord): VaultBacking {
  return row.backing as VaultBacking
}

/** A vault, or a deleted one that is still kept. @throws JobsError `vault_not_there` */
export async function vaultRow(from: Catalog | CatalogTransaction, vaultId: string): Promise<ResourceRecord> {
  const row = await findResource(from, vaultId)
  if (row !== undefined && (row.type === VAULT_TYPE || row.type === DELETED_VAULT_TYPE)) return row
  throw new JobsError('vault_not_there', `There is no vault ${vaultId}.`, { facts: { vault: vaultId } })
}
