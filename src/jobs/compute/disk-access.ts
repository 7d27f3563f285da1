/**
 * The jobs behind beginGetAccess and endGetAccess. A grant stands in the record as soon as it is accepted, so that beginning
 * has nothing left to do; ending an upload makes the disk of what was uploaded.
 *
 * An upload that is no disk is refused: the disk waits for another upload, with the file as it was.
 */
import { findResource } from '#catalog'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { recordOf } from '../repository-access.ts'
import { type ComputeParts, type PlannedDisk, poolOf, removeFiles, WORKER_RETRY } from './create-disk.ts'
import { backingOf, changeDisk, findDisk, propertiesOf, sizeBytesOf, sizeProperties } from './disk-records.ts'
import { type MadeDisk, MAKE_DISK_TASK } from './make-disk.ts'

export const BEGIN_ACCESS_JOB = 'begin-access'
export const END_ACCESS_JOB = 'end-access'
export const FINISH_UPLOAD_JOB = 'finish-upload'

type IdInput = Readonly<{ id: string }>
type GrantInput = IdInput & Readonly<{ grant: string }>

function checkInput(given: unknown): void {
  const { id } = recordOf(given, 'fields')
  if (typeof id === 'string') return
  throw new JobsError('job_input_invalid', 'The job’s input has no valid id.')
}

/** There is something to read: a resource that has gone meanwhile is an error, not a URL that leads nowhere. */
export function beginAccessJob({ catalog }: ComputeParts): JobDefinition<IdInput, null> {
  return {
    name: BEGIN_ACCESS_JOB,
    version: 1,
    parse: (given) => {
      checkInput(given)
      return given as IdInput
    },
    run: async (job, { id }) => {
      await job.step('check', async () => {
        if ((await findResource(catalog, id)) === undefined)
          throw new JobsError('disk_not_there', `There is no ${id}.`, { facts: { id } })
      })
      return null
    },
  }
}

/** The grant was taken away with the request; nothing is left to do. */
export function endAccessJob(_parts: ComputeParts): JobDefinition<IdInput, null> {
  return {
    name: END_ACCESS_JOB,
    version: 1,
    parse: (given) => {
      checkInput(given)
      return given as IdInput
    },
    run: () => Promise.resolve(null),
  }
}

async function planUpload({ catalog }: ComputeParts, id: string): Promise<PlannedDisk & Readonly<{ upload: string }>> {
  const record = await findDisk(catalog, id)
  const backing = backingOf(record)
  const { file, upload, host } = backing
  const { creationData } = propertiesOf(record)
  const { uploadSizeBytes } = (creationData ?? {}) as Readonly<Record<string, unknown>>
  if (upload === undefined || typeof uploadSizeBytes !== 'number')
    throw new JobsError('upload_invalid', `The disk ${id} waits for no upload.`, { facts: { id } })
  return {
    file,
    upload,
    pool: await poolOf(catalog, record.location ?? '', backing),
    ...(host !== undefined && { host }),
    sizeBytes: sizeBytesOf(record),
    bytes: { kind: 'upload', path: upload, uploadBytes: uploadSizeBytes },
  }
}

export function finishUploadJob(parts: ComputeParts): JobDefinition<GrantInput, null> {
  const { catalog, tasks, source } = parts
  return {
    name: FINISH_UPLOAD_JOB,
    version: 1,
    parse: (given) => {
      checkInput(given)
      return given as GrantInput
    },
    run: async (job, { id }) => {
      job.cleanup('wait for another upload', async () => {
        const change = { state: 'Succeeded', properties: { diskState: 'ReadyToUpload' } }
        await catalog.write((trx) => changeDisk(trx, id, change, source))
      })
      const { host, ...planned } = await job.step('plan', () => planUpload(parts, id))
      const made = await job.step(
        'make',
        async (step) => (await tasks.run(step, MAKE_DISK_TASK, planned, host)) as MadeDisk,
        { retry: WORKER_RETRY },
      )
      await job.step('record', async () => {
        const properties = { ...sizeProperties(made.sizeBytes), diskState: 'Unattached' }
        const change = { state: 'Succeeded', properties, backing: { upload: undefined } }
        await catalog.write((trx) => changeDisk(trx, id, change, source))
      })
      await job.step('remove the upload', (step) => removeFiles(tasks, step, [planned.upload], host))
      return null
    },
  }
}
