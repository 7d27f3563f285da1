/**
 * Starts the micro guest for a test.
 *
 *   await using guest = await startMicroGuest({ disks: [{ sizeMib: 64 }] })
 *   await guest.run('mkfs.ext4 -q /dev/vdb')
 *
 * A guest whose data disks are blank is resumed from a saved state; one that is given disks boots from power-on, because a
 * saved guest would remember other disks. Everything of a guest lies in one temporary folder.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isObject, type PortForward } from '#engine/hypervisor'
import { checkCommand } from '#runtime'
import { eventually } from './deadline.ts'
import { type AttachedDisk, type GuestCommand, guestPaths, type RigBus } from './guest-command.ts'
import { RunningGuest } from './guest-process.ts'
import { microImage } from './micro-image.ts'
import { type WarmState, warmState } from './warm-state.ts'

/** A blank disk that the rig makes, or an image that the test brings. */
export type RigDisk =
  | Readonly<{ sizeMib: number; format?: 'qcow2' | 'raw'; bus?: RigBus }>
  | Readonly<{ path: string; format: 'qcow2' | 'raw'; bus?: RigBus }>

export type MicroGuestOptions = Readonly<{
  name?: string
  /** Instead of an overlay on the micro image, such as a restored system disk. */
  osDisk?: Readonly<{ path: string; format: 'qcow2' | 'raw'; bus?: RigBus }>
  /** Data disks: vdb, vdc, ... in the guest. */
  disks?: readonly RigDisk[]
  memoryMib?: number
  cpuCount?: number
  /** The guest's port 8080 answers "hello-micro". */
  forwards?: readonly PortForward[]
  /** cold: always boot. */
  start?: 'cold'
  /** Return when the process runs, without waiting for the guest. */
  waits?: boolean
  extraArguments?: readonly string[]
}>

const RESUME_MS_MAX = 30_000

/** Creates a qcow2 image whose content is that of `backing`. */
export async function makeOverlay(path: string, backing: string, backingFormat: 'qcow2' | 'raw'): Promise<void> {
  await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', backing, '-F', backingFormat, path])
}

async function attach(disk: RigDisk, index: number, folder: string): Promise<AttachedDisk> {
  const bus = disk.bus ?? 'virtio-blk'
  if ('path' in disk) return { path: disk.path, format: disk.format, bus }
  const format = disk.format ?? 'qcow2'
  const path = join(folder, `disk${index}.${format}`)
  await checkCommand('qemu-img', ['create', '-q', '-f', format, path, `${disk.sizeMib}M`])
  return { path, format, bus }
}

async function prepare(options: MicroGuestOptions): Promise<GuestCommand> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-guest-'))
  const os = options.osDisk ?? { path: join(folder, 'disk0.qcow2'), format: 'qcow2' as const }
  if (options.osDisk === undefined) await makeOverlay(os.path, await microImage(), 'raw')
  const osDisk: AttachedDisk = { path: os.path, format: os.format, bus: options.osDisk?.bus ?? 'virtio-blk' }
  const data = await Promise.all((options.disks ?? []).map((disk, i) => attach(disk, i + 1, folder)))
  return {
    name: options.name ?? 'micro',
    paths: guestPaths(folder),
    disks: [osDisk, ...data],
    memoryMib: options.memoryMib ?? 192,
    cpuCount: options.cpuCount ?? 1,
    forwards: options.forwards ?? [],
    extraArguments: options.extraArguments ?? [],
  }
}

async function resume(command: GuestCommand, warm: WarmState): Promise<RunningGuest> {
  await makeOverlay(command.disks[0]?.path ?? '', warm.osDisk, 'qcow2')
  const guest = await RunningGuest.launch(command, { incomingFile: warm.stateFile })
  await guest.rig(async (qmp) => {
    await eventually('the saved state to be loaded', RESUME_MS_MAX, async () => {
      const answer = await qmp.execute('query-status')
      return isObject(answer) && answer['status'] !== 'inmigrate' ? true : undefined
    })
    await qmp.execute('cont')
  })
  return guest
}

async function launch(command: GuestCommand, options: MicroGuestOptions): Promise<RunningGuest> {
  const disks = options.disks ?? []
  const sizesMib = disks.flatMap((disk) => ('sizeMib' in disk ? [disk.sizeMib] : []))
  const isWarm = options.start !== 'cold' && options.osDisk === undefined && sizesMib.length === disks.length
  const guest = isWarm ? await resume(command, await warmState(command, sizesMib)) : await RunningGuest.launch(command)
  try {
    if (options.waits !== false) await guest.waitReady()
    return guest
  } catch (error) {
    await guest.destroy()
    throw error
  }
}

/** Starts a guest and, unless told otherwise, waits until its agent answers. The caller destroys it. */
export async function startMicroGuest(options: MicroGuestOptions = {}): Promise<RunningGuest> {
  const command = await prepare(options)
  try {
    return await launch(command, options)
  } catch (error) {
    await rm(command.paths.folder, { recursive: true, force: true })
    throw error
  }
}
