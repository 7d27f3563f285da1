/**
 * The job `delete-storage-account`, for `delete-group`: first the record, without which nobody reaches the blobs, then their
 * folder. A crash in between leaves a folder that nobody names; the job goes on and removes it.
 */
import { rm } from 'node:fs/promises'
import { type Catalog, deleteResource, findResource } from '#catalog'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { recordOf } from '../repository-access.ts'

export const DELETE_STORAGE_JOB = 'delete-storage-account'

type IdInput = Readonly<{ id: string }>

function readInput(given: unknown): IdInput {
  const { id } = recordOf(given, 'fields')
  if (typeof id === 'string') return { id }
  throw new JobsError('job_input_invalid', 'The job’s input has no valid id.')
}

export function deleteStorageJob({ catalog }: Readonly<{ catalog: Catalog }>): JobDefinition<IdInput, null> {
  return {
    name: DELETE_STORAGE_JOB,
    version: 1,
    parse: readInput,
    run: async (job, { id }) => {
      const folder = await job.step('find it', async () => {
        const found = (await findResource(catalog, id))?.backing['folder']
        return typeof found === 'string' ? found : null
      })
      await job.step('forget it', () => catalog.write((trx) => deleteResource(trx, id)))
      if (folder !== null) await job.step('remove its folder', () => rm(folder, { recursive: true, force: true }))
      return null
    },
  }
}
