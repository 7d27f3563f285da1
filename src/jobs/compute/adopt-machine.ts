/**
 * The job `adopt-machine`: a QEMU that somebody else started becomes a machine of ours, its disks in place. Nothing about
 * it is changed; afterwards its disks can be snapshotted, which holds a monitor connection for as long as one is read.
 *
 * `askPower` asks the monitor how the machine is. A monitor serves one client at a time: one that is busy has a machine
 * behind it that runs.
 */
import { realpath } from 'node:fs/promises'
import { isoTime, isHoldfastError, type Clock, type Random, randomUuid } from '#base'
import { type Catalog, type ChangeSource, findResource, insertResource, listResources, updateResource } from '#catalog'
import { type DiskBacking, sizeGb } from '#domain'
import { describeRunning, type MachineDisk, QmpClient } from '#engine/hypervisor'
import { JobsError } from '../errors.ts'
import type { JobDefinition } from '../port.ts'
import { absolutePathOf, recordOf } from '../repository-access.ts'
import type { TaskHandler, TaskRunner } from '../tasks.ts'
import { DISK_TYPE } from './disk-records.ts'

export const ADOPT_MACHINE_JOB = 'adopt-machine'
export const DESCRIBE_MACHINE_TASK = 'describe-machine'
export const MACHINE_TYPE = 'Microsoft.Compute/virtualMachines'

export type AdoptMachineInput = Readonly<{
  id: string
  name: string
  /** Id of the resource group. */
  group: string
  subscription: string
  region: string
  qmp: string
  agent?: string
  tags: Readonly<Record<string, string>>
  osType?: string
}>

type FoundDisk = Readonly<{ disk: MachineDisk; sizeBytes: number; path: string }>
export type DescribedMachine = Readonly<{
  uuid: string
  cpuCount: number
  memoryMib: number
  firmware: string
  agent?: string
  disks: readonly FoundDisk[]
  notes: readonly string[]
}>

/** What stands behind an adopted machine. */
export type MachineBacking = Readonly<{ adopted: true; qmp: string; agent?: string; uuid: string }>

export type MachinePower = 'running' | 'paused' | 'stopped' | 'unknown'

const POWER_MS_MAX = 2_000

/** Never rejects: what cannot be learned is `unknown`. */
export async function askPower(clock: Clock, qmpSocketPath: string): Promise<MachinePower> {
  try {
    const qmp = await QmpClient.connect(qmpSocketPath, { clock, connectTimeoutMs: POWER_MS_MAX })
    try {
      const { status } = (await qmp.execute('query-status', {}, { timeoutMs: POWER_MS_MAX })) as { status: string }
      if (status === 'running') return 'running'
      return status === 'shutdown' || status === 'guest-panicked' ? 'stopped' : 'paused'
    } finally {
      await qmp.close()
    }
  } catch (error) {
    if (isHoldfastError(error, 'qmp_busy')) return 'running'
    return isHoldfastError(error, 'qmp_unreachable') ? 'stopped' : 'unknown'
  }
}

export function describeMachineTask(clock: Clock): TaskHandler {
  return async (given): Promise<DescribedMachine> => {
    const input = recordOf(given, 'fields')
    const qmp = await QmpClient.connect(absolutePathOf(input['qmp'], 'qmp'), { clock })
    try {
      const { machine, diskBytes, agentSocketPath, notes } = await describeRunning(qmp)
      const agent = typeof input['agent'] === 'string' ? input['agent'] : agentSocketPath
      const { uuid, cpuCount, memoryMib, firmware } = machine
      const disks = await Promise.all(
        machine.disks.map(async (disk) => ({
          disk,
          sizeBytes: diskBytes[disk.lun] ?? 0,
          // A name that is no file of this host stays as QEMU has it.
          path: await realpath(disk.path).catch(() => disk.path),
        })),
      )
      return { uuid, cpuCount, memoryMib, firmware, ...(agent !== undefined && { agent }), disks, notes }
    } finally {
      await qmp.close()
    }
  }
}

type Parts = Readonly<{ catalog: Catalog; tasks: TaskRunner; source: ChangeSource; random: Random }>
type Planned = FoundDisk & Readonly<{ id: string; name: string; uniqueId: string }>

function diskRow(
  input: AdoptMachineInput,
  { disk, sizeBytes, path, id, name, uniqueId }: Planned,
  agent: string | undefined,
  nowMs: number,
) {
  const backing: DiskBacking = {
    file: path,
    format: disk.format,
    machine: { name: input.name, qmp: input.qmp, ...(agent !== undefined && { agent }) },
  }
  const properties = {
    creationData: { createOption: 'Attach' },
    diskSizeBytes: sizeBytes,
    diskSizeGB: sizeGb(sizeBytes),
    diskState: 'Attached',
    uniqueId,
    timeCreated: isoTime(nowMs),
    encryption: { type: 'EncryptionAtRestWithPlatformKey' },
    networkAccessPolicy: 'AllowAll',
    publicNetworkAccess: 'Enabled',
    ...(disk.role === 'os' && input.osType !== undefined && { osType: input.osType }),
  }
  return {
    id,
    subscription: input.subscription,
    group: input.group,
    type: DISK_TYPE,
    name,
    location: input.region,
    tags: {},
    state: 'Succeeded',
    body: { sku: { name: 'Standard_LRS', tier: 'Standard' }, managedBy: input.id, properties },
    backing: backing as Readonly<Record<string, unknown>>,
  }
}

function machineBody(input: AdoptMachineInput, found: DescribedMachine, disks: readonly Planned[], nowMs: number) {
  const reference = ({ id, name, sizeBytes, disk }: Planned) => ({
    name,
    createOption: 'Attach',
    caching: 'None',
    deleteOption: 'Detach',
    diskSizeGB: sizeGb(sizeBytes),
    managedDisk: { id },
    ...(disk.role === 'os' && input.osType !== undefined && { osType: input.osType }),
  })
  const os = disks.find(({ disk }) => disk.role === 'os')
  const data = disks.filter((disk) => disk !== os)
  return {
    properties: {
      vmId: found.uuid,
      timeCreated: isoTime(nowMs),
      hardwareProfile: { vmSize: `Holdfast_${found.cpuCount}x${found.memoryMib}` },
      storageProfile: {
        ...(os !== undefined && { osDisk: reference(os) }),
        dataDisks: data.map((one, i) => ({ lun: os === undefined ? i : one.disk.lun, ...reference(one) })),
      },
      networkProfile: { networkInterfaces: [] },
    },
  }
}

async function plan({ catalog, random }: Parts, input: AdoptMachineInput, found: DescribedMachine): Promise<Planned[]> {
  const rows = await listResources(catalog, { type: DISK_TYPE })
  return found.disks.map((one) => {
    const owner = rows.find(({ backing }) => {
      const { file, host } = backing as Partial<DiskBacking>
      return file === one.path && host === undefined
    })
    if (owner !== undefined)
      throw new JobsError('job_input_invalid', `The image ${one.path} is the disk ${owner.id} already.`, {
        facts: { path: one.path, disk: owner.id },
      })
    const name = one.disk.role === 'os' ? `${input.name}_OsDisk` : `${input.name}_DataDisk_${one.disk.lun}`
    return { ...one, name, id: `${input.group}/providers/${DISK_TYPE}/${name}`, uniqueId: randomUuid(random) }
  })
}

export function adoptMachineJob(
  given: Parts,
): JobDefinition<AdoptMachineInput, Readonly<{ notes: readonly string[] }>> {
  const { catalog, tasks, source } = given
  return {
    name: ADOPT_MACHINE_JOB,
    version: 1,
    parse: (input) => recordOf(input, 'fields') as unknown as AdoptMachineInput,
    run: async (job, input) => {
      job.cleanup('fail', async () => {
        await catalog.write((trx) => updateResource(trx, input.id, { state: 'Failed' }, source))
      })
      const { qmp, agent } = input
      const found = await job.step(
        'describe',
        async (step) =>
          (await tasks.run(step, DESCRIBE_MACHINE_TASK, {
            qmp,
            ...(agent !== undefined && { agent }),
          })) as DescribedMachine,
        { retry: { attemptsMax: 3, delayMs: 300, delayMsMax: 1000 } },
      )
      const disks = await job.step('plan', () => plan(given, input, found))
      await job.step('record', () =>
        catalog.write(async (trx) => {
          const nowMs = source.nowMs()
          for (const disk of disks) {
            if ((await findResource(trx, disk.id)) !== undefined)
              throw new JobsError('job_input_invalid', `There is a disk ${disk.id} already.`)
            await insertResource(trx, diskRow(input, disk, found.agent, nowMs), source)
          }
          const backing: MachineBacking = {
            adopted: true,
            qmp,
            uuid: found.uuid,
            ...(found.agent !== undefined && { agent: found.agent }),
          }
          const body = machineBody(input, found, disks, nowMs)
          const change = { state: 'Succeeded', body, backing: backing as Readonly<Record<string, unknown>> }
          await updateResource(trx, input.id, change, source)
        }),
      )
      return { notes: found.notes }
    },
  }
}
