/**
 * The way of a confined QEMU to its files. Root makes folders that are root's alone, and QEMU runs as a user that may not enter them:
 * every folder down to a file needs its x bit for that user.
 *
 * Folders of Holdfast's own are opened as little as that takes: they get the user's group, which may pass and not look (0710).
 * Whoever else was kept out stays so. Folders that are not ours are left as they are; one error names the first that is closed,
 * and what opens it. Mode bits are asked first; what they refuse an access list may allow, so a process of that user is asked then.
 *
 * A crash leaves some folders open and some not; the next start goes on.
 */
import { chmod, chown, realpath, stat } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { runCommand } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { type ProcessUser, setUserWords } from './supervisor.ts'

export type Passage = Readonly<{
  user: ProcessUser
  /** Folders at and below it are Holdfast's own; undefined: none is. */
  own: string | undefined
}>

type Folder = Readonly<{ path: string; uid: number; gid: number; mode: number }>

/** Whether the mode bits let the user pass. Of owner, group and others only the first that fits counts (path_resolution(7)). */
export function maySearch({ uid, gid, mode }: Omit<Folder, 'path'>, user: ProcessUser): boolean {
  if (uid === user.uid) return (mode & 0o100) !== 0
  const isInGroup = gid === user.gid || user.groups?.includes(gid) === true
  return (mode & (isInGroup ? 0o010 : 0o001)) !== 0
}

/** `/`, `/a`, `/a/b` for `/a/b`. */
function downTo(folder: string): string[] {
  const names = folder.split(sep).filter((name) => name !== '')
  return names.reduce<string[]>((paths, name) => [...paths, join(paths.at(-1) ?? sep, name)], [sep])
}

function isWithin(own: string, folder: string): boolean {
  const way = relative(own, folder)
  return way !== '..' && !way.startsWith(`..${sep}`)
}

async function lookAt(path: string): Promise<Folder> {
  const { uid, gid, mode } = await stat(path)
  return { path, uid, gid, mode }
}

/** Asks a process of that user, which knows of access lists too. */
async function passes(path: string, user: ProcessUser): Promise<boolean> {
  const [program, ...args] = [...setUserWords(user), 'test', '-x', path]
  return (await runCommand(program, args)).exitCode === 0
}

function closed(path: string, file: string): HypervisorError {
  return new HypervisorError('machine_path_closed', `QEMU’s user cannot pass through the folder ${path}.`, {
    facts: { folder: path, file },
    hint:
      `Open it for passing, not for looking: chmod o+x ${path}, or setfacl -m u:holdfast-qemu:x ${path}. Or keep the home and the pools ` +
      'where all may pass, such as /var/lib/holdfast; or run the server as a user of its own.',
  })
}

async function open({ path, uid, gid, mode }: Folder, user: ProcessUser): Promise<boolean> {
  // A group that somebody chose keeps its folder.
  if (uid !== process.getuid?.() || (gid !== process.getgid?.() && gid !== user.gid)) return false
  if (gid !== user.gid) {
    await chmod(path, mode & 0o7707) // what the old group was allowed is not the new one's
    await chown(path, uid, user.gid)
  }
  await chmod(path, (mode & 0o7707) | 0o010)
  return true
}

/** The first folder above this one that the user cannot pass. */
export async function closedAbove(folder: string, user: ProcessUser): Promise<string | undefined> {
  for (const path of downTo(dirname(await realpath(folder))))
    if (!maySearch(await lookAt(path), user) && !(await passes(path, user))) return path
  return undefined
}

/** Opens what is ours of the folders down to the files. @throws HypervisorError `machine_path_closed` */
export async function openPassage({ user, own }: Passage, files: readonly string[]): Promise<void> {
  const ours = own === undefined ? undefined : await realpath(own)
  const seen = new Set<string>()
  for (const file of files) {
    for (const path of downTo(await realpath(dirname(file)))) {
      if (seen.has(path)) continue
      seen.add(path)
      const folder = await lookAt(path)
      if (maySearch(folder, user)) continue
      if (ours !== undefined && isWithin(ours, path) && (await open(folder, user))) continue
      if (!(await passes(path, user))) throw closed(path, file)
    }
  }
}
