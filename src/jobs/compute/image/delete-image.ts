/**
 * The job `delete-image`: gives the versions up, removes the row, and removes bases that nothing rests on. Disks made from the image
 * live on: they rest on their base, which needs neither image nor repository. A locked version stays, and the image with it.
 */
import { deleteResource, findResource, listPools, updateResource } from '#catalog'
import type { ImageBacking, VersionRef } from '#domain'
import { JobsError } from '../../errors.ts'
import type { JobDefinition } from '../../port.ts'
import { inputInvalid, recordOf } from '../../repository-access.ts'
import { WORKER_RETRY } from '../create-disk.ts'
import { regionRepository } from '../region-repository.ts'
import { FORGET_VERSIONS_TASK } from '../version-tasks.ts'
import { baseOf } from './base-place.ts'
import type { ImageJobParts } from './create-image.ts'
import { disksBeingMadeOf } from './image-rows.ts'
import { releaseBase } from './sweep-bases.ts'

export const DELETE_IMAGE_JOB = 'delete-image'

type Found = Readonly<{ region: string; versions: readonly VersionRef[] }>

async function look({ catalog }: ImageJobParts, id: string): Promise<Found | null> {
  const row = await findResource(catalog, id)
  if (row === undefined) return null
  const users = await disksBeingMadeOf(catalog, id)
  if (users.length > 0 || row.state === 'Creating')
    throw new JobsError('image_in_demand', `The image ${id} is needed by ${users.join(', ') || 'its making'}.`, {
      retry: 'later',
    })
  const { disks = [] } = row.backing as ImageBacking
  return { region: row.location ?? '', versions: disks.map(({ version }) => version) }
}

/** Also what `delete-group` starts: done when there is no such image. */
export function deleteImageJob(parts: ImageJobParts): JobDefinition<Readonly<{ id: string }>, null> {
  const { catalog, tasks, source, repositories } = parts
  return {
    name: DELETE_IMAGE_JOB,
    version: 1,
    parse: (given) => {
      const { id } = recordOf(given, 'fields')
      if (typeof id !== 'string') throw inputInvalid('id')
      return { id }
    },
    run: async (job, { id }) => {
      const found = await job.step('look', () => look(parts, id))
      if (found === null) return null
      const { region, versions } = found
      job.cleanup('keep', async () => {
        await catalog.write((trx) =>
          updateResource(trx, id, { state: versions.length === 0 ? 'Failed' : 'Succeeded' }, source),
        )
      })
      if (versions.length > 0)
        await job.step(
          'forget',
          async (step) => {
            const { access } = await regionRepository(repositories, region)
            await tasks.run(step, FORGET_VERSIONS_TASK, { ...access, points: versions.map(({ point }) => point) })
          },
          { retry: WORKER_RETRY },
        )
      await job.step('remove', () => catalog.write((trx) => deleteResource(trx, id)))
      const pools = await job.step('pools', async () => (await listPools(catalog, region)).map(({ path }) => path))
      for (const pool of pools)
        for (const version of versions)
          await releaseBase(job, parts, baseOf(pool, version), `release ${version.point} of ${pool}`)
      return null
    },
  }
}
