/**
 * The two namespaces of a virtual network: one of users, in which its tools are root and nobody outside, and one of networks,
 * in which nothing is but what we put there. No privilege is needed for them. They live as long as a process does that is
 * in them; that is the `holder`, which sleeps.
 *
 *   dies                              what is left
 *   the worker, before the maps       a holder that is not ready: the next one ends it and begins again
 *   the worker, after them            the holder, found by its mark
 *   the holder alone                  the namespaces, by the network's other processes and its machines: a new holder enters
 *   all of them                       nothing; the network is made anew
 *
 * Root runs the tools as another user (`toolUser`), so that whoever breaks out of one of them, which speak with guests, is
 * nobody here either. Inside, 0 is that user; 1 is who QEMU runs as where that is yet another (root itself).
 */
import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { type Clock, errnoOf, type HoldfastError, isHoldfastError } from '#base'
import { checkCommand, type CommandResult, runCommand } from '#runtime'
import { HypervisorError } from '../errors.ts'
import type { ProcessUser } from '../qemu/supervisor.ts'
import {
  endProcess,
  findNetworkProcesses,
  type NetworkProcess,
  networkFailed,
  startUntilReady,
  TOOL_PATH,
} from './network-process.ts'

/** Whom a network's tools and machines run as; undefined: as we do. */
export type NetworkUsers = Readonly<{ tools: ProcessUser | undefined; machines: ProcessUser | undefined }>

export type Namespace = Readonly<{ network: string; pid: number; users: NetworkUsers }>

export const HOLDER = 'holder'
/** After nobody by convention of Debian; only where there is no user of our own. */
const NOBODY: ProcessUser = { uid: 65_534, gid: 65_534 }
const TOOL_MS_MAX = 20_000

/** @param found the user that root runs QEMU as, if there is one */
export function networkUsers(found: ProcessUser | undefined): NetworkUsers {
  if (process.getuid?.() !== 0) return { tools: undefined, machines: undefined }
  return { tools: found ?? NOBODY, machines: found }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** The words before a program that is to run as the tools' user, outside. */
export function asToolUser({ tools }: NetworkUsers, groups: readonly number[] = []): string[] {
  if (tools === undefined) return []
  const given = groups.length === 0 ? '--clear-groups' : `--groups=${groups.join(',')}`
  return ['setpriv', `--reuid=${tools.uid}`, `--regid=${tools.gid}`, given, '--']
}

function enterWords(pid: number, kinds: readonly string[]): string[] {
  return ['nsenter', `--target=${pid}`, '--user', '--preserve-credentials', ...kinds, '--']
}

/** The words before a tool that works in the network. */
export function inNetwork({ pid, users }: Namespace): string[] {
  return [...asToolUser(users), ...enterWords(pid, ['--net'])]
}

/** The words before a tool that has the network's users and the host's network. */
export function inUsers({ pid, users }: Namespace): string[] {
  return [...asToolUser(users), ...enterWords(pid, [])]
}

/**
 * The words before QEMU: it keeps its user and loses every capability, also inside. Its taps are made for it beforehand.
 * @param groups of the host, such as that of /dev/kvm
 */
export function machineWords({ pid, users }: Namespace, groups: readonly number[] = []): string[] {
  const drop = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs', '--']
  // As 1 of the namespace it has none from the moment that it begins.
  if (isRoot() && users.machines === undefined)
    return [...enterWords(pid, ['--net']), 'setpriv', '--no-new-privs', '--']
  return [...asToolUser(users, groups), ...enterWords(pid, ['--net']), ...drop]
}

/** Who QEMU is in the namespace: the owner of its taps. */
export function machineUid({ users }: Namespace): number {
  return isRoot() && users.machines === undefined ? 1 : 0
}

/** The users whose processes may be a network's. */
export function possibleUids({ tools, machines }: NetworkUsers): number[] {
  return [process.getuid?.() ?? 0, ...[tools, machines].flatMap((user) => (user === undefined ? [] : [user.uid]))]
}

/** Runs a tool inside. @throws HypervisorError `network_failed` with its own words */
export async function runInside(
  namespace: Namespace,
  words: readonly string[],
  input?: string,
): Promise<CommandResult> {
  const [program = '', ...args] = [...inNetwork(namespace), ...words]
  const options = { timeoutMs: TOOL_MS_MAX, env: { PATH: TOOL_PATH }, ...(input !== undefined && { input }) }
  try {
    return await checkCommand(program, args, options)
  } catch (error) {
    if (!isHoldfastError(error, 'command_failed', 'command_timed_out')) throw error
    throw networkFailed(words, String(error.facts['stderr'] ?? error.message), error)
  }
}

function namespaceLink(pid: number, kind: 'net' | 'user'): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/${kind}`)
  } catch (error) {
    if (['ENOENT', 'EACCES', 'EPERM', 'ESRCH'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
}

function isInside(pid: number): boolean {
  const inside = namespaceLink(pid, 'net')
  return inside !== undefined && inside !== namespaceLink(process.pid, 'net')
}

/** The network's namespaces, if anything lives in them. A process whose start was cut short is in none. */
export function findNamespace(
  network: string,
  users: NetworkUsers,
  processes: readonly NetworkProcess[] = findNetworkProcesses(possibleUids(users)),
): Namespace | undefined {
  const mine = processes.filter((one) => one.network === network && isInside(one.pid) && hasMaps(one.pid))
  const one = mine.find(({ part }) => part === HOLDER) ?? mine[0]
  return one === undefined ? undefined : { network, pid: one.pid, users }
}

function hasMaps(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/uid_map`, 'latin1').trim() !== ''
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return false
    throw error
  }
}

/** Says who is who inside: once, gid before uid, for it is by its uid map that a namespace is known to be ready. */
function writeMaps(pid: number, { tools, machines }: NetworkUsers): void {
  const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  const { uid, gid } = tools ?? own
  const alsoRoot = tools !== undefined && machines === undefined ? '1 0 1\n' : ''
  // Without privilege, groups may be mapped only by who gives up to change them (user_namespaces(7)).
  if (tools === undefined) writeFileSync(`/proc/${pid}/setgroups`, 'deny')
  writeFileSync(`/proc/${pid}/gid_map`, `0 ${gid} 1\n${alsoRoot}`)
  writeFileSync(`/proc/${pid}/uid_map`, `0 ${uid} 1\n${alsoRoot}`)
}

const HOLD = 'echo ready >&3; exec 3>&-; exec sleep infinity'

/**
 * Makes the namespaces, or finds them; there is one holder afterwards. The caller has the network to itself, so a holder
 * that is not ready was begun by one who died, and is ended.
 * @throws HypervisorError `network_unavailable` when this host allows none
 */
export async function ensureNamespace(
  network: string,
  users: NetworkUsers,
  { logPath, clock }: Readonly<{ logPath: string; clock: Clock }>,
): Promise<Namespace> {
  const processes = findNetworkProcesses(possibleUids(users)).filter((one) => one.network === network)
  const isReady = ({ pid }: NetworkProcess): boolean => isInside(pid) && hasMaps(pid)
  const holders = processes.filter(({ part }) => part === HOLDER)
  for (const one of holders) if (!isReady(one)) await endProcess(one, clock)
  const holder = holders.find(isReady)
  if (holder !== undefined) return { network, pid: holder.pid, users }
  const found = findNamespace(network, users, processes)
  const start = (words: readonly string[]): Promise<number> =>
    startUntilReady({ network, part: HOLDER, words: [...words, 'sh', '-c', HOLD], cwd: '/', logPath })
  if (found !== undefined) return { ...found, pid: await start(inNetwork(found)) }
  return { network, pid: await startHolder(start, users), users }
}

async function startHolder(start: (words: readonly string[]) => Promise<number>, users: NetworkUsers): Promise<number> {
  try {
    const pid = await start([...asToolUser(users), 'unshare', '--user', '--net', '--'])
    writeMaps(pid, users)
    return pid
  } catch (error) {
    if (!isHoldfastError(error, 'network_failed')) throw error
    throw unavailable(error)
  }
}

function unavailable(cause: HoldfastError): HypervisorError {
  const said = String(cause.facts['said'] ?? '')
  return new HypervisorError('network_unavailable', `This host allows no namespaces for virtual networks: ${said}.`, {
    facts: { said },
    cause,
    hint: remedy(),
  })
}

/** What an administrator can do about it; each host forbids it by another switch. */
function remedy(): string {
  const max = existsSync('/proc/sys/user/max_user_namespaces')
    ? readFileSync('/proc/sys/user/max_user_namespaces', 'utf8').trim()
    : ''
  if (max === '0') return 'Set the sysctl user.max_user_namespaces to 1000 or more.'
  if (existsSync('/proc/sys/kernel/apparmor_restrict_unprivileged_userns'))
    return 'Set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or run Holdfast as root.'
  return 'Set the sysctl kernel.unprivileged_userns_clone to 1 where there is one, or run Holdfast as root.'
}

/** What keeps this host from having namespaces, tried with one that is gone again at once; undefined when nothing does. */
export async function whyNoNetworks(
  users: NetworkUsers,
): Promise<Readonly<{ said: string; remedy: string }> | undefined> {
  const [program, ...args] = [...asToolUser(users), 'unshare', '--user', '--net', '--', 'true']
  const { exitCode, stderr } = await runCommand(program, args, { timeoutMs: TOOL_MS_MAX })
  return exitCode === 0 ? undefined : { said: stderr.trim(), remedy: remedy() }
}
