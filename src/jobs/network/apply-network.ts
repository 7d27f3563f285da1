/**
 * Making networks true on the host: the task that a worker does, the steps by which jobs ask for it, and the job that does
 * nothing else, for changes of records whose network is up.
 *
 *   dies                            what goes on
 *   serve, before the step          the job; the plan is made from the records as they are then
 *   the worker, anywhere in it      the task begins again, with a newer plan; `check` of the next worker makes what is kept
 *   the host                        the next worker makes again what is kept, before machines are started into it
 */
import { type Catalog, type ChangeSource, findResource, updateResource } from '#catalog'
import type { MachineNetwork, NetworkHost, NetworkOutcome } from '#engine/hypervisor'
import { WORKER_RETRY } from '../compute/create-disk.ts'
import { JobsError } from '../errors.ts'
import type { JobContext, JobDefinition } from '../port.ts'
import { recordOf } from '../repository-access.ts'
import type { TaskHandler, TaskRunner } from '../tasks.ts'
import { type Card, findCard, networkBacking, networkOfSubnet } from './network-records.ts'
import { networkOf, planNetwork, rememberBusy } from './plan-network.ts'

export const APPLY_NETWORK_TASK = 'apply-network'
export const APPLY_NETWORKS_JOB = 'apply-networks'

/** How often ports of the host are chosen anew when another program has them. */
const CHOICES_MAX = 5
const HOST_NAME_CHARS_MAX = 63

type CardPlug = Readonly<{ isPlugged: boolean; hostName: string | undefined; host: string | undefined }>

export type NetworkParts = Readonly<{ catalog: Catalog; tasks: TaskRunner; source: ChangeSource }>

/** {a NetworkPlan} → NetworkOutcome. */
export function applyNetworkTask(host: NetworkHost): TaskHandler {
  return (plan) => host.apply(plan)
}

export type NetworkPlace = Readonly<{
  network: string
  /** `region/name`; null: the server's own. */
  host: string | null
}>

/**
 * Steps of a job: the network is as its records say afterwards.
 * @param name tells the steps of one job apart
 * @param place id of the virtual network, and the host; nothing is done when there is no such network
 * @throws JobsError `network_ports_exhausted`; what the worker's making throws
 */
export async function applyNetwork(
  job: JobContext,
  parts: NetworkParts,
  name: string,
  place: NetworkPlace,
): Promise<void> {
  const { catalog, tasks, source } = parts
  for (let choice = 1; choice <= CHOICES_MAX; choice += 1) {
    const busy = await job.step(
      `${name} ${choice}`,
      async (step) => {
        const host = place.host ?? undefined
        const plan = await catalog.write((trx) => planNetwork(trx, source, place.network, host))
        if (plan === undefined) return []
        const outcome = (await tasks.run(step, APPLY_NETWORK_TASK, plan, host)) as NetworkOutcome
        return outcome.busy.map(({ hostPort }) => hostPort)
      },
      { retry: WORKER_RETRY },
    )
    if (busy.length === 0) return
    await job.step(`${name} ${choice}: other ports`, () => catalog.write((trx) => rememberBusy(trx, busy)))
  }
}

/** A machine's name as a name in its network: letters, digits and hyphens. Undefined when nothing is left of it. */
export function hostNameOf(machine: string): string | undefined {
  const name = machine
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .slice(0, HOST_NAME_CHARS_MAX)
    .replaceAll(/^-+|-+$/g, '')
  return name === '' ? undefined : name
}

/** Changes the cards' records as told, undefined: not at all, and gives where networks have to be made anew by it. */
async function setPlugged(
  parts: NetworkParts,
  cards: readonly string[],
  change: (card: Card) => CardPlug | undefined,
): Promise<NetworkPlace[]> {
  const { catalog, source } = parts
  return catalog.write(async (trx) => {
    const places = new Map<string, NetworkPlace>()
    for (const id of cards) {
      const record = await findResource(trx, id)
      const card = await findCard(trx, id)
      if (record === undefined || card === undefined) continue
      const plug = change(card)
      if (plug === undefined) continue
      const place = { network: networkOfSubnet(card.subnet), host: plug.host ?? null }
      places.set(JSON.stringify(place), place)
      await updateResource(trx, id, { backing: { ...record.backing, ...plug } }, source)
    }
    return [...places.values()]
  })
}

/**
 * Steps of a job, before it starts a machine: the segments of its cards are there, with DHCP for them, rules and ports.
 * Idempotent. Gives the cards as the machine's description takes them, in order. Unplug a card before it goes to another host.
 * @param cards ids of its cards
 * @param machine its name; its neighbours find it by that
 * @param host where it is to run, `region/name`; default: the server's own. Machines on different hosts do not reach each other
 * @throws JobsError `card_not_there`; as {@link applyNetwork}
 */
export async function plugCards(
  job: JobContext,
  parts: NetworkParts,
  { name, cards, machine, host }: Readonly<{ name: string; cards: readonly string[]; machine: string; host?: string }>,
): Promise<MachineNetwork[]> {
  const hostName = hostNameOf(machine)
  const plug = { isPlugged: true, hostName, host }
  const places = await job.step(`${name}: plug`, () => setPlugged(parts, cards, () => plug))
  for (const [index, place] of places.entries()) await applyNetwork(job, parts, `${name}: network ${index}`, place)
  return job.step(`${name}: cards`, () => cardsOf(parts, cards))
}

/**
 * Steps of a job, when its machine has ended and is not to run again by itself. Idempotent; cards that are gone pass, and so do those
 * of a machine that never ran: no network was made for them.
 */
export async function unplugCards(
  job: JobContext,
  parts: NetworkParts,
  { name, cards }: Readonly<{ name: string; cards: readonly string[] }>,
): Promise<void> {
  const unplug = ({ isPlugged, hostName, host }: Card): CardPlug | undefined =>
    isPlugged || hostName !== undefined ? { isPlugged: false, hostName, host } : undefined
  const places = await job.step(`${name}: unplug`, () => setPlugged(parts, cards, unplug))
  for (const [index, place] of places.entries()) await applyNetwork(job, parts, `${name}: network ${index}`, place)
}

/** Cards as a machine's description takes them, in order. @throws JobsError `card_not_there` */
async function cardsOf({ catalog }: NetworkParts, ids: readonly string[]): Promise<MachineNetwork[]> {
  const networks: MachineNetwork[] = []
  for (const id of ids) {
    const card = await findCard(catalog, id)
    const network = card === undefined ? undefined : await findResource(catalog, networkOfSubnet(card.subnet))
    if (card === undefined || network === undefined)
      throw new JobsError('card_not_there', `There is no network card ${id}.`, { facts: { id } })
    networks.push(networkOf(card, networkBacking(network).network))
  }
  return networks
}

export type ApplyNetworksInput = Readonly<{
  /** The resource whose change it is: its state says when it is done. */
  id: string
  /** The networks that are to be made anew. */
  places: readonly NetworkPlace[]
}>

/** For a change of records: they are announced, in state Updating; what was announced stays when the host cannot be made so. */
export function applyNetworksJob(parts: NetworkParts): JobDefinition<ApplyNetworksInput, null> {
  const { catalog, source } = parts
  const settle = (id: string, state: string): Promise<unknown> =>
    catalog.write((trx) => updateResource(trx, id, { state }, source))
  return {
    name: APPLY_NETWORKS_JOB,
    version: 1,
    parse: (given) => {
      const { id, places } = recordOf(given, 'fields')
      if (typeof id === 'string' && Array.isArray(places)) return given as ApplyNetworksInput
      throw new JobsError('job_input_invalid', 'The job’s input has no valid id or places.')
    },
    run: async (job, { id, places }) => {
      job.cleanup('say that it failed', async () => void (await settle(id, 'Failed')))
      for (const [index, place] of places.entries()) await applyNetwork(job, parts, `network ${index}`, place)
      await job.step('record', async () => void (await settle(id, 'Succeeded')))
      return null
    },
  }
}
