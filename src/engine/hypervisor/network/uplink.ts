/**
 * The way out and in: slirp4netns, a TCP/IP stack in a process that turns what comes out of the network into connections of
 * that process, and connections to ports of the host into packets. Without it the network is sealed. It runs in a sandbox of
 * its own making, with the network's users and without ours.
 *
 * A connection from loopback comes in as UPLINK.host, any other with its real address. A port of the host that somebody else
 * has is no failure of the network: it is reported, and another is chosen.
 */
import { closeSync, openSync } from 'node:fs'
import { chown, mkdir, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import type { Clock } from '#base'
import { isObject, textOr } from '../qmp/shape.ts'
import { inUsers, type Namespace, possibleUids } from './namespace.ts'
import { type NetworkPlan, type PlannedForward, UPLINK } from './network-plan.ts'
import { endProcess, findNetworkProcesses, networkFailed, startUntilReady } from './network-process.ts'

const PART = 'uplink '
const ANSWER_MS_MAX = 5_000
const ANSWER_BYTES_MAX = 1024 * 1024
const MTU = 1500

type Forwarded = PlannedForward & Readonly<{ id: number }>

function uplinkProcesses(namespace: Namespace, network: string) {
  return findNetworkProcesses(possibleUids(namespace.users)).filter(
    (one) => one.network === network && one.part.startsWith(PART),
  )
}

/** One as the plan says, or none. Gives the forwards whose port of the host is taken. */
export async function keepUplink(
  namespace: Namespace,
  plan: NetworkPlan,
  folder: string,
  clock: Clock,
): Promise<readonly PlannedForward[]> {
  const part = `${PART}${plan.uplink?.hostLoopback === true ? 'loopback' : 'plain'}`
  const running = uplinkProcesses(namespace, plan.id)
  const fitting = plan.uplink === undefined ? undefined : running.find((one) => one.part === part)
  for (const one of running) if (one !== fitting) await endProcess(one, clock)
  if (plan.uplink === undefined) return []
  if (fitting === undefined) await startUplink(namespace, plan, part, folder)
  return keepForwards(folder, plan)
}

async function startUplink(namespace: Namespace, plan: NetworkPlan, part: string, folder: string): Promise<void> {
  await rm(join(folder, 'api'), { force: true })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const { tools } = namespace.users
  if (tools !== undefined) await chown(folder, tools.uid, tools.gid)
  const words = [
    ...inUsers(namespace),
    'slirp4netns',
    '--netns-type=path',
    '--configure',
    `--mtu=${MTU}`,
    `--cidr=${UPLINK.cidr}`,
    ...(plan.uplink?.hostLoopback === true ? [] : ['--disable-host-loopback']),
    '--enable-sandbox',
    '--enable-seccomp',
    '--api-socket=api',
    '--ready-fd=3',
    `/proc/${namespace.pid}/ns/net`,
    UPLINK.interface,
  ]
  // Its socket is named relative to its folder: the path of a home may be too long for one.
  await startUntilReady({ network: plan.id, part, words, cwd: folder, logPath: join(folder, '..', 'uplink.log') })
}

async function keepForwards(folder: string, plan: NetworkPlan): Promise<PlannedForward[]> {
  const present = readForwards(await ask(folder, { execute: 'list_hostfwd' }))
  const isSame = (a: PlannedForward, b: PlannedForward): boolean =>
    a.protocol === b.protocol && a.hostAddress === b.hostAddress && a.hostPort === b.hostPort
  for (const one of present)
    if (!plan.forwards.some((wanted) => isSame(wanted, one)))
      await ask(folder, { execute: 'remove_hostfwd', arguments: { id: one.id } })
  const busy: PlannedForward[] = []
  for (const wanted of plan.forwards) {
    if (present.some((one) => isSame(wanted, one))) continue
    const answer = await ask(folder, { execute: 'add_hostfwd', arguments: forwardArguments(wanted) })
    if (isObject(answer['error'])) busy.push(wanted)
  }
  return busy
}

/** Where it goes inside is the ruleset's business, which knows it by its port. */
function forwardArguments({ protocol, hostAddress, hostPort }: PlannedForward): Record<string, unknown> {
  return {
    proto: protocol,
    host_addr: hostAddress,
    host_port: hostPort,
    guest_addr: UPLINK.own,
    guest_port: hostPort,
  }
}

function readForwards(answer: Record<string, unknown>): Forwarded[] {
  const inside = isObject(answer['return']) ? answer['return'] : answer
  const entries = Array.isArray(inside['entries']) ? inside['entries'].filter(isObject) : []
  return entries.map((entry) => ({
    id: Number(entry['id']),
    protocol: entry['proto'] === 'udp' ? 'udp' : 'tcp',
    hostAddress: textOr(entry['host_addr'], ''),
    hostPort: Number(entry['host_port']),
  }))
}

/** One question on its socket: JSON, then the end; it answers and closes. @throws HypervisorError `network_failed` */
async function ask(folder: string, question: Record<string, unknown>): Promise<Record<string, unknown>> {
  const handle = openSync(folder, 'r')
  try {
    const said = await exchange(`/proc/self/fd/${handle}/api`, JSON.stringify(question))
    const answer: unknown = JSON.parse(said)
    if (isObject(answer)) return answer
    throw new Error(`it said ${said.slice(0, 200)}`)
  } catch (cause) {
    throw networkFailed(['slirp4netns', String(question['execute'])], String(cause), cause)
  } finally {
    closeSync(handle)
  }
}

function exchange(path: string, question: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = ''
    const socket = createConnection({ path, allowHalfOpen: true })
    socket.setEncoding('utf8')
    socket.setTimeout(ANSWER_MS_MAX, () => socket.destroy(new Error('it did not answer')))
    socket.on('connect', () => socket.end(question))
    socket.on('data', (text: string) => {
      said += text
      if (said.length > ANSWER_BYTES_MAX) socket.destroy(new Error('it said too much'))
    })
    socket.on('error', reject)
    socket.on('end', () => resolve(said))
  })
}
