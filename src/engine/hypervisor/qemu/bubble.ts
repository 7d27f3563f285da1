/**
 * A bubble is a network that exists for a test failover only: a network namespace with one bridge, the taps of the machines
 * in it, and nothing else: no address of the host, no route, no neighbour. Machines keep their production addresses in it,
 * and any number of bubbles may hold the same ones. Needs root (ip-netns(8), CAP_NET_ADMIN).
 *
 * All calls are idempotent: a bubble is what the kernel says it is, and nothing is written down. It does not survive a
 * restart of the host, and neither do the machines in it. Probes run inside (`ip netns exec`), never from the host's own
 * network: there, a guest's production address would leave by the default route and reach production.
 */
import { checkCommand, runCommand } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { isObject, textOr } from '../qmp/shape.ts'
import type { ProcessUser } from './supervisor.ts'

export type Tap = Readonly<{ namespace: string; interface: string }>

const BRIDGE = 'bubble0'
const PREFIX = 'hf-'
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,40}$/
const INTERFACE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/
const IP_MS_MAX = 10_000

/** The namespace's name, as machine descriptions give it. @throws `machine_invalid`. */
export function namespaceOf(bubble: string): string {
  if (NAME.test(bubble)) return `${PREFIX}${bubble}`
  throw new HypervisorError('machine_invalid', `${JSON.stringify(bubble.slice(0, 80))} cannot name a bubble.`, {
    hint: 'Use 1 to 41 of the characters A-Z a-z 0-9 . _ - and begin with a letter or a digit.',
  })
}

async function ip(...args: readonly string[]): Promise<void> {
  await checkCommand('ip', args, { timeoutMs: IP_MS_MAX })
}

async function linksIn(namespace: string): Promise<Set<string> | undefined> {
  const { exitCode, stdout } = await runCommand('ip', ['-n', namespace, '-j', 'link', 'show'], { timeoutMs: IP_MS_MAX })
  if (exitCode !== 0) return undefined
  const links: unknown = JSON.parse(stdout.toString('utf8'))
  return new Set(Array.isArray(links) ? links.filter(isObject).map((link) => textOr(link['ifname'], '')) : [])
}

/** Makes the bubble unless it is there. */
export async function makeBubble(bubble: string): Promise<void> {
  const namespace = namespaceOf(bubble)
  if ((await linksIn(namespace)) === undefined) await ip('netns', 'add', namespace)
  if ((await linksIn(namespace))?.has(BRIDGE) !== true)
    await ip('-n', namespace, 'link', 'add', BRIDGE, 'type', 'bridge')
  await ip('-n', namespace, 'link', 'set', BRIDGE, 'up')
}

/**
 * A port of the bubble's bridge for one network card, for `MachineNetwork` of kind `tap`. `user` is who QEMU runs as when
 * that is not root; the tap then belongs to it.
 */
export async function addTap(bubble: string, name: string, user?: ProcessUser): Promise<Tap> {
  const namespace = namespaceOf(bubble)
  if (!INTERFACE.test(name))
    throw new HypervisorError('machine_invalid', `${JSON.stringify(name.slice(0, 80))} cannot name a tap.`)
  const owner = user === undefined ? [] : ['user', `${user.uid}`, 'group', `${user.gid}`]
  if ((await linksIn(namespace))?.has(name) !== true)
    await ip('-n', namespace, 'tuntap', 'add', 'dev', name, 'mode', 'tap', ...owner)
  await ip('-n', namespace, 'link', 'set', name, 'master', BRIDGE, 'up')
  return { namespace, interface: name }
}

/** Removes the bubble with all taps. Machines in it lose their network; end them first. */
export async function removeBubble(bubble: string): Promise<void> {
  const namespace = namespaceOf(bubble)
  if ((await linksIn(namespace)) !== undefined) await ip('netns', 'del', namespace)
}
