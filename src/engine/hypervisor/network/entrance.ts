/** How a machine's QEMU gets into its virtual network. */
import { findProcessUser } from '../qemu/process-user.ts'
import type { ProcessUser } from '../qemu/supervisor.ts'
import { findNamespace, inNetwork, machineWords, networkUsers } from './namespace.ts'
import { markWords } from './network-process.ts'

/**
 * The words before QEMU: marked, so that its namespaces are found by it should all else die; undefined when the network is
 * not there.
 * @param user whom root runs QEMU as
 */
export function networkEntrance(network: string, user: ProcessUser | undefined): readonly string[] | undefined {
  const namespace = findNamespace(network, networkUsers(user))
  if (namespace === undefined) return undefined
  return [...markWords(network, 'machine'), ...machineWords(namespace, user?.groups)]
}

/**
 * The words before a tool that looks at a network from inside, as its root: the one place from which the addresses of its
 * machines may be asked. From the host's own network they would leave by the default route.
 */
export async function insideNetwork(network: string): Promise<readonly string[] | undefined> {
  const namespace = findNamespace(network, networkUsers(await findProcessUser()))
  return namespace === undefined ? undefined : inNetwork(namespace)
}
