/**
 * QemuHypervisor runs machines whose QEMU processes Holdfast owns: it makes, starts, ends and forgets them.
 *
 * Promises
 *   1. A machine outlives us. Whatever dies on our side, the next `discover` finds it again, and knows how it ended if it did.
 *   2. Only a process that is proven ours (pid, start time, boot, monitor socket, UUID) is ever signalled or taken for running.
 *   3. One change of a machine at a time, across processes (machine-lock.ts).
 *   4. No disk is removed except by `delete` with `disks: 'delete'`, and then only in the machine's own folder.
 *
 * It holds no connection between calls: each machine's control monitor is free for whoever comes next.
 */
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Clock, isHoldfastError, messageOf, type Random } from '#base'
import type {
  Discovery,
  Hypervisor,
  MachineStatus,
  NewDisk,
  NewMachine,
  Screenshot,
  SerialLog,
  ShutdownOptions,
  ShutdownOutcome,
} from '../driver.ts'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription, MachineDisk } from '../machine.ts'
import type { Instant, OpenInstantOptions } from '../port.ts'
import type { QmpClient } from '../qmp/client.ts'
import { type AcceleratorChoice, chooseAccelerator } from './accelerator.ts'
import { createMachine, describeAnew, planDisk } from './creation.ts'
import { diskNodeName } from './device-address.ts'
import { plugDisk, requireHotPluggable, unplugDisk } from './hot-plug.ts'
import { growImage, inspectImage, requireDiskSize } from './image.ts'
import { launchMachine } from './launch.ts'
import { listMachines, MachineFolder } from './machine-folder.ts'
import { withMachineLock } from './machine-lock.ts'
import { type QemuRoots, requireUsableRoots } from './machine-paths.ts'
import { withMonitor } from './monitor.ts'
import { powerOffNow, type RunningMachine, shutDownGracefully } from './power-down.ts'
import { findProcessUser, giveImageTo } from './process-user.ts'
import type { EndIntent } from './run-record.ts'
import { takeScreenshot } from './screenshot.ts'
import { readSerialLog } from './serial-log.ts'
import { runStateOf, statusOf } from './status.ts'
import type { ProcessUser } from './supervisor.ts'

/** Who knows what may happen beside an instant; InstantBroker is the one of this host. */
export interface InstantGate {
  /** Whether any process of this host holds an instant of the machine. */
  isInstantOpen(machine: MachineDescription): Promise<boolean>
  /**
   * Runs a change when no instant forbids it any more. A stop breaks an open instant off; others wait.
   * @throws HypervisorError `instant_open`, `machine_state_conflict`.
   */
  during<T>(machine: MachineDescription, change: MachineChange, act: () => Promise<T>): Promise<T>
  openInstant(status: MachineStatus, options: OpenInstantOptions): Promise<Instant>
}
export type MachineChange = 'attach_detach' | 'resize' | 'stop'

export type QemuHypervisorOptions = Readonly<{
  roots: QemuRoots
  clock: Clock
  random: Random
  instants: InstantGate
  /** Default: qemu-system-x86_64 of the PATH. */
  program?: string
  /** Default: process-user.ts decides. */
  user?: ProcessUser
  /** Folders at and below it are Holdfast's own: they are opened for that user to pass (passage.ts). */
  own?: string
}>

const SERIAL_BYTES_DEFAULT = 64 * 1024
const DESCRIBE_CONNECT_MS = 2_000
/** One monitor that does not answer must not hold up the list for two seconds each. */
const DESCRIBE_TOGETHER_MAX = 16

export class QemuHypervisor implements Hypervisor {
  readonly driver = 'qemu'
  readonly #options: QemuHypervisorOptions
  readonly #clock: Clock

  /** @throws HypervisorError `machine_invalid` when the roots cannot serve. */
  constructor(options: QemuHypervisorOptions) {
    requireUsableRoots(options.roots)
    this.#options = options
    this.#clock = options.clock
  }

  /** The accelerator of this host; runs the probe once per boot. */
  accelerator(): Promise<AcceleratorChoice> {
    return chooseAccelerator(this.#program, this.#options.roots.runtimeFolder, this.#clock)
  }

  async discover({ monitors = true }: Readonly<{ monitors?: boolean }> = {}): Promise<Discovery> {
    const machines: MachineStatus[] = []
    const unreadable: { name: string; error: HypervisorError }[] = []
    const look = async (name: string): Promise<void> => {
      try {
        machines.push(await this.#describe(name, monitors))
      } catch (error) {
        if (!(error instanceof HypervisorError)) throw error
        if (error.code !== 'machine_not_found') unreadable.push({ name, error }) // or deleted since it was listed
      }
    }
    const names = await listMachines(this.#options.roots)
    for (let from = 0; from < names.length; from += DESCRIBE_TOGETHER_MAX)
      await Promise.all(names.slice(from, from + DESCRIBE_TOGETHER_MAX).map(look))
    return { machines: machines.toSorted((a, b) => (a.machine.name < b.machine.name ? -1 : 1)), unreadable }
  }

  describe(name: string): Promise<MachineStatus> {
    return this.#describe(name, true)
  }

  async #describe(name: string, asksMonitor: boolean): Promise<MachineStatus> {
    const folder = this.#folder(name)
    const machine = await folder.readDescription()
    const { record, verdict } = await folder.judge()
    if (verdict.power !== 'running' || !asksMonitor) return statusOf(machine, folder.paths, record, verdict)
    return statusOf(machine, folder.paths, record, verdict, await this.#runState(folder, machine))
  }

  async create(request: NewMachine): Promise<MachineStatus> {
    const folder = this.#folder(request.name)
    await this.#locked(folder, async () => {
      if (await folder.exists())
        throw new HypervisorError('machine_exists', `There is a machine ${request.name} already.`)
      await createMachine(folder, request, this.#options.random)
    })
    return this.describe(request.name)
  }

  async define(request: NewMachine & Readonly<{ uuid: string }>): Promise<MachineStatus> {
    const folder = this.#folder(request.name)
    await this.#locked(folder, async () => {
      if (!(await folder.exists())) return createMachine(folder, request, this.#options.random)
      if ((await folder.adopt()).power !== 'running') await describeAnew(folder, request, this.#options.random)
    })
    return this.describe(request.name)
  }

  async delete(name: string, options: Readonly<{ disks: 'keep' | 'delete' }>): Promise<void> {
    const folder = this.#folder(name)
    await this.#locked(folder, async () => {
      const machine = await folder.readDescription()
      if ((await folder.judge()).verdict.power === 'running')
        throw new HypervisorError('machine_state_conflict', `${name} is running: stop it before you delete it.`)
      if (await this.#options.instants.isInstantOpen(machine)) throw instantOpen(machine)
      const own = machine.disks.filter((disk) => dirname(disk.path) === folder.paths.disks)
      await folder.forget()
      if (options.disks === 'delete') for (const disk of own) await rm(disk.path, { force: true })
      await folder.removeRest()
    })
  }

  async start(name: string, options: Readonly<{ paused?: boolean }> = {}): Promise<MachineStatus> {
    const folder = this.#folder(name)
    const launch = (): Promise<void> =>
      this.#locked(folder, async () => {
        const machine = await folder.readDescription()
        if ((await folder.adopt()).power === 'running') return
        const { clock, random, own } = this.#options
        const user = this.#options.user ?? (await findProcessUser())
        const context = { clock, random, program: this.#program, choice: await this.accelerator(), user, own }
        await launchMachine(folder, machine, context, options)
      })
    const machine = await folder.readDescription()
    const isOff = (await folder.judge()).verdict.power !== 'running'
    // Like a stop, a start does not wait for us: an instant of the stopped machine is broken off and frees the images.
    if (isOff && (await this.#options.instants.isInstantOpen(machine)))
      await this.#options.instants.during(machine, 'stop', launch)
    else await launch()
    return this.describe(name)
  }

  async shutdown(name: string, options: ShutdownOptions): Promise<ShutdownOutcome> {
    return this.#stop(name, async () => {
      const running = await this.#intend(name, 'shut_down')
      if (running === undefined) return { by: 'already_off', tookMs: 0, notes: [] }
      const outcome = await shutDownGracefully(running, options)
      await this.#settle(name)
      return outcome
    })
  }

  async powerOff(name: string): Promise<void> {
    const act = async (): Promise<void> => {
      const running = await this.#intend(name, 'powered_off')
      if (running === undefined) return
      await powerOffNow(running)
      await this.#settle(name)
    }
    try {
      await this.#stop(name, act)
    } catch (error) {
      // Pulling the plug is for when everything else hangs: what is in the way fails with the machine.
      if (!isHoldfastError(error, 'instant_open')) throw error
      await act()
    }
  }

  async pause(name: string): Promise<void> {
    await this.#whileRunning(name, (qmp) => qmp.execute('stop'))
  }

  async resume(name: string): Promise<void> {
    await this.#whileRunning(name, (qmp) => qmp.execute('cont'))
  }

  async attachDisk(name: string, disk: NewDisk): Promise<MachineDisk> {
    const folder = this.#folder(name)
    return this.#changing(folder, 'attach_detach', async (machine) => {
      const verdict = await folder.adopt()
      const plug = async (one: MachineDisk): Promise<void> => {
        if (verdict.power !== 'running') return
        await giveImageTo(verdict.process.pid, one.path, this.#options.own)
        await this.#control(folder, machine, (qmp) => plugDisk(qmp, one, machine))
      }
      const known = machine.disks.find((one) => one.lun === disk.lun && one.diskId === disk.diskId)
      if (known !== undefined) {
        await plug(known) // a call that was cut short is repeated
        return known
      }
      const plan = planDisk(machine, disk, folder.paths, this.#options.random)
      if (verdict.power === 'running') requireHotPluggable(plan.disk)
      const image = await plan.prepare()
      try {
        await folder.writeDescription(plan.next)
        await plug(plan.disk)
      } catch (error) {
        // Without an answer QEMU may have the disk all the same: then it stays described, and the call can be repeated.
        if (isHoldfastError(error, 'timed_out', 'qmp_disconnected')) throw error
        await folder.writeDescription(machine)
        if (image.made) await rm(image.path, { force: true })
        throw error
      }
      return plan.disk
    })
  }

  async detachDisk(name: string, lun: number, options: Readonly<{ deadlineMs: number }>): Promise<MachineDisk> {
    const folder = this.#folder(name)
    return this.#changing(folder, 'attach_detach', async (machine) => {
      const disk = diskAt(machine, lun)
      if ((await folder.adopt()).power === 'running') {
        requireHotPluggable(disk)
        await this.#control(folder, machine, (qmp) => unplugDisk(qmp, machine, lun, options.deadlineMs))
      }
      await folder.writeDescription({ ...machine, disks: machine.disks.filter((other) => other.lun !== lun) })
      return disk
    })
  }

  async resizeDisk(name: string, lun: number, sizeBytes: number): Promise<void> {
    const folder = this.#folder(name)
    await this.#changing(folder, 'resize', async (machine) => {
      const disk = diskAt(machine, lun)
      requireDiskSize(sizeBytes)
      const before = (await inspectImage(disk.path, disk.format)).sizeBytes
      if (sizeBytes < before)
        throw new HypervisorError('disk_unsupported', `The disk at LUN ${lun} cannot shrink.`, {
          facts: { lun, beforeBytes: before, afterBytes: sizeBytes },
        })
      if (sizeBytes === before) return
      if ((await folder.adopt()).power !== 'running') return growImage(disk.path, disk.format, sizeBytes)
      const args = { 'node-name': diskNodeName(lun), size: sizeBytes }
      await this.#control(folder, machine, (qmp) => qmp.execute('block_resize', args))
    })
  }

  screenshot(name: string): Promise<Screenshot> {
    const { paths } = this.#folder(name)
    return this.#whileRunning(name, (qmp) => takeScreenshot(qmp, paths.screenshot))
  }

  async serialLog(name: string, options: Readonly<{ bytesMax?: number }> = {}): Promise<SerialLog> {
    const folder = this.#folder(name)
    await folder.readDescription()
    return readSerialLog(folder.paths.serialLog, options.bytesMax ?? SERIAL_BYTES_DEFAULT)
  }

  async openInstant(name: string, options: OpenInstantOptions): Promise<Instant> {
    return this.#options.instants.openInstant(await this.describe(name), options)
  }

  get #program(): string {
    return this.#options.program ?? 'qemu-system-x86_64'
  }

  #folder(name: string): MachineFolder {
    return new MachineFolder(this.#options.roots, name, this.#clock)
  }

  #locked<T>(folder: MachineFolder, act: () => Promise<T>): Promise<T> {
    return withMachineLock(this.#clock, folder.paths.folder, act)
  }

  #control<T>(folder: MachineFolder, machine: MachineDescription, talk: (qmp: QmpClient) => Promise<T>): Promise<T> {
    return withMonitor(folder.paths.controlSocket, machine, { clock: this.#clock }, talk)
  }

  /** Runs a change of the disks when no instant is open, of this process (the gate waits) or of another (refused). */
  async #changing<T>(
    folder: MachineFolder,
    change: MachineChange,
    act: (machine: MachineDescription) => Promise<T>,
  ): Promise<T> {
    const { instants } = this.#options
    return instants.during(await folder.readDescription(), change, () =>
      this.#locked(folder, async () => {
        const machine = await folder.readDescription()
        if (await instants.isInstantOpen(machine)) throw instantOpen(machine)
        return act(machine)
      }),
    )
  }

  async #stop<T>(name: string, act: () => Promise<T>): Promise<T> {
    return this.#options.instants.during(await this.#folder(name).readDescription(), 'stop', act)
  }

  #whileRunning<T>(name: string, talk: (qmp: QmpClient) => Promise<T>): Promise<T> {
    const folder = this.#folder(name)
    return this.#locked(folder, async () => {
      const machine = await folder.readDescription()
      if ((await folder.adopt()).power !== 'running')
        throw new HypervisorError('machine_state_conflict', `${name} is not running.`)
      return this.#control(folder, machine, talk)
    })
  }

  /** Writes down that the machine is to end; undefined when it does not run. */
  async #intend(name: string, intent: EndIntent): Promise<RunningMachine | undefined> {
    const folder = this.#folder(name)
    const write = async (): Promise<RunningMachine | undefined> => {
      const machine = await folder.readDescription()
      const process = await folder.intend(intent)
      return process === undefined ? undefined : { machine, paths: folder.paths, process, clock: this.#clock }
    }
    try {
      return await this.#locked(folder, write)
    } catch (error) {
      // A detach that waits for its guest holds the lock, not the record of the run: the plug is pulled all the same.
      if (intent !== 'powered_off' || !isHoldfastError(error, 'machine_state_conflict')) throw error
      return write()
    }
  }

  /** Writes down how the run ended. */
  async #settle(name: string): Promise<void> {
    const folder = this.#folder(name)
    await this.#locked(folder, () => folder.adopt())
  }

  async #runState(folder: MachineFolder, machine: MachineDescription): Promise<ReturnType<typeof runStateOf>> {
    const options = { clock: this.#clock, connectTimeoutMs: DESCRIBE_CONNECT_MS }
    try {
      return await withMonitor(folder.paths.controlSocket, machine, options, async (qmp) =>
        runStateOf(await qmp.execute('query-status')),
      )
    } catch (error) {
      if (!isHoldfastError(error)) throw error
      return { isPaused: false, note: `Its monitor does not answer: ${messageOf(error)}` }
    }
  }
}

function instantOpen(machine: MachineDescription): HypervisorError {
  return new HypervisorError('instant_open', `The disks of ${machine.name} are being read at this moment.`, {
    retry: 'later',
    hint: 'Wait for the backup or replication cycle to end, or cancel it.',
  })
}

/** @throws `disk_unsupported`: there is no such disk. */
function diskAt(machine: MachineDescription, lun: number): MachineDisk {
  const disk = machine.disks.find((one) => one.lun === lun)
  if (disk !== undefined) return disk
  throw new HypervisorError('disk_unsupported', `${machine.name} has no disk at LUN ${lun}.`, { facts: { lun } })
}
