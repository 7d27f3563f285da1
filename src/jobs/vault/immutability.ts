/**
 * A vault's immutability, down to its store: the repository's own policy, which stands in its log and is obeyed by every reader, and the locks
 * that each commit takes (engine/repository/immutability). The vault's record is what is wanted; this makes the repository so, and says in a
 * setting what it is.
 *
 *   vault       repository                                                  what it does
 *   Disabled    disabled, unless it is locked                               points are locked only as far as their backup asked
 *   Unlocked    unlocked, at least one day                                  every new point is locked; the policy may still be taken back
 *   Locked      unlocked, then locked                                       likewise, and never taken back
 *
 * What is locked stays locked until its end, whatever the vault becomes: no lock is ever taken back. May be done at any time, twice.
 */
import { type Catalog, findSetting, putSetting } from '#catalog'
import type { VaultImmutability } from '#domain'
import type { ImmutabilityPolicy, Repository } from '#engine/repository'
import type { RegionRepositoryParts } from '../compute/region-repository.ts'
import type { JobDefinition } from '../port.ts'
import { inputInvalid, readTaskAccess, recordOf, type RepositoryHost, withRepository } from '../repository-access.ts'
import type { TaskHandler, TaskRunner } from '../tasks.ts'
import { vaultRepository } from './vault-repository.ts'
import { vaultBackingOf, vaultRow } from './vault-rows.ts'

export const SET_IMMUTABILITY_JOB = 'set-vault-immutability'
export const SET_IMMUTABILITY_TASK = 'set-vault-immutability'

const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 30_000 }

/** What the repository is to go by. */
export function policyFor({ state, days = 1 }: VaultImmutability): ImmutabilityPolicy {
  if (state === 'Disabled') return { state: 'disabled', days: 0 }
  return { state: state === 'Locked' ? 'locked' : 'unlocked', days }
}

const nameOf = (uid: string): string => `vault-immutability/${uid}`

/** What the vault's repository goes by, as far as this server has made it so. */
export async function appliedImmutability(catalog: Catalog, uid: string): Promise<ImmutabilityPolicy> {
  const text = await findSetting(catalog, nameOf(uid))
  return text === undefined ? { state: 'disabled', days: 0 } : (JSON.parse(text) as ImmutabilityPolicy)
}

export function isSamePolicy(a: ImmutabilityPolicy, b: ImmutabilityPolicy): boolean {
  return a.state === b.state && a.days === b.days
}

/** @throws immutability_locked, lock_failed where the store cannot lock */
export async function applyPolicy(repository: Repository, wanted: ImmutabilityPolicy): Promise<ImmutabilityPolicy> {
  const { immutability, log } = repository
  await log.refresh()
  const now = log.state.immutability
  if (isSamePolicy(now, wanted)) return now
  // Locking takes two steps, so that nobody does it by one slip; the vault's own rules have asked for both.
  if (wanted.state === 'locked' && now.state === 'disabled')
    await immutability.setPolicy({ state: 'unlocked', days: wanted.days })
  await immutability.setPolicy(wanted)
  return log.state.immutability
}

export function setImmutabilityTask(host: RepositoryHost): TaskHandler {
  return async (given): Promise<ImmutabilityPolicy> => {
    const input = recordOf(given, 'fields')
    const { state, days } = recordOf(input['policy'], 'policy')
    if (typeof days !== 'number' || !['disabled', 'unlocked', 'locked'].includes(String(state)))
      throw inputInvalid('policy')
    const wanted = { state: state as ImmutabilityPolicy['state'], days }
    return withRepository(readTaskAccess(input), host, (repository) => applyPolicy(repository, wanted))
  }
}

export type ImmutabilityParts = Readonly<{ tasks: TaskRunner; repositories: RegionRepositoryParts }>

/** Makes the vault's repository go by what the vault's record wants now. */
export function setImmutabilityJob(
  parts: ImmutabilityParts,
): JobDefinition<Readonly<{ vault: string }>, ImmutabilityPolicy> {
  const { tasks, repositories } = parts
  const { catalog } = repositories
  return {
    name: SET_IMMUTABILITY_JOB,
    version: 1,
    parse: (given) => {
      const { vault } = recordOf(given, 'fields')
      if (typeof vault !== 'string') throw inputInvalid('vault')
      return { vault }
    },
    run: async (job, { vault }) => {
      const look = await job.step('look', async () => {
        const { uid, settings } = vaultBackingOf(await vaultRow(catalog, vault))
        const { access } = await vaultRepository(repositories, vault)
        return { uid, wanted: { ...access, policy: policyFor(settings.immutability) } }
      })
      const made = await job.step('set', (step) => tasks.run(step, SET_IMMUTABILITY_TASK, look.wanted), {
        retry: WORKER_RETRY,
      })
      await job.step('record', () =>
        catalog.write((trx) => putSetting(trx, nameOf(look.uid), JSON.stringify(made))).then(() => null),
      )
      return made as ImmutabilityPolicy
    },
  }
}
