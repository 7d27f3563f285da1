/**
 * The job `change-machine`: data disks that come and go, live where it runs, and another size. What can change at once (tags,
 * what is only kept) changed when it was announced; disks that come were reserved then.
 *
 * Order: disks are made, those that go go, those that come come, then the size, for which a machine that runs is restarted. Each
 * disk is in the machine's record once the guest has it, and out of it once the guest has let go. When the job fails, disks that
 * did not come are let go of again, and a size that it did not get is not kept.
 */
import { findResource } from '#catalog'
import type { JobContext, JobDefinition } from '../../port.ts'
import { type CreateDiskInput, WORKER_RETRY } from '../create-disk.ts'
import { changeDisk, findDisk, propertiesOf } from '../disk-records.ts'
import { makeDisks } from './create-machine.ts'
import { whyNotHere } from './host-room.ts'
import {
  hostFull,
  type MachineIdInput,
  type MachineJobParts,
  movePower,
  readIdInput,
  recordRest,
  settling,
  startSteps,
  stopSteps,
} from './machine-job.ts'
import { changeMachine, disksOfMachine, driverLun, findOwnMachine, releaseDisk, wantedDisk } from './machine-records.ts'
import { findMachineSize } from '#domain'
import { ATTACH_DISK_TASK, type AttachDiskInput, DETACH_DISK_TASK, type DetachDiskInput } from './machine-tasks.ts'

export const CHANGE_MACHINE_JOB = 'change-machine'

type Fields = Readonly<Record<string, unknown>>

export type ChangeMachineInput = MachineIdInput &
  Readonly<{
    /** Those of `attach` that are made for it. */
    make: readonly CreateDiskInput[]
    /** Entries as the record shows them, each with the id of its disk. */
    attach: readonly Readonly<{ lun: number; id: string; entry: Fields }>[]
    detach: readonly Readonly<{ lun: number; id: string; goes: boolean }>[]
    size: string | null
  }>

/** How long a guest may take to let go of a disk, each time it is asked. */
const DETACH_MS_MAX = 20_000

async function changeEntries(
  { catalog, source }: MachineJobParts,
  id: string,
  change: (entries: readonly Fields[]) => readonly Fields[],
): Promise<void> {
  await catalog.write(async (trx) => {
    const { record } = await findOwnMachine(trx, id)
    const storage = (propertiesOf(record)['storageProfile'] ?? {}) as Fields
    const entries = (storage['dataDisks'] ?? []) as readonly Fields[]
    const dataDisks = change(entries).toSorted((a, b) => Number(a['lun']) - Number(b['lun']))
    await changeMachine(trx, id, { properties: { storageProfile: { ...storage, dataDisks } } }, source)
  })
}

async function detach(job: JobContext, parts: MachineJobParts, id: string, gone: ChangeMachineInput['detach'][number]) {
  const { catalog, tasks, source } = parts
  await job.step(
    `detach lun ${gone.lun}`,
    async (step) => {
      const { own } = await findOwnMachine(catalog, id)
      if (own.power !== 'running') return
      const diskId = String(propertiesOf(await findDisk(catalog, gone.id))['uniqueId'])
      const wanted: DetachDiskInput = {
        name: own.machine,
        lun: driverLun(gone.lun),
        diskId,
        deadlineMs: DETACH_MS_MAX,
      }
      await tasks.run(step, DETACH_DISK_TASK, wanted)
    },
    { retry: WORKER_RETRY },
  )
  await job.step(`let go of lun ${gone.lun}`, async () => {
    await changeEntries(parts, id, (entries) => entries.filter(({ lun }) => lun !== gone.lun))
    await catalog.write((trx) => releaseDisk(trx, gone.id, source))
  })
}

async function attach(job: JobContext, parts: MachineJobParts, id: string, come: ChangeMachineInput['attach'][number]) {
  const { catalog, tasks, source } = parts
  await job.step(
    `attach lun ${come.lun}`,
    async (step) => {
      const { own } = await findOwnMachine(catalog, id)
      if (own.power !== 'running') return
      const disk = await wantedDisk(catalog, { id: come.id, lun: come.lun, deleteOption: 'Detach' })
      const wanted: AttachDiskInput = { name: own.machine, disk }
      await tasks.run(step, ATTACH_DISK_TASK, wanted)
    },
    { retry: WORKER_RETRY },
  )
  await job.step(`keep lun ${come.lun}`, async () => {
    await changeEntries(parts, id, (entries) => [...entries.filter(({ lun }) => lun !== come.lun), come.entry])
    await catalog.write(async (trx) => {
      const { record, own } = await findOwnMachine(trx, id)
      const [os] = disksOfMachine(record)
      const machine = os === undefined ? undefined : (await findResource(trx, os.id))?.backing['machine']
      const diskState = own.power === 'running' ? 'Attached' : 'Reserved'
      const backing = machine === undefined ? {} : { backing: { machine } }
      await changeDisk(trx, come.id, { properties: { diskState }, ...backing }, source)
    })
  })
}

/** The room for the size is taken with the size, before anything is stopped for it. Gives the size before. */
async function takeSize(parts: MachineJobParts, id: string, size: string): Promise<string> {
  const { catalog, source } = parts
  return catalog.write(async (trx) => {
    const { record, own } = await findOwnMachine(trx, id)
    const profile = (propertiesOf(record)['hardwareProfile'] ?? {}) as Fields
    const wanted = findMachineSize(size)
    const why = own.allocated && wanted !== undefined ? await whyNotHere(trx, id, wanted) : undefined
    if (why !== undefined) throw hostFull(why)
    await changeMachine(trx, id, { properties: { hardwareProfile: { ...profile, vmSize: size } } }, source)
    return String(profile['vmSize'])
  })
}

async function resize(job: JobContext, parts: MachineJobParts, id: string, size: string): Promise<void> {
  const { catalog, source } = parts
  const before = await job.step('take the room for its size', () => takeSize(parts, id, size))
  job.cleanup('keep the size it had', async () => {
    await catalog.write((trx) =>
      changeMachine(trx, id, { properties: { hardwareProfile: { vmSize: before } } }, source),
    )
  })
  const isRunning = await job.step('see whether it runs', async () => {
    const { own } = await findOwnMachine(catalog, id)
    if (own.power !== 'running') return false
    await catalog.write((trx) => movePower(trx, parts, id, { to: 'stopping' }))
    return true
  })
  if (!isRunning) return
  await stopSteps(job, parts, id, { how: 'ask', label: 'for its size, ' })
  await job.step('record the stop', () => recordRest(parts, id, 'stopped'))
  const admission = await startSteps(job, parts, id, 'with its size, ')
  if (!admission.admitted) throw hostFull(admission.why)
}

async function letGo({ catalog, source }: MachineJobParts, { id, attach: coming }: ChangeMachineInput): Promise<void> {
  await catalog.write(async (trx) => {
    const machine = await findResource(trx, id)
    const has = new Set(machine === undefined ? [] : disksOfMachine(machine).map((disk) => disk.id.toLowerCase()))
    for (const disk of coming) if (!has.has(disk.id.toLowerCase())) await releaseDisk(trx, disk.id, source)
  })
}

/** Gives the storage profile as it is then. */
export function changeMachineJob(parts: MachineJobParts): JobDefinition<ChangeMachineInput, unknown> {
  const { catalog, source } = parts
  return {
    name: CHANGE_MACHINE_JOB,
    version: 1,
    parse: (given) => readIdInput(given) as ChangeMachineInput,
    run: (job, input) =>
      settling(job, parts, input.id, async () => {
        const { id, size } = input
        job.cleanup('let go of what did not come', () => letGo(parts, input))
        await makeDisks(job, parts, input.make)
        for (const gone of input.detach) await detach(job, parts, id, gone)
        for (const come of input.attach) await attach(job, parts, id, come)
        if (size !== null) await resize(job, parts, id, size)
        return job.step('finish', async () => {
          await catalog.write((trx) => changeMachine(trx, id, { state: 'Succeeded' }, source))
          return propertiesOf((await findOwnMachine(catalog, id)).record)['storageProfile'] ?? null
        })
      }),
  }
}
