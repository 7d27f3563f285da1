/**
 * Makes the files of a new machine, and of a new disk. The description is written last: a crash before it leaves images of
 * no machine in the folder, whose names (disk ids) nothing else will take.
 */
import { chmod, copyFile, mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, type Random, randomUuid } from '#base'
import { makeFolderDurable } from '#runtime'
import type { NewDisk, NewMachine } from '../driver.ts'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription, MachineDisk } from '../machine.ts'
import { findFirmware } from './firmware.ts'
import { type PreparedImage, prepareImage, syncFile } from './image.ts'
import type { MachineFolder } from './machine-folder.ts'
import { writeSeed } from '../seed/seed-image.ts'
import type { MachinePaths } from './machine-paths.ts'
import { requireValidMachine } from './validate.ts'

const SERIAL_CHARS_MAX = 20

function identified(disk: NewDisk, random: Random): Required<NewDisk> {
  const diskId = disk.diskId ?? randomUuid(random)
  return { ...disk, diskId, serial: disk.serial ?? diskId.replaceAll('-', '').slice(0, SERIAL_CHARS_MAX) }
}

function defaultPath(disk: Required<NewDisk>, paths: MachinePaths): (format: string) => string {
  return (format) => join(paths.disks, `${disk.diskId}.${format}`)
}

/** The disk as it will be described; nothing is made yet. */
function plannedDisk(disk: Required<NewDisk>, paths: MachinePaths): MachineDisk {
  const { source, lun, diskId, role, bus, serial } = disk
  const format = source.from === 'overlay' ? 'qcow2' : (source.format ?? 'qcow2')
  return { lun, diskId, role, path: source.path ?? defaultPath(disk, paths)(format), format, bus, serial }
}

async function removeMade(images: readonly PreparedImage[]): Promise<void> {
  for (const image of images) if (image.made) await rm(image.path, { force: true })
}

/**
 * The description with one more disk, valid, and the making of its image, which comes after the description was checked.
 * @throws `disk_in_use` when the LUN is taken, `machine_invalid`.
 */
export function planDisk(
  machine: MachineDescription,
  disk: NewDisk,
  paths: MachinePaths,
  random: Random,
): Readonly<{ next: MachineDescription; disk: MachineDisk; prepare: () => Promise<PreparedImage> }> {
  const full = identified(disk, random)
  if (machine.disks.some((other) => other.lun === disk.lun))
    throw new HypervisorError('disk_in_use', `LUN ${disk.lun} of ${machine.name} is taken.`, {
      facts: { lun: disk.lun },
    })
  const planned = plannedDisk(full, paths)
  const next = { ...machine, disks: [...machine.disks, planned] }
  requireValidMachine(next)
  const prepare = async (): Promise<PreparedImage> => {
    await mkdir(paths.disks, { recursive: true })
    return prepareImage(full.source, defaultPath(full, paths))
  }
  return { next, disk: planned, prepare }
}

async function prepareVars(machine: MachineDescription, from: string | undefined, paths: MachinePaths): Promise<void> {
  if (machine.firmware === 'bios') return
  await copyFile(from ?? (await findFirmware(machine.machineType)).varsTemplate, paths.uefiVars)
  await chmod(paths.uefiVars, 0o600) // a copy has the mode of what it was copied from
  await syncFile(paths.uefiVars)
}

function described(request: NewMachine, full: readonly Required<NewDisk>[], paths: MachinePaths, random: Random) {
  const { disks: _disks, uefiVarsFrom: _from, seed, uuid, ...rest } = request
  const machine: MachineDescription = {
    schema: 1,
    ...rest,
    uuid: uuid ?? randomUuid(random),
    disks: full.map((disk) => plannedDisk(disk, paths)),
    ...(seed !== undefined && { seed: true }),
  }
  requireValidMachine(machine)
  return machine
}

/** Validates first, makes then, describes last. @throws with nothing left behind. */
export async function createMachine(folder: MachineFolder, request: NewMachine, random: Random): Promise<void> {
  const { paths } = folder
  const full = request.disks.map((disk) => identified(disk, random))
  const machine = described(request, full, paths, random)
  await makeFolderDurable(paths.disks)
  const made: PreparedImage[] = []
  try {
    for (const disk of full) made.push(await prepareImage(disk.source, defaultPath(disk, paths)))
    await prepareVars(machine, request.uefiVarsFrom, paths)
    if (request.seed !== undefined) await writeSeed(paths.seed, request.seed)
    await folder.writeDescription(machine)
  } catch (error) {
    await removeMade(made)
    for (const path of [paths.uefiVars, paths.seed]) await rm(path, { force: true })
    await folder.removeEmptyFolders()
    throw error
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

/** As `createMachine`, over one that is there and does not run; only images that exist. Done again it changes nothing. */
export async function describeAnew(folder: MachineFolder, request: NewMachine, random: Random): Promise<void> {
  const { paths } = folder
  const before = await folder.readDescription()
  if (before.uuid !== request.uuid)
    throw new HypervisorError('machine_exists', `There is another machine ${request.name} already.`)
  const full = request.disks.map((disk) => identified(disk, random))
  const machine = described(request, full, paths, random)
  for (const { source } of full) {
    if (source.from !== 'image')
      throw new HypervisorError('machine_invalid', 'A machine is described anew with images that exist.')
    await prepareImage(source, () => source.path)
  }
  if (!(await isThere(paths.uefiVars))) await prepareVars(machine, request.uefiVarsFrom, paths)
  if (request.seed !== undefined) await writeSeed(paths.seed, request.seed)
  await folder.writeDescription({ ...machine, ...(before.seed === true && { seed: true }) })
}
