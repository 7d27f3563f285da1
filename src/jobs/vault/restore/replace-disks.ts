/**
 * The job `replace-machine-disks`: a machine gets disks that a restore made, in place of its own. It holds the machine's key while it
 * does so: nothing else is done to the machine meanwhile.
 *
 *   step                              a crash or failure right after it leaves, and what goes on
 *   1 the machine is off              the machine as it was: it is started again if it ran
 *   2 snapshots of its disks          as 1; the snapshots are given up
 *   3 the disks are exchanged         one transaction: the machine has all old disks, or all new ones
 *   4 it is started, if it ran        it has its new disks; that it does not start is a warning
 *
 * The old disks stay, detached. As in Azure the machine then has the disks of the recovery point: disks that it got later are
 * detached too, and those that the backup had left out stay with it.
 */
import { isHoldfastError, messageOf } from '#base'
import { type CatalogTransaction, findResource, type ResourceRecord, updateResource } from '#catalog'
import { type AzureMachine, diskEntry } from '#domain'
import { JobsError } from '../../errors.ts'
import type { JobContext, JobDefinition } from '../../port.ts'
import { changeDisk, propertiesOf } from '../../compute/disk-records.ts'
import {
  type MachineJobParts,
  movePower,
  readIdInput,
  recordRest,
  startSteps,
  stopSteps,
} from '../../compute/machine/machine-job.ts'
import { changeMachine, disksOfMachine, findOwnMachine, releaseDisk } from '../../compute/machine/machine-records.ts'
import { WORKER_RETRY } from '../../compute/create-disk.ts'
import {
  type DiskBefore,
  dropSnapshots,
  type KeptSnapshot,
  snapshotDisks,
  type SnapshotParts,
} from './before-snapshots.ts'
import type { RestoredDisk } from './restored-disks.ts'

export const REPLACE_MACHINE_DISKS_JOB = 'replace-machine-disks'

export type ReplaceDisksParts = MachineJobParts & SnapshotParts

export type ReplaceDisksInput = Readonly<{
  /** Of the machine. */
  id: string
  disks: readonly RestoredDisk[]
  azure: AzureMachine
}>

export type ReplacedDisks = Readonly<{
  snapshots: readonly KeptSnapshot[]
  /** Ids of the disks that the machine had. */
  detached: readonly string[]
  /** Why it was not started again. */
  why: string | null
}>

type Fields = Readonly<Record<string, unknown>>

/** Disks that go: all but those that the backup had left out. */
function goingOf(machine: ResourceRecord, azure: AzureMachine): DiskBefore[] {
  const leftOut = new Set(azure.disks.filter(({ included }) => !included).map(({ lun }) => lun))
  return disksOfMachine(machine)
    .map(({ id, lun = -1 }) => ({ id, lun }))
    .filter(({ lun }) => lun < 0 || !leftOut.has(lun))
}

type Begun = Readonly<{ ran: boolean; going: readonly DiskBefore[] }>

async function begin(parts: ReplaceDisksParts, { id, azure }: ReplaceDisksInput): Promise<Begun> {
  const { catalog, source } = parts
  return catalog.write(async (trx) => {
    const { record, own } = await findOwnMachine(trx, id)
    const isMine = record.state === 'Updating' && own.stateBefore !== undefined
    if (record.state !== 'Succeeded' && !isMine)
      throw new JobsError('vm_not_in_desirable_state', `The machine ${record.name} is ${record.state}.`, {
        facts: { machine: id, state: record.state },
      })
    const ran = own.power === 'running' || own.power === 'stopping'
    await changeMachine(trx, id, { state: 'Updating', backing: { stateBefore: record.state } }, source)
    if (own.power === 'running') await movePower(trx, parts, id, { to: 'stopping' })
    return { ran, going: goingOf(record, azure) }
  })
}

async function takeOver(
  trx: CatalogTransaction,
  parts: ReplaceDisksParts,
  machine: ResourceRecord,
  disk: RestoredDisk,
): Promise<void> {
  const record = await findResource(trx, disk.id)
  if (record === undefined) throw new JobsError('disk_not_there', `The restored disk ${disk.id} is gone.`)
  const { managedBy } = record.body
  if (typeof managedBy === 'string' && managedBy.toLowerCase() !== machine.key)
    throw new JobsError('disk_not_there', `The restored disk ${disk.id} was attached to ${managedBy} meanwhile.`)
  const body = { ...record.body, managedBy: machine.id }
  await updateResource(trx, disk.id, { body }, parts.source)
  await changeDisk(trx, disk.id, { properties: { diskState: 'Reserved' } }, parts.source)
}

/** Unless it is somebody else's by now: the step may be done again. */
async function letGo(trx: CatalogTransaction, parts: ReplaceDisksParts, machine: ResourceRecord, { id }: DiskBefore) {
  const managedBy = (await findResource(trx, id))?.body['managedBy']
  if (typeof managedBy === 'string' && managedBy.toLowerCase() === machine.key) await releaseDisk(trx, id, parts.source)
}

/** All at once. Gives the ids of the disks that went. */
async function exchange(parts: ReplaceDisksParts, input: ReplaceDisksInput, going: readonly DiskBefore[]) {
  const { catalog, source } = parts
  const { id, disks, azure } = input
  return catalog.write(async (trx) => {
    const { record, own } = await findOwnMachine(trx, id)
    if (own.power === 'running' || own.power === 'starting')
      throw new JobsError('vm_not_in_desirable_state', `The machine ${record.name} runs again.`, {
        facts: { machine: id },
      })
    const storage = (propertiesOf(record)['storageProfile'] ?? {}) as Fields
    const before = (storage['dataDisks'] ?? []) as readonly Fields[]
    const moves = new Set([...going, ...disks].map((disk) => disk.id.toLowerCase()))
    const stays = before.filter((entry) => !moves.has(String((entry['managedDisk'] as Fields)['id']).toLowerCase()))
    for (const disk of disks) await takeOver(trx, parts, record, disk)
    for (const disk of going) await letGo(trx, parts, record, disk)
    const entries = disks.map((disk) => ({ lun: disk.lun, entry: diskEntry(azure, disk, disk.id) }))
    const os = entries.find(({ lun }) => lun < 0)?.entry
    const come = entries.filter(({ lun }) => lun >= 0).map(({ entry }) => entry)
    const dataDisks = [...stays, ...come].toSorted((a, b) => Number(a['lun']) - Number(b['lun']))
    const storageProfile = { ...storage, ...(os !== undefined && { osDisk: os }), dataDisks }
    await changeMachine(trx, id, { properties: { storageProfile } }, source)
    return going.map((disk) => disk.id)
  })
}

/** When it fails before the exchange: the machine as it was, started again by whoever looks after machines. */
async function settle(parts: ReplaceDisksParts, id: string, ran: boolean): Promise<void> {
  const { catalog, source } = parts
  const record = await findResource(catalog, id)
  if (record === undefined) return
  await catalog.write(async (trx) => {
    const { own } = await findOwnMachine(trx, id)
    const rests = own.power === 'stopping' ? 'stopped' : own.power
    const wanted = ran ? ('running' as const) : own.wanted
    const backing = { stateBefore: undefined, powerBefore: undefined, power: rests, wanted }
    await changeMachine(trx, id, { state: 'Succeeded', backing }, source)
  })
}

async function startAgain(job: JobContext, parts: ReplaceDisksParts, id: string): Promise<string | null> {
  try {
    const admission = await startSteps(job, parts, id, 'with its new disks, ')
    return admission.admitted ? null : admission.why
  } catch (error) {
    if (!isHoldfastError(error) || isHoldfastError(error, 'cancelled', 'job_lost', 'engine_stopping')) throw error
    return messageOf(error)
  }
}

/** Whether the exchange took place. */
function hasDisks(machine: ResourceRecord, { disks }: ReplaceDisksInput): boolean {
  const ids = new Set(disksOfMachine(machine).map((disk) => disk.id.toLowerCase()))
  return disks.some(({ id }) => ids.has(id.toLowerCase()))
}

export function replaceMachineDisksJob(parts: ReplaceDisksParts): JobDefinition<ReplaceDisksInput, ReplacedDisks> {
  const { catalog, source } = parts
  return {
    name: REPLACE_MACHINE_DISKS_JOB,
    version: 1,
    parse: (given) => readIdInput(given) as ReplaceDisksInput,
    run: async (job, input) => {
      const { id } = input
      const { ran, going } = await job.step('see what it is', () => begin(parts, input))
      job.cleanup('leave it as it was', () => settle(parts, id, ran), { retry: WORKER_RETRY })
      job.cleanup(
        'give up the snapshots',
        async (step) => {
          const record = await findResource(catalog, id)
          if (record !== undefined && !hasDisks(record, input)) await dropSnapshots(parts, step, record)
        },
        { retry: WORKER_RETRY },
      )
      if (ran) {
        await stopSteps(job, parts, id, { how: 'ask' })
        await job.step('record the stop', () => recordRest(parts, id, 'stopped', { wanted: 'off' }))
      }
      const snapshots = await snapshotDisks(job, parts, id, going)
      const detached = await job.step('exchange the disks', () => exchange(parts, input, going))
      const why = ran ? await startAgain(job, parts, id) : null
      await job.step('finish', async () => {
        const backing = { stateBefore: undefined }
        await catalog.write((trx) => changeMachine(trx, id, { state: 'Succeeded', backing }, source))
      })
      return { snapshots, detached, why }
    },
  }
}
