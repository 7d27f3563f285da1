/**
 * Instant boot: a machine runs from a recovery point in seconds, whatever its size, and its data moves in behind it.
 *
 *   step                               a crash right after it leaves              booting again does
 *   1 record `begun`                   a record                                   goes on at 2
 *   2 serve the disks over NBD         nothing (the server dies with us)          serves them again on the same socket
 *   3 overlays with zeroed holes       overlays, perhaps incomplete               makes them anew
 *   4 record `prepared`
 *   5 create and start the machine     a machine that runs, or not                finds it, or creates and starts it
 *   6 hydrate                          a machine whose reads wait for a server    serves again within the reconnect delay
 *   7 remove the record                a machine like any other                   nothing
 *
 * The guest writes to its overlays from the first instruction, so nothing that it wrote depends on us. While the server is
 * away its reads of what has not moved yet wait, up to RECONNECT_SECONDS; then they fail as a broken disk's would.
 * If QEMU dies the overlays are whole (a crash-consistent machine) and the next start goes on hydrating.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { assert, type Clock, type ProgressSink, silentProgress } from '#base'
import { BlockError, type BlockSource } from '#engine/block'
import {
  countGuestReads,
  hydrate,
  type Hydration,
  type Hypervisor,
  HypervisorError,
  type MachineDescription,
  type MachineStatus,
  type NewMachine,
} from '#engine/hypervisor'
import { type BlobStore, type PointRecord, type Repository, type StoreDescriptor } from '#engine/repository'
import { TransferError } from '../errors.ts'
import { readAttachment } from '../attachment.ts'
import { BootQuiet } from './boot-quiet.ts'
import { type BootRecord, readBoot, removeBoot, writeBoot } from './boot-record.ts'
import { overlayOn, serveVersions } from './served-versions.ts'

export type BootPlan = Readonly<{
  machine: string
  /** Where the record and the overlays lie: on the pool, since the overlays become the machine's disks. */
  folder: string
  /** Short: for the socket that stands in the overlays' headers. */
  runtimeFolder: string
  /** Networks of the new machine; by default none, so that a copy does not meet the original on a wire. */
  networks: MachineDescription['networks']
}>

export type BootEnvironment = Readonly<{
  store: StoreDescriptor | BlobStore
  hypervisor: Hypervisor
  clock: Clock
  progress?: ProgressSink
  signal?: AbortSignal
}>

/** A booted machine that is still reading from us. */
export class RunningBoot {
  readonly status: MachineStatus
  readonly #record: BootRecord
  readonly #folder: string
  readonly #environment: BootEnvironment
  readonly #close: () => Promise<void>
  readonly #keepAlive: () => Promise<void>

  constructor(
    status: MachineStatus,
    record: BootRecord,
    folder: string,
    environment: BootEnvironment,
    hold: Readonly<{ close: () => Promise<void>; keepAlive: () => Promise<void> }>,
  ) {
    this.status = status
    this.#record = record
    this.#folder = folder
    this.#environment = environment
    this.#close = hold.close
    this.#keepAlive = hold.keepAlive
  }

  /** Where the disks stand; begins or resumes the jobs that are not there. */
  async hydration(): Promise<Hydration[]> {
    const control = (await this.#environment.hypervisor.describe(this.#record.machine)).sockets?.control
    if (control === undefined)
      throw new TransferError('boot_machine_stopped', `${this.#record.machine} does not run any more.`, {
        hint: 'Boot it again: it goes on where it was.',
      })
    return hydrate(
      control,
      this.#record.disks.map(({ lun }) => lun),
      { clock: this.#environment.clock },
    )
  }

  /** Resolves when every disk is the machine's own and nothing is read from here. @throws when the machine ends meanwhile */
  async hydrated(): Promise<void> {
    const { clock, signal, progress = silentProgress } = this.#environment
    await this.#settled()
    for (;;) {
      const states = await this.hydration()
      if (states.every(({ state }) => state === 'done')) break
      const running = states.filter(({ state }) => state === 'running')
      const sum = (field: 'doneBytes' | 'totalBytes'): number =>
        running.reduce((total, state) => total + state[field], 0)
      progress({ task: 'Moving the data in', doneBytes: sum('doneBytes'), totalBytes: sum('totalBytes') })
      await this.#keepAlive()
      await clock.sleep(200, signal)
    }
    await removeBoot(this.#folder)
  }

  /** Waits until the guest's boot is over, or over enough (boot-quiet.ts). */
  async #settled(): Promise<void> {
    const { clock, hypervisor, signal } = this.#environment
    const quiet = new BootQuiet(clock.monotonicMs())
    for (;;) {
      const control = (await hypervisor.describe(this.#record.machine)).sockets?.control
      if (control === undefined) return // `hydration` says so
      if (quiet.isSettled(clock.monotonicMs(), await countGuestReads(control, { clock }))) return
      await clock.sleep(250, signal)
    }
  }

  /** Stops serving. The machine goes on; what has not moved yet waits for the next `bootPoint`. */
  async close(): Promise<void> {
    await this.#close()
  }
}

/** Boots `point`, or takes up a boot of it that was begun in this folder. @throws what any of the steps raises */
export async function bootPoint(
  repository: Repository,
  point: PointRecord,
  plan: BootPlan,
  environment: BootEnvironment,
): Promise<RunningBoot> {
  const record = await beginRecord(repository, point, plan, environment.hypervisor)
  const { store } = environment
  const versions = point.disks.map((disk) => ({ exportName: `d${disk.lun}`, disk }))
  const reason = `boot of ${plan.machine}`
  const served = await serveVersions(repository, versions, { store, socketPath: record.socketPath, reason })
  const { sources, close, keepAlive } = served
  try {
    if (record.step === 'begun') await prepareOverlays(record, plan.folder, sources)
    const status = await startMachine(repository, point, plan, record, environment.hypervisor)
    return new RunningBoot(status, record, plan.folder, environment, { close, keepAlive })
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * What stands where a new boot would write is somebody's machine, perhaps one that an earlier boot made and that now lives
 * on its own: nothing of it is touched. Without this a second boot into the same folder would remove a machine's disks.
 */
async function refuseExisting(record: BootRecord, hypervisor: Hypervisor): Promise<void> {
  const facts = { machine: record.machine }
  const hint = 'Choose another folder or name, or delete that machine first.'
  const { machines } = await hypervisor.discover()
  if (machines.some(({ machine }) => machine.name === record.machine))
    throw new HypervisorError('machine_exists', `There is a machine ${record.machine} already.`, { facts, hint })
  for (const { overlayPath } of record.disks) {
    if (existsSync(overlayPath))
      throw new BlockError('target_exists', `${overlayPath} exists already.`, {
        facts: { ...facts, overlayPath },
        hint,
      })
  }
}

async function beginRecord(
  repository: Repository,
  point: PointRecord,
  plan: BootPlan,
  hypervisor: Hypervisor,
): Promise<BootRecord> {
  const known = await readBoot(plan.folder)
  if (known !== undefined) {
    if (known.point === point.id && known.machine === plan.machine) return known
    throw new TransferError(
      'boot_in_progress',
      `${known.machine} is being booted in ${plan.folder} from another point (${known.point.slice(0, 8)}).`,
      {
        facts: { folder: plan.folder, machine: known.machine, point: known.point },
        hint: 'Let it finish, or delete that machine first.',
      },
    )
  }
  // The socket's name is made of what the boot is, so that every resume finds the same one.
  const id = createHash('sha256').update(`${plan.folder} ${plan.machine}`).digest('hex').slice(0, 8)
  const record: BootRecord = {
    schema: 1,
    machine: plan.machine,
    store: repository.store.location,
    repository: repository.config.id,
    point: point.id,
    socketPath: join(plan.runtimeFolder, `boot-${id}.nbd`),
    disks: point.disks.map(({ lun }) => ({
      lun,
      overlayPath: join(plan.folder, `disk-${lun}.qcow2`),
      exportName: `d${lun}`,
    })),
    step: 'begun',
  }
  await refuseExisting(record, hypervisor)
  await writeBoot(plan.folder, record)
  return record
}

async function prepareOverlays(
  record: BootRecord,
  folder: string,
  sources: ReadonlyMap<string, BlockSource>,
): Promise<void> {
  for (const disk of record.disks) {
    const source = sources.get(disk.exportName)
    assert(source !== undefined, 'Every disk is served')
    await rm(disk.overlayPath, { force: true })
    await overlayOn(disk.overlayPath, source, record.socketPath, disk.exportName)
  }
  await writeBoot(folder, { ...record, step: 'prepared' })
}

async function startMachine(
  repository: Repository,
  point: PointRecord,
  plan: BootPlan,
  record: BootRecord,
  hypervisor: Hypervisor,
): Promise<MachineStatus> {
  const known = (await hypervisor.discover()).machines.find(({ machine }) => machine.name === plan.machine)
  if (known === undefined) await hypervisor.create(await describeMachine(repository, point, plan, record))
  return hypervisor.start(plan.machine)
}

/** The machine as the point describes it, on the overlays; of a point of bare disks, a plain one. */
async function describeMachine(
  repository: Repository,
  point: PointRecord,
  plan: BootPlan,
  record: BootRecord,
): Promise<NewMachine> {
  const before = point.description as Partial<MachineDescription> | undefined
  const disks = point.disks.map((disk) => {
    const was = before?.disks?.find(({ lun }) => lun === disk.lun)
    const overlay = record.disks.find(({ lun }) => lun === disk.lun)
    assert(overlay !== undefined, 'Every disk has an overlay')
    return {
      lun: disk.lun,
      role: was?.role ?? (disk.lun === 0 ? ('os' as const) : ('data' as const)),
      bus: was?.bus ?? ('virtio-blk' as const),
      // A machine that was not ours may have disks without a serial; they get one of their identity.
      ...(was?.serial === undefined || was.serial === '' ? {} : { serial: was.serial }),
      source: { from: 'image' as const, path: overlay.overlayPath, format: 'qcow2' as const, allowBacking: true },
    }
  })
  const uefiVars = point.attachments.find(({ name }) => name === 'uefi-vars')
  const uefiVarsPath = join(plan.folder, 'uefi-vars.from-point.fd')
  if (uefiVars !== undefined) await writeFile(uefiVarsPath, await readAttachment(repository, uefiVars))
  return {
    name: plan.machine,
    firmware: before?.firmware ?? 'bios',
    machineType: before?.machineType ?? 'pc',
    cpuCount: before?.cpuCount ?? 1,
    memoryMib: before?.memoryMib ?? 1024,
    networks: plan.networks,
    agent: before?.agent ?? true,
    tags: { ...before?.tags, 'holdfast-point': point.id, 'holdfast-taken-at': point.takenAt },
    disks,
    ...(uefiVars === undefined ? {} : { uefiVarsFrom: uefiVarsPath }),
  }
}
