/**
 * As whom QEMU runs. Started by root, Holdfast looks for the system user `holdfast-qemu` and gives it the machine's images,
 * UEFI variables and sockets; QEMU then has no privilege to lose. Without that user, or when Holdfast itself is not root,
 * QEMU runs as Holdfast does, and a note on the machine says so when that is root.
 *
 * The user must be able to reach the images (passage.ts). Backing images need the read bit.
 */
import { chown, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '#base'
import type { MachineDescription, MachineDisk } from '../machine.ts'
import { inspectImage } from './image.ts'
import type { MachinePaths } from './machine-paths.ts'
import { openPassage } from './passage.ts'
import type { ProcessUser } from './supervisor.ts'

export const PROCESS_USER_NAME = 'holdfast-qemu'
export const ROOT_NOTE = `QEMU runs as root: create the system user ${PROCESS_USER_NAME} to confine it.`

/** The entry of a name in passwd(5). */
export function userInPasswd(passwd: string, name: string): ProcessUser | undefined {
  for (const line of passwd.split('\n')) {
    const [user, , uid, gid] = line.split(':')
    if (user === name && /^\d+$/.test(uid ?? '') && /^\d+$/.test(gid ?? ''))
      return { uid: Number(uid), gid: Number(gid) }
  }
  return undefined
}

/** The user for QEMU, or undefined when it runs as we do. */
export async function findProcessUser(): Promise<ProcessUser | undefined> {
  if (process.getuid?.() !== 0) return undefined
  return userInPasswd(await readFile('/etc/passwd', 'utf8'), PROCESS_USER_NAME)
}

/** The group that may open the device, so that the process user keeps hardware acceleration. */
export async function groupOfDevice(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).gid
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** As whom a running process acts (proc(5): the effective ids in /proc/<pid>/status). */
export function effectiveUser(status: string): ProcessUser | undefined {
  const uid = /^Uid:\t\d+\t(\d+)/m.exec(status)?.[1]
  const gid = /^Gid:\t\d+\t(\d+)/m.exec(status)?.[1]
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) }
}

/** Hands a new image to the QEMU that is to open it, when that is another user than we are. @throws `machine_path_closed` */
export async function giveImageTo(pid: number, path: string, own: string | undefined): Promise<void> {
  const user = effectiveUser(await readFile(`/proc/${pid}/status`, 'utf8'))
  if (user === undefined || user.uid === process.getuid?.()) return
  await openPassage({ user, own }, [path])
  await chown(path, user.uid, user.gid)
}

/**
 * Who made the socket, when that is another user than root and we are root: QEMU, which is to write what we make for it. As whom a
 * machine runs that others started is known by nothing else.
 */
export async function ownerOfSocket(path: string): Promise<ProcessUser | undefined> {
  if (process.getuid?.() !== 0) return undefined
  try {
    const { uid, gid } = await stat(path)
    return uid === 0 ? undefined : { uid, gid }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined // whoever connects says it better
    throw error
  }
}

/** The file that the image rests on; what is served to it needs no way. */
async function backingOf({ path, format }: MachineDisk): Promise<string[]> {
  const { backing } = await inspectImage(path, format)
  return backing?.startsWith('/') === true ? [backing] : []
}

/**
 * Hands over what QEMU must write: its runtime folder, the links, the images and the variables.
 * @param own see Passage @throws HypervisorError `machine_path_closed`
 */
export async function giveTo(
  user: ProcessUser,
  machine: MachineDescription,
  paths: MachinePaths,
  own: string | undefined,
): Promise<void> {
  const files = [
    ...machine.disks.map((disk) => disk.path),
    ...(machine.firmware === 'uefi' ? [paths.uefiVars] : []),
    ...(machine.seed === true ? [paths.seed] : []),
  ]
  for (const path of [paths.runtime, paths.links, ...files]) await chown(path, user.uid, user.gid)
  // Two of its own names lie in the runtime folder and in that of the links; images may rest on others.
  const backing = (await Promise.all(machine.disks.map(backingOf))).flat()
  await openPassage({ user, own }, [...files, ...backing, paths.controlSocket, join(paths.links, 'a')])
}
