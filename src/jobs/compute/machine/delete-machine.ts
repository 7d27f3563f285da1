/**
 * The job `delete-machine`, also what `delete-group` starts: ends the machine without asking its guest, takes its disks from it
 * and deletes those that are to go with it. One that was adopted is only forgotten: others run it.
 *
 *   dies after           what is left                              what goes on
 *   ending it            a machine that is off, its record         the job: each step finds what is done
 *   letting go           disks that are nobody's                   as above; those that were to go are in the job's plan
 *   a failure            the record, as before, and off            the user, who deletes again
 */
import { deleteResource, findResource } from '#catalog'
import type { JobDefinition } from '../../port.ts'
import { RESOURCE_QUEUE } from '../../resources/delete-group.ts'
import { DELETE_DISK_JOB, waitForSnapshots } from '../change-disk.ts'
import { unplugCards } from '../../network/apply-network.ts'
import { DELETE_NETWORK_RESOURCE_JOB } from '../../network/network-uses.ts'
import { WORKER_RETRY } from '../create-disk.ts'
import { type MachineIdInput, type MachineJobParts, readIdInput, recordRest, settling } from './machine-job.ts'
import {
  changeMachine,
  disksOfMachine,
  nicsOfMachine,
  ownMachineOf,
  releaseDisk,
  releaseNic,
} from './machine-records.ts'
import { FORGET_MACHINE_TASK } from './machine-tasks.ts'

export const DELETE_MACHINE_JOB = 'delete-machine'

type Plan = Readonly<{
  /** At its hypervisor; null for one that was adopted. */
  machine: string | null
  seed: string | null
  disks: readonly Readonly<{ id: string; goes: boolean }>[]
  nics: readonly Readonly<{ id: string; goes: boolean }>[]
}>

/** From here on nobody starts it again. */
async function plan({ catalog, source }: MachineJobParts, id: string): Promise<Plan | null> {
  const record = await catalog.write(async (trx) => {
    const now = await findResource(trx, id)
    const known = now === undefined ? undefined : ownMachineOf(now)
    const stateBefore = known?.stateBefore ?? now?.state
    const change = { state: 'Deleting', backing: { wanted: 'off' as const, stateBefore } }
    if (known !== undefined) await changeMachine(trx, id, change, source)
    return now
  })
  if (record === undefined) return null
  const own = ownMachineOf(record)
  const disks = disksOfMachine(record).map(({ id: disk, deleteOption }) => ({
    id: disk,
    goes: own !== undefined && deleteOption === 'Delete',
  }))
  const nics = nicsOfMachine(record).map(({ id: nic, deleteOption }) => ({ id: nic, goes: deleteOption === 'Delete' }))
  return { machine: own?.machine ?? null, seed: own?.seed ?? null, disks, nics }
}

export function deleteMachineJob(parts: MachineJobParts): JobDefinition<MachineIdInput, null> {
  const { catalog, tasks, source, orders } = parts
  return {
    name: DELETE_MACHINE_JOB,
    version: 1,
    parse: readIdInput,
    run: (job, { id }) =>
      settling(job, parts, id, async () => {
        const planned = await job.step('plan', () => plan(parts, id))
        if (planned === null) return null
        const { machine, seed, disks, nics } = planned
        for (const [at, disk] of disks.entries()) await waitForSnapshots(job, parts, disk.id, `of disk ${at} `)
        if (machine !== null) {
          const forget = { name: machine }
          await job.step('end it', (step) => tasks.run(step, FORGET_MACHINE_TASK, forget), { retry: WORKER_RETRY })
          await unplugCards(job, parts, { name: 'networks', cards: nics.map((nic) => nic.id) })
          await job.step('record its end', () => recordRest(parts, id, 'stopped', { wanted: 'off' }))
        }
        await job.step('let go of its disks', () =>
          catalog.write(async (trx) => {
            for (const disk of disks) await releaseDisk(trx, disk.id, source)
            for (const nic of nics) await releaseNic(trx, nic.id, source)
          }),
        )
        for (const disk of disks.filter(({ goes }) => goes))
          await job.child(`delete ${disk.id}`, DELETE_DISK_JOB, { id: disk.id }, { queue: RESOURCE_QUEUE })
        for (const nic of nics.filter(({ goes }) => goes))
          await job.child(`delete ${nic.id}`, DELETE_NETWORK_RESOURCE_JOB, { id: nic.id }, { queue: RESOURCE_QUEUE })
        await job.step('forget it', async () => {
          if (seed !== null) await orders.remove(seed)
          await catalog.write((trx) => deleteResource(trx, id))
        })
        return null
      }),
  }
}
