/**
 * The job `create-vault`: the key and the repository of a vault whose row is there already, then its default policies.
 *
 *   crash before the record   the step runs again: the uid of the row names key and folder, so it finds what it made
 *   it fails                  the row says Failed; the same PUT begins again, with the same uid
 */
import { type CatalogTransaction, findResource, insertResource, type ResourceRecord, updateResource } from '#catalog'
import { type BackupPolicy, DEFAULT_POLICIES } from '#domain'
import type { ChangeSource } from '#catalog'
import type { RegionRepositoryParts } from '../compute/region-repository.ts'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { inputInvalid, recordOf } from '../repository-access.ts'
import type { TaskRunner } from '../tasks.ts'
import { makeVaultRepository } from './vault-repository.ts'
import { POLICY_TYPE, type PolicyBacking, type VaultBacking, vaultBackingOf } from './vault-rows.ts'

export const CREATE_VAULT_JOB = 'create-vault'

export type VaultJobParts = Readonly<{
  repositories: RegionRepositoryParts
  tasks: TaskRunner
  source: ChangeSource
}>

export function readVaultId(given: unknown): Readonly<{ id: string }> {
  const { id } = recordOf(given, 'fields')
  if (typeof id !== 'string') throw inputInvalid('id')
  return { id }
}

/** The record must not exist yet. */
export async function insertPolicy(
  trx: CatalogTransaction,
  vault: ResourceRecord,
  given: Readonly<{ name: string; policy: BackupPolicy; body?: Readonly<Record<string, unknown>> }>,
  source: ChangeSource,
): Promise<ResourceRecord> {
  const backing: PolicyBacking = { policy: given.policy }
  const row = {
    id: `${vault.id}/backupPolicies/${given.name}`,
    subscription: vault.subscription,
    group: vault.groupKey,
    type: POLICY_TYPE,
    name: given.name,
    location: undefined,
    tags: {},
    state: 'Succeeded',
    body: given.body ?? {},
    backing,
    parentId: vault.id,
  }
  return insertResource(trx, row, source)
}

/** What is to be recorded of a vault that is made. */
async function record(trx: CatalogTransaction, id: string, repositoryId: string, source: ChangeSource): Promise<void> {
  const row = await findResource(trx, id)
  if (row === undefined) return
  const backing: VaultBacking = { ...vaultBackingOf(row), repositoryId }
  await updateResource(trx, id, { state: 'Succeeded', backing }, source)
  for (const [name, policy] of Object.entries(DEFAULT_POLICIES)) {
    const policyId = `${row.id}/backupPolicies/${name}`
    if ((await findResource(trx, policyId)) === undefined) await insertPolicy(trx, row, { name, policy }, source)
  }
}

export function createVaultJob(parts: VaultJobParts): JobDefinition<Readonly<{ id: string }>, null> {
  const { repositories, source } = parts
  const { catalog } = repositories
  return {
    name: CREATE_VAULT_JOB,
    version: 1,
    parse: readVaultId,
    run: async (job, { id }) => {
      job.cleanup('say that it failed', async () => {
        await catalog.write((trx) => updateResource(trx, id, { state: 'Failed' }, source))
      })
      const repositoryId = await job.step('make', async () => {
        const row = await findResource(catalog, id)
        if (row === undefined) throw new JobsError('vault_not_there', `The vault ${id} is gone.`, { retry: 'never' })
        return makeVaultRepository(repositories, vaultBackingOf(row))
      })
      await job.step('record', () => catalog.write((trx) => record(trx, id, repositoryId, source)))
      return null
    },
  }
}
