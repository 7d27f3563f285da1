/**
 * What the worker does to a machine of its host. Each task may be begun again at any time and then finds what is done: a machine
 * that runs is not started, one that is off is not stopped, a disk that is there is not attached.
 *
 *   kill -9 of the worker in a start    the driver's record says `starting`; the next attempt finds the QEMU by its socket, or
 *                                       none, and then starts one (engine/hypervisor, run-record.ts). Never two: the lock of the
 *                                       machine is held for the whole of it, and QEMU's own lock is on every image.
 */
import { isHoldfastError } from '#base'
import type { MachineDisk, NewDisk, NewMachine, SeedFiles } from '#engine/hypervisor'
import { inputInvalid, recordOf } from '../../repository-access.ts'
import type { TaskHandler } from '../../tasks.ts'
import { fewTimes } from './few-times.ts'
import type { MachineHost } from './machine-host.ts'

export const START_MACHINE_TASK = 'start-machine'
export const STOP_MACHINE_TASK = 'stop-machine'
export const FORGET_MACHINE_TASK = 'forget-machine'
export const ATTACH_DISK_TASK = 'attach-machine-disk'
export const DETACH_DISK_TASK = 'detach-machine-disk'

/** How often a guest is asked to let go of a disk. */
const DETACH_TIMES = 3

/** A machine as the catalog wants it to be. */
export type WantedMachine = Readonly<Omit<NewMachine, 'uuid' | 'disks' | 'seed' | 'uefiVarsFrom'>> &
  Readonly<{ uuid: string; disks: readonly WantedDisk[] }>
export type WantedDisk = Readonly<
  Pick<MachineDisk, 'lun' | 'role' | 'bus' | 'diskId' | 'path' | 'format'> & { allowBacking: boolean }
>

export type StartMachineInput = Readonly<{
  machine: WantedMachine
  /** JSON of SeedFiles; only for the first start. */
  seed?: string
  uefiVarsFrom?: string
}>
export type StartedMachine = Readonly<{
  startedAtMs: number
  /** Of the monitor that instants hold, and of the agent. */
  sockets: Readonly<{ qmp: string; agent?: string }>
  notes: readonly string[]
}>

export type StopMachineInput = Readonly<{
  name: string
  /** `ask`: the guest first, then the plug. */
  how: 'ask' | 'plug'
  deadlineMs: number
}>

export type AttachDiskInput = Readonly<{ name: string; disk: WantedDisk }>
export type DetachDiskInput = Readonly<{ name: string; lun: number; diskId: string; deadlineMs: number }>

function nameIn(input: Record<string, unknown>): string {
  const { name } = input
  if (typeof name === 'string') return name
  throw inputInvalid('name')
}

function newDisk({ lun, role, bus, diskId, path, format, allowBacking }: WantedDisk): NewDisk {
  return { lun, role, bus, diskId, source: { from: 'image', path, format, allowBacking } }
}

/** Describes it as it is wanted, unless it runs, and starts it. */
export function startMachineTask({ hypervisor, letGo }: MachineHost): TaskHandler {
  return async (given): Promise<StartedMachine> => {
    // Made by a job of ours; the driver checks every part of it.
    const { machine, seed, uefiVarsFrom } = recordOf(given, 'fields') as unknown as StartMachineInput
    await letGo?.(machine.disks.map(({ path }) => path))
    await hypervisor.define({
      ...machine,
      disks: machine.disks.map(newDisk),
      ...(seed !== undefined && { seed: JSON.parse(seed) as SeedFiles }),
      ...(uefiVarsFrom !== undefined && { uefiVarsFrom }),
    })
    const { sockets, startedAtMs, notes } = await hypervisor.start(machine.name)
    if (sockets === undefined || startedAtMs === undefined) throw inputInvalid('machine that runs')
    const { agent } = sockets
    return { startedAtMs, notes, sockets: { qmp: sockets.instant, ...(agent !== undefined && { agent }) } }
  }
}

/** One that is not there is off. */
export function stopMachineTask({ hypervisor }: MachineHost): TaskHandler {
  return async (given, { signal }) => {
    const { how, deadlineMs, ...input } = recordOf(given, 'fields')
    const name = nameIn(input)
    if (typeof deadlineMs !== 'number') throw inputInvalid('deadlineMs')
    try {
      const { power } = await hypervisor.describe(name)
      if (power === 'stopped' || power === 'crashed') return null
      if (how === 'plug') await hypervisor.powerOff(name)
      else await hypervisor.shutdown(name, { deadlineMs, thenPowerOff: true, signal })
    } catch (error) {
      if (!isHoldfastError(error, 'machine_not_found')) throw error
    }
    return null
  }
}

/** Its description and what lies beside it; its disks lie in pools and stay. */
export function forgetMachineTask({ hypervisor }: MachineHost): TaskHandler {
  return async (given) => {
    const name = nameIn(recordOf(given, 'fields'))
    try {
      await hypervisor.powerOff(name)
      await hypervisor.delete(name, { disks: 'keep' })
    } catch (error) {
      if (!isHoldfastError(error, 'machine_not_found')) throw error
    }
    return null
  }
}

export function attachDiskTask({ hypervisor, letGo }: MachineHost): TaskHandler {
  return async (given) => {
    const { disk, ...input } = recordOf(given, 'fields') as unknown as AttachDiskInput
    await letGo?.([disk.path])
    await hypervisor.attachDisk(nameIn(input), newDisk(disk))
    return null
  }
}

/** A disk that is not there, or another one at its place, is detached already. */
export function detachDiskTask({ hypervisor, clock }: MachineHost): TaskHandler {
  return async (given, { signal }) => {
    const { name, lun, diskId, deadlineMs } = recordOf(given, 'fields') as unknown as DetachDiskInput
    await fewTimes({ clock, signal, times: DETACH_TIMES, after: ['timed_out'] }, async () => {
      const { machine } = await hypervisor.describe(name)
      const isThere = machine.disks.some((disk) => disk.lun === lun && disk.diskId === diskId)
      if (isThere) await hypervisor.detachDisk(name, lun, { deadlineMs })
    })
    return null
  }
}
