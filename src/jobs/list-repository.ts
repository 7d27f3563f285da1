/**
 * The job `list-repository`: brings the catalog's cache of one repository into agreement with the repository's own listing.
 * With it a lost catalog is filled again. Repeating it is harmless: the cache is replaced as a whole, in one transaction.
 */
import { type Catalog, recordRepository, refillPoints } from '#catalog'
import { listedPoint } from './listed-point.ts'
import type { JobDefinition } from './port.ts'
import { readRepositoryAccess, recordOf, type RepositoryAccess, type RepositoryHost } from './repository-access.ts'
import { withRepository } from './repository-access.ts'

export const LIST_REPOSITORY_JOB = 'list-repository'

/** `added`: points that were new or had changed; `dropped`: those that the repository does not hold any more. */
export type ListRepositoryOutput = Readonly<{ repositoryId: string; points: number; added: number; dropped: number }>

export function listRepositoryJob(
  catalog: Catalog,
  host: RepositoryHost,
): JobDefinition<RepositoryAccess, ListRepositoryOutput> {
  return {
    name: LIST_REPOSITORY_JOB,
    version: 1,
    parse: (input) => readRepositoryAccess(recordOf(input, 'fields')),
    run: (job, access) =>
      job.step('list', () =>
        withRepository(access, host, async (repository) => {
          await repository.log.refresh()
          const listed = repository.points().map((point) => listedPoint(repository, point))
          const { id } = repository.config
          const nowMs = host.clock.nowMs()
          await recordRepository(catalog, { id, location: access.store, addedMs: nowMs })
          const plan = await refillPoints(catalog, id, listed, nowMs)
          return { repositoryId: id, points: listed.length, added: plan.put.length, dropped: plan.drop.length }
        }),
      ),
  }
}
