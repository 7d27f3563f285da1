/**
 * The network cards of a QEMU that Holdfast did not start, as far as its monitor tells: MAC and model of every card, from
 * the object tree, and in words what it is attached to, from HMP's "info network" (QMP has no query-netdev before 9, and
 * there it tells less). What the host's side of a tap is connected to is not QEMU's to know.
 *
 * Every card is described as one on a restricted user network, so that a copy of the machine never turns up in the
 * original's network by itself; what the original was attached to stands beside it for people.
 */
import type { CardModel, MachineNetwork } from '../machine.ts'
import type { QmpClient } from '../qmp/client.ts'
import { textOr } from '../qmp/shape.ts'
import { NETWORKS_MAX } from './device-address.ts'
import { readText } from './object-tree.ts'

const MODELS: readonly (readonly [RegExp, CardModel])[] = [
  [/^virtio-net-pci/, 'virtio-net-pci'],
  [/^e1000e$/, 'e1000e'],
  [/^e1000/, 'e1000'],
  [/^rtl8139$/, 'rtl8139'],
  [/^vmxnet3$/, 'vmxnet3'],
]
const ATTACHED_CHARS_MAX = 120

/** By the id of a netdev, what "info network" says of it: " \ net0: index=0,type=tap,ifname=tap0,script=no". Pure. */
export function parseInfoNetwork(text: string): ReadonlyMap<string, string> {
  const backends = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, id, rest] = /^\s*\\?\s*([^:\s]+): index=\d+,(type=.+?)\s*$/.exec(line) ?? []
    if (id !== undefined && rest !== undefined && !rest.startsWith('type=nic')) backends.set(id, rest)
  }
  return backends
}

/** @param devices paths of all devices in the object tree */
export async function describeNetworks(
  qmp: QmpClient,
  devices: readonly string[],
): Promise<Readonly<{ networks: readonly MachineNetwork[]; notes: readonly string[] }>> {
  const networks: MachineNetwork[] = []
  const notes: string[] = []
  let backends: ReadonlyMap<string, string> | undefined
  for (const path of devices) {
    const mac = (await readText(qmp, path, 'mac')).toLowerCase()
    if (mac === '') continue
    const type = await readText(qmp, path, 'type')
    const model = MODELS.find(([pattern]) => pattern.test(type))?.[1]
    if (model === undefined)
      notes.push(`The network card ${mac} is of the type ${type}; it is described as virtio-net-pci.`)
    backends ??= parseInfoNetwork(
      textOr(await qmp.execute('human-monitor-command', { 'command-line': 'info network' }), ''),
    )
    const netdev = await readText(qmp, path, 'netdev')
    // A hub's ports are not told of; then at least its name.
    const attachedTo = netdev === '' ? 'nothing' : (backends.get(netdev) ?? `netdev ${netdev}`)
    networks.push({
      kind: 'user',
      mac,
      restricted: true,
      forwards: [],
      ...(model === undefined || model === 'virtio-net-pci' ? {} : { model }),
      ...(attachedTo.startsWith('type=user') ? {} : { attachedTo: attachedTo.slice(0, ATTACHED_CHARS_MAX) }),
    })
  }
  if (networks.length > 0)
    notes.push('Networks are described as restricted ones, whatever the machine was attached to.')
  if (networks.length > NETWORKS_MAX) notes.push(`Only the first ${NETWORKS_MAX} networks are described.`)
  return { networks: networks.slice(0, NETWORKS_MAX), notes }
}
