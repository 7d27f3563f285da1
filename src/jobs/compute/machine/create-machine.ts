/**
 * The job `create-machine`: its record and those of its disks stand already, in state Creating. Disks that are to be made are
 * made first, all at once; then it is started. It succeeds when QEMU runs: whether its guest is ready is shown apart.
 *
 * A machine for which the host has no room is complete all the same, deallocated, and says why: a batch never fails for it.
 */
import { findResource } from '#catalog'
import type { JobContext, JobDefinition } from '../../port.ts'
import { RESOURCE_QUEUE } from '../../resources/delete-group.ts'
import { CREATE_DISK_JOB, type CreateDiskInput } from '../create-disk.ts'
import {
  type MachineIdInput,
  type MachineJobParts,
  readIdInput,
  recordRest,
  settling,
  startSteps,
} from './machine-job.ts'
import { type BackingChange, changeMachine, findOwnMachine } from './machine-records.ts'

export const CREATE_MACHINE_JOB = 'create-machine'

export type CreateMachineInput = MachineIdInput & Readonly<{ disks: readonly CreateDiskInput[] }>

/** Those that are whole already, of an attempt before, are passed over. */
export async function makeDisks(
  job: JobContext,
  parts: MachineJobParts,
  disks: readonly CreateDiskInput[],
): Promise<void> {
  const missing = await job.step('which disks are to be made', async () => {
    const states = await Promise.all(disks.map(({ id }) => findResource(parts.catalog, id)))
    return disks.flatMap(({ id }, at) => (states[at]?.state === 'Succeeded' ? [] : [id]))
  })
  await Promise.all(
    disks
      .filter(({ id }) => missing.includes(id))
      .map((disk) => job.child(`make ${disk.id}`, CREATE_DISK_JOB, disk, { queue: RESOURCE_QUEUE })),
  )
}

export function createMachineJob(parts: MachineJobParts): JobDefinition<CreateMachineInput, null> {
  const { catalog, source } = parts
  return {
    name: CREATE_MACHINE_JOB,
    version: 1,
    parse: (given) => readIdInput(given) as CreateMachineInput,
    run: (job, { id, disks }) =>
      settling(job, parts, id, async () => {
        await makeDisks(job, parts, disks)
        const admission = await startSteps(job, parts, id)
        await job.step('finish', async () => {
          if (!admission.admitted) await recordRest(parts, id, 'deallocated', notStarted(admission.why))
          await catalog.write((trx) => changeMachine(trx, id, { state: 'Succeeded' }, source))
          await findOwnMachine(catalog, id)
        })
        return null
      }),
  }
}

function notStarted(why: string): BackingChange {
  return { wanted: 'off', why: `It was made and not started. ${why}` }
}
