/**
 * The jobs `delete-restore-point` and `delete-restore-point-collection`: give the versions up, then remove the rows. A version that
 * is locked stays, and the point with it. Disks that were restored need neither.
 */
import { deleteResource, findResource, listResources, updateResource } from '#catalog'
import type { SnapshotBacking, VersionRef } from '#domain'
import { JobsError } from '../../errors.ts'
import type { JobDefinition } from '../../port.ts'
import { inputInvalid, recordOf } from '../../repository-access.ts'
import { WORKER_RETRY } from '../create-disk.ts'
import type { SnapshotJobParts } from '../create-snapshots.ts'
import { regionRepository } from '../region-repository.ts'
import { FORGET_VERSIONS_TASK } from '../version-tasks.ts'
import { unfinishedOf } from './restore-point-rows.ts'

export const DELETE_RESTORE_POINT_JOB = 'delete-restore-point'
export const DELETE_COLLECTION_JOB = 'delete-restore-point-collection'

type IdInput = Readonly<{ id: string }>

function readId(given: unknown): IdInput {
  const { id } = recordOf(given, 'fields')
  if (typeof id !== 'string') throw inputInvalid('id')
  return { id }
}

async function look({ catalog }: SnapshotJobParts, id: string): Promise<readonly VersionRef[] | null> {
  const row = await findResource(catalog, id)
  if (row === undefined) return null
  const users = await unfinishedOf(catalog, id)
  if (users.length > 0 || row.state === 'Creating')
    throw new JobsError(
      'snapshot_in_use',
      `The restore point ${id} is needed by ${users.join(', ') || 'its making'}.`,
      {
        retry: 'later',
      },
    )
  const disks = await listResources(catalog, { parent: id })
  return disks.flatMap(({ backing }) => (backing as SnapshotBacking).version ?? [])
}

export function deleteRestorePointJob(parts: SnapshotJobParts): JobDefinition<IdInput, null> {
  const { catalog, tasks, source, repositories } = parts
  return {
    name: DELETE_RESTORE_POINT_JOB,
    version: 1,
    parse: readId,
    run: async (job, { id }) => {
      const versions = await job.step('look', () => look(parts, id))
      if (versions === null) return null
      job.cleanup('keep', async () => {
        const state = versions.length === 0 ? 'Failed' : 'Succeeded'
        await catalog.write((trx) => updateResource(trx, id, { state }, source))
      })
      const regions = [...new Set(versions.map(({ region }) => region))]
      for (const region of regions)
        await job.step(
          `forget in ${region}`,
          async (step) => {
            const { access } = await regionRepository(repositories, region)
            const points = versions.filter((version) => version.region === region).map(({ point }) => point)
            await tasks.run(step, FORGET_VERSIONS_TASK, { ...access, points })
          },
          { retry: WORKER_RETRY },
        )
      await job.step('remove', () => catalog.write((trx) => deleteResource(trx, id)))
      return null
    },
  }
}

/** Also what `delete-group` starts: every point of the collection by its own job, then the collection. */
export function deleteCollectionJob({ catalog, source }: SnapshotJobParts): JobDefinition<IdInput, null> {
  return {
    name: DELETE_COLLECTION_JOB,
    version: 1,
    parse: readId,
    run: async (job, { id }) => {
      job.cleanup('keep', async () => {
        await catalog.write((trx) => updateResource(trx, id, { state: 'Succeeded' }, source))
      })
      const points = await job.step('list', async () =>
        (await listResources(catalog, { parent: id })).map((point) => point.id),
      )
      for (const point of points) await job.child(`delete ${point}`, DELETE_RESTORE_POINT_JOB, { id: point })
      await job.step('remove', () => catalog.write((trx) => deleteResource(trx, id)))
      return null
    },
  }
}
