/**
 * The job `delete-snapshot`: gives the version up, then removes the row. A version that is locked stays, and the snapshot
 * with it. What the version alone needed is freed by prune, which is a job of its own (`prune-regions`).
 */
import { deleteResource, findResource, listStores, updateResource } from '#catalog'
import type { SnapshotBacking } from '#domain'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { inputInvalid, recordOf } from '../repository-access.ts'
import type { SnapshotJobParts } from './create-snapshots.ts'
import { regionRepository } from './region-repository.ts'
import { unfinishedCopiesOf } from './snapshot-rows.ts'
import { FORGET_VERSIONS_TASK, PRUNE_TASK, type Pruned } from './version-tasks.ts'

export const DELETE_SNAPSHOT_JOB = 'delete-snapshot'
export const PRUNE_REGIONS_JOB = 'prune-regions'

const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 10_000 }

export function deleteSnapshotJob(parts: SnapshotJobParts): JobDefinition<Readonly<{ id: string }>, null> {
  const { catalog, tasks, source, repositories } = parts
  return {
    name: DELETE_SNAPSHOT_JOB,
    version: 1,
    parse: (given) => {
      const { id } = recordOf(given, 'fields')
      if (typeof id !== 'string') throw inputInvalid('id')
      return { id }
    },
    run: async (job, { id }) => {
      const found = await job.step('look', async () => {
        const row = await findResource(catalog, id)
        if (row === undefined) return null
        const users = await unfinishedCopiesOf(catalog, id)
        if (users.length > 0 || row.state === 'Creating')
          throw new JobsError(
            'snapshot_in_use',
            `The snapshot ${id} is still needed by ${users.join(', ') || 'its making'}.`,
            {
              retry: 'never',
            },
          )
        return { version: (row.backing as SnapshotBacking).version ?? null }
      })
      if (found === null) return null
      const { version } = found
      job.cleanup('keep', async () => {
        await catalog.write((trx) =>
          updateResource(trx, id, { state: version === null ? 'Failed' : 'Succeeded' }, source),
        )
      })
      if (version !== null)
        await job.step(
          'forget',
          async (step) => {
            const { access } = await regionRepository(repositories, version.region)
            await tasks.run(step, FORGET_VERSIONS_TASK, { ...access, points: [version.point] })
          },
          { retry: WORKER_RETRY },
        )
      await job.step('remove', () => catalog.write((trx) => deleteResource(trx, id)))
      return null
    },
  }
}

/** Prunes the repositories of all regions, or of one. On a schedule, and on demand. */
export function pruneRegionsJob(
  parts: SnapshotJobParts,
): JobDefinition<Readonly<{ region?: string }>, readonly (Pruned & Readonly<{ region: string }>)[]> {
  const { catalog, tasks, repositories } = parts
  return {
    name: PRUNE_REGIONS_JOB,
    version: 1,
    parse: (given) => {
      const { region } = recordOf(given ?? {}, 'fields')
      return typeof region === 'string' ? { region } : {}
    },
    run: async (job, { region }) => {
      const regions = await job.step('regions', async () => {
        const stores = await listStores(catalog, region)
        return [
          ...new Set(stores.filter(({ repositoryId }) => repositoryId !== undefined).map((store) => store.region)),
        ]
      })
      const done: (Pruned & Readonly<{ region: string }>)[] = []
      for (const one of regions) {
        const pruned = await job.step(
          `prune ${one}`,
          async (step) => {
            const { access } = await regionRepository(repositories, one)
            return (await tasks.run(step, PRUNE_TASK, access)) as Pruned
          },
          { retry: WORKER_RETRY },
        )
        done.push({ region: one, ...pruned })
      }
      return done
    },
  }
}
