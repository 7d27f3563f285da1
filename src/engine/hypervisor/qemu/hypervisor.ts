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
import { createMachine, planDisk } from './creation.ts'
import { diskNodeName } from './device-address.ts'
import { plugDisk, requireHotPluggable, unplugDisk } from './hot-plug.ts'
import { growImage, inspectImage, requireDiskSize } from './image.ts'
import { launchMachine } from './launch.ts'
import { listMachines, MachineFolder } from './machine-folder.ts'
import { withMachineLock } from './machine-lock.ts'
import { type QemuRoots, requireUsableRoots } from './machine-paths.ts'
import { withMonitor } from './monitor.ts'
import { powerOffNow, type RunningMachine, shutDownGracefully } from './power-down.ts'
import { findProcessUser } from './process-user.ts'
import type { EndIntent } from './run-record.ts'
import { takeScreenshot } from './screenshot.ts'
import { readSerialLog } from './serial-log.ts'
import { runStateOf, statusOf } from './status.ts'
import type { ProcessUser } from './supervisor.ts'

/** Who knows of open instants. A disk may not come, go or grow while one is open: it would not be in it. */
export interface InstantGate {
  isInstantOpen(machine: MachineDescription): Promise<boolean>
  openInstant(status: MachineStatus, options: OpenInstantOptions): Promise<Instant>
}

export type QemuHypervisorOptions = Readonly<{
  roots: QemuRoots
  clock: Clock
  random: Random
  instants: InstantGate
  /** Default: qemu-system-x86_64 of the PATH. */
  program?: string
  /** Default: process-user.ts decides. */
  user?: ProcessUser
}>

const SERIAL_BYTES_DEFAULT = 64 * 1024
const DESCRIBE_CONNECT_MS = 2_000

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

  async discover(): Promise<readonly MachineStatus[]> {
    const found: MachineStatus[] = []
    for (const name of await listMachines(this.#options.roots)) found.push(await this.describe(name))
    return found
  }

  async describe(name: string): Promise<MachineStatus> {
    const folder = this.#folder(name)
    const machine = await folder.readDescription()
    const { record, verdict } = await folder.judge()
    if (verdict.power !== 'running') return statusOf(machine, folder.paths, record, verdict)
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

  async delete(name: string, options: Readonly<{ disks: 'keep' | 'delete' }>): Promise<void> {
    const folder = this.#folder(name)
    await this.#locked(folder, async () => {
      const machine = await folder.readDescription()
      if ((await folder.judge()).verdict.power === 'running')
        throw new HypervisorError('machine_state_conflict', `${name} is running: stop it before you delete it.`)
      const own = machine.disks.filter((disk) => dirname(disk.path) === folder.paths.disks)
      await folder.forget()
      if (options.disks === 'delete') for (const disk of own) await rm(disk.path, { force: true })
      await folder.removeRest()
    })
  }

  async start(name: string, options: Readonly<{ paused?: boolean }> = {}): Promise<MachineStatus> {
    const folder = this.#folder(name)
    await this.#locked(folder, async () => {
      const machine = await folder.readDescription()
      if ((await folder.adopt()).power === 'running') return
      const { clock, random } = this.#options
      const user = this.#options.user ?? (await findProcessUser())
      const context = { clock, random, program: this.#program, choice: await this.accelerator(), user }
      await launchMachine(folder, machine, context, options)
    })
    return this.describe(name)
  }

  async shutdown(name: string, options: ShutdownOptions): Promise<ShutdownOutcome> {
    const running = await this.#intend(name, 'shut_down')
    if (running === undefined) return { by: 'already_off', tookMs: 0, notes: [] }
    const outcome = await shutDownGracefully(running, options)
    await this.#settle(name)
    return outcome
  }

  async powerOff(name: string): Promise<void> {
    const running = await this.#intend(name, 'powered_off')
    if (running === undefined) return
    await powerOffNow(running)
    await this.#settle(name)
  }

  async pause(name: string): Promise<void> {
    await this.#whileRunning(name, (qmp) => qmp.execute('stop'))
  }

  async resume(name: string): Promise<void> {
    await this.#whileRunning(name, (qmp) => qmp.execute('cont'))
  }

  async attachDisk(name: string, disk: NewDisk): Promise<MachineDisk> {
    const folder = this.#folder(name)
    return this.#locked(folder, async () => {
      const machine = await this.#changeable(folder)
      const isRunning = (await folder.adopt()).power === 'running'
      const plug = (one: MachineDisk): Promise<void> =>
        isRunning ? this.#control(folder, machine, (qmp) => plugDisk(qmp, one, machine.machineType)) : Promise.resolve()
      const known = machine.disks.find((one) => one.lun === disk.lun && one.diskId === disk.diskId)
      if (known !== undefined) {
        await plug(known) // a call that was cut short is repeated
        return known
      }
      const plan = planDisk(machine, disk, folder.paths, this.#options.random)
      if (isRunning) requireHotPluggable(plan.disk)
      const image = await plan.prepare()
      try {
        await folder.writeDescription(plan.next)
        await plug(plan.disk)
      } catch (error) {
        await folder.writeDescription(machine)
        if (image.made) await rm(image.path, { force: true })
        throw error
      }
      return plan.disk
    })
  }

  async detachDisk(name: string, lun: number, options: Readonly<{ deadlineMs: number }>): Promise<MachineDisk> {
    const folder = this.#folder(name)
    return this.#locked(folder, async () => {
      const machine = await this.#changeable(folder)
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
    await this.#locked(folder, async () => {
      const machine = await this.#changeable(folder)
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

  /** The description of a machine whose disks may change now. @throws `instant_open`. */
  async #changeable(folder: MachineFolder): Promise<MachineDescription> {
    const machine = await folder.readDescription()
    if (!(await this.#options.instants.isInstantOpen(machine))) return machine
    throw new HypervisorError('instant_open', `The disks of ${machine.name} are being read at this moment.`, {
      retry: 'later',
      hint: 'Wait for the backup or replication cycle to end, or cancel it.',
    })
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
    return this.#locked(folder, async () => {
      const machine = await folder.readDescription()
      const process = await folder.intend(intent)
      return process === undefined ? undefined : { machine, paths: folder.paths, process, clock: this.#clock }
    })
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

/** @throws `disk_unsupported`: there is no such disk. */
function diskAt(machine: MachineDescription, lun: number): MachineDisk {
  const disk = machine.disks.find((one) => one.lun === lun)
  if (disk !== undefined) return disk
  throw new HypervisorError('disk_unsupported', `${machine.name} has no disk at LUN ${lun}.`, { facts: { lun } })
}
