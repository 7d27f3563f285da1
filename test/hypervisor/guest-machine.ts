/** A guest of the rig as instants see machines, and a host for them whose records lie in the guest's folder. */
import { join } from 'node:path'
import { systemClock, systemRandom } from '#runtime'
import type { InstantHost, MachineDescription, RunningMachine } from '#engine/hypervisor'
import type { RunningGuest } from '../rig/guest-process.ts'

export function machineOf(guest: RunningGuest): RunningMachine {
  const description: MachineDescription = {
    schema: 1,
    name: guest.name,
    uuid: '8d9ab4ea-55f6-4f4c-a8a4-6a9df4b57a10',
    firmware: 'bios',
    machineType: 'pc',
    cpuCount: 1,
    memoryMib: 192,
    disks: guest.command.disks.map((disk, lun) => ({
      lun,
      diskId: `disk-${lun}`,
      role: lun === 0 ? 'os' : 'data',
      path: disk.path,
      format: disk.format,
      bus: disk.bus,
      serial: `D${lun}`,
    })),
    networks: [],
    agent: true,
    tags: {},
  }
  return { description, sockets: { qmpSocketPath: guest.paths.qmp, agentSocketPath: guest.paths.agent } }
}

export function hostOf(guest: RunningGuest): InstantHost {
  const { folder } = guest.paths
  return {
    clock: systemClock,
    random: systemRandom,
    journalFolder: join(folder, 'journal'),
    scratchFolder: join(folder, 'scratch'),
    runFolder: folder,
    scratchFloorBytes: 0,
    watchdog: 'elsewhere',
  }
}
