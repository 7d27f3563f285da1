/**
 * The job `delete-group`: everything in a resource group, then the group. What another resource still needs is refused by
 * its own deletion and tried again after the others, until a whole round brings nothing; then the job fails and says what
 * is in the way, and the group stays, usable.
 */
import { messageOf } from '#base'
import { type Catalog, type ChangeSource, deleteResource, listResources, updateResource } from '#catalog'
import { JobsError } from '../errors.ts'
import type { JobContext, JobDefinition } from '../port.ts'
import { recordOf } from '../repository-access.ts'

export const GROUP_DELETE_JOB = 'delete-group'
export const RESOURCE_QUEUE = 'resource'

/** The job that deletes a resource of the type, by its name in lower case. It takes `{id}` and is done when there is none. */
export type DeleteJobs = ReadonlyMap<string, string>

export type DeleteGroupParts = Readonly<{ catalog: Catalog; source: ChangeSource; deleteJobs: DeleteJobs }>

const ROUNDS_MAX = 20

function readInput(given: unknown): Readonly<{ group: string }> {
  const { group } = recordOf(given, 'fields')
  if (typeof group === 'string' && group.startsWith('/subscriptions/')) return { group }
  throw new JobsError('job_input_invalid', 'The job’s input has no valid group.', { facts: { field: 'group' } })
}

type Found = Readonly<{ id: string; type: string }>

async function deleteOne(
  job: JobContext,
  parts: DeleteGroupParts,
  found: Found,
  round: number,
): Promise<string | undefined> {
  const name = `delete ${found.id} ${round}`
  const deleteJob = parts.deleteJobs.get(found.type.toLowerCase())
  try {
    if (deleteJob === undefined) await job.step(name, () => parts.catalog.write((trx) => deleteResource(trx, found.id)))
    // The key is that of its own operations: none of them runs beside its deletion.
    else await job.child(name, deleteJob, { id: found.id }, { queue: RESOURCE_QUEUE, key: found.id.toLowerCase() })
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

export function deleteGroupJob(parts: DeleteGroupParts): JobDefinition<{ group: string }, null> {
  const { catalog, source } = parts
  return {
    name: GROUP_DELETE_JOB,
    version: 1,
    parse: readInput,
    run: async (job, { group }) => {
      job.cleanup('keep the group', async () => {
        await catalog.write((trx) => updateResource(trx, group, { state: 'Succeeded' }, source))
      })
      let before = Number.POSITIVE_INFINITY
      for (let round = 0; round < ROUNDS_MAX; round += 1) {
        const found = await job.step(`list ${round}`, async () =>
          (await listResources(catalog, { group })).map(({ id, type, parentKey }) => ({
            id,
            type,
            isChild: parentKey !== undefined,
          })),
        )
        const roots = found.filter(({ isChild }) => !isChild)
        if (roots.length === 0) break
        if (roots.length >= before) throw await inTheWay(job, parts, roots, round)
        before = roots.length
        for (const one of roots) await deleteOne(job, parts, one, round)
      }
      await job.step('delete the group', () => catalog.write((trx) => deleteResource(trx, group)))
      return null
    },
  }
}

async function inTheWay(
  job: JobContext,
  parts: DeleteGroupParts,
  left: readonly Found[],
  round: number,
): Promise<JobsError> {
  const reasons: string[] = []
  for (const one of left) reasons.push((await deleteOne(job, parts, one, round)) ?? one.id)
  const message = `The resource group still holds ${left.map(({ id }) => id).join(', ')}: ${reasons.join(' ')}`
  return new JobsError('group_not_empty', message, { retry: 'later' })
}
