/**
 * What instants are taken of in the kill matrix: a running machine without a guest, one whose guest can be frozen, and a
 * stopped one. Each says whether it is well: it runs, thawed, with the block graph that it had; or, stopped, its images are
 * free to be opened for writing, which is what starting it takes.
 */
import { join } from 'node:path'
import { type ConsistencyLevel, isGuestFrozen, isObject, type JsonObject, withAgent } from '#engine/hypervisor'
import type { MachineDescription, QmpClient, RunningMachine } from '#engine/hypervisor'
import { runCommand, systemClock } from '#runtime'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import type { RunningGuest } from '../rig/guest-process.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'

export type Subject = Readonly<{
  folder: string
  machine: RunningMachine
  consistency: Extract<ConsistencyLevel, 'crash' | 'filesystem'>
  stopped: boolean
  isWell: () => Promise<boolean>
  end: () => Promise<void>
}>

export async function blankSubject(): Promise<Subject> {
  const vm = await BlankMachine.create([{}, { format: 'raw' }])
  const graph = JSON.stringify(await vm.graph())
  return {
    folder: vm.folder,
    machine: vm.running(),
    consistency: 'crash',
    stopped: false,
    isWell: async () => (await vm.status()) === 'running' && JSON.stringify(await vm.graph()) === graph,
    end: () => vm.remove(),
  }
}

export async function stoppedSubject(): Promise<Subject> {
  const vm = await BlankMachine.create([{}, { format: 'raw' }])
  await vm.stop()
  const isFree = async (lun: number): Promise<boolean> => {
    const format = vm.disks[lun]?.format ?? 'qcow2'
    return (await runCommand('qemu-io', ['-f', format, '-c', 'flush', vm.pathOf(lun)])).exitCode === 0
  }
  return {
    folder: vm.folder,
    machine: vm.running(),
    consistency: 'filesystem',
    stopped: true,
    isWell: async () => (await isFree(0)) && (await isFree(1)),
    end: () => vm.remove(),
  }
}

async function graphOf(qmp: QmpClient): Promise<string> {
  const nodes = (await qmp.execute('query-named-block-nodes', { flat: true })) as JsonObject[]
  const drives = (await qmp.execute('query-block')) as JsonObject[]
  return JSON.stringify([
    nodes.map((node) => `${String(node['node-name'])} ${String(node['drv'])} ${String(node['file'])}`).sort(),
    drives.map(({ qdev, inserted }) => [qdev, isObject(inserted) ? inserted['node-name'] : null]),
    await qmp.execute('query-block-exports'),
    await qmp.execute('query-block-jobs'),
  ])
}

function descriptionOf(guest: RunningGuest): MachineDescription {
  return {
    schema: 1,
    name: guest.name,
    uuid: '8d9ab4ea-55f6-4f4c-a8a4-6a9df4b57a10',
    firmware: 'bios',
    machineType: 'pc',
    cpuCount: 1,
    memoryMib: 192,
    disks: guest.command.disks.map(({ path, format, bus }, lun) => ({
      lun,
      diskId: `disk-${lun}`,
      role: lun === 0 ? 'os' : 'data',
      path,
      format,
      bus,
      serial: `D${lun}`,
    })),
    networks: [],
    agent: true,
    tags: {},
  }
}

export async function guestSubject(): Promise<Subject> {
  const guest = await startMicroGuest({ disks: [{ sizeMib: 16 }] })
  await guest.run('mkfs.ext4 -q /dev/vdb; mkdir -p /data/b; mount /dev/vdb /data/b')
  const graph = await guest.rig(graphOf)
  const isRunning = (): Promise<boolean> =>
    guest.rig(async (qmp) => {
      const status = await qmp.execute('query-status')
      return isObject(status) && status['status'] === 'running' && (await graphOf(qmp)) === graph
    })
  const isThawed = async (): Promise<boolean> =>
    !(await withAgent(guest.paths.agent, { clock: systemClock, readyTimeoutMs: 10_000 }, isGuestFrozen))
  return {
    folder: join(guest.paths.folder),
    machine: {
      description: descriptionOf(guest),
      sockets: { qmpSocketPath: guest.paths.qmp, agentSocketPath: guest.paths.agent },
    },
    consistency: 'filesystem',
    stopped: false,
    isWell: async () => (await isRunning()) && (await isThawed()) && (await guest.run('echo alive')) === 'alive\n',
    end: () => guest.destroy(),
  }
}
