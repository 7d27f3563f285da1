/**
 * Steps of a restore to a new machine: its network cards and the machine itself, asked of the API in the caller's name.
 *
 *   dies                             what is left                    what goes on
 *   serve, after a card              the card                        the same PUT again, which changes nothing
 *   serve, while the machine is made its operation                   the same PUT gives that operation
 *   a PUT is refused                 the cards                       they are removed; the disks stay
 *
 * A machine that could not be made is no failure of the restore: the disks are kept, and the job says why by a warning.
 */
import { type AzureMachine, cardBody, cardCount, MACHINE_API_VERSION, machineBody, NETWORK_API_VERSION } from '#domain'
import { type Catalog, findResource } from '#catalog'
import type { ApiDesk, ApiOutcome, ApiResource } from '../../api-desk.ts'
import { disksOfMachine } from '../../compute/machine/machine-records.ts'
import type { JobContext } from '../../port.ts'
import type { RestoreOrder } from './order.ts'
import type { RestoredDisk } from './restored-disks.ts'

export type MachineFailure = Readonly<{ code: string; message: string }>

const LOOK_MS_FIRST = 300
const LOOK_MS_MAX = 5_000
const BUSY_MAX = 10
const REMOVALS_MAX = 60

type Asking = Readonly<{ desk: ApiDesk; order: RestoreOrder }>

/** PUTs the resource and follows it to its end. Undefined: it is there. */
async function make(
  job: JobContext,
  { desk, order: { caller } }: Asking,
  what: string,
  resource: ApiResource,
): Promise<MachineFailure | undefined> {
  let outcome: ApiOutcome = { kind: 'busy', error: { code: '', message: '' } }
  for (let n = 1; ; n += 1) {
    const url: string | undefined = outcome.kind === 'running' ? outcome.url : undefined
    outcome = await job.step(`${what} ${n}`, async ({ signal }): Promise<ApiOutcome> => {
      const host = await desk.host(signal)
      return url === undefined ? host.put(caller, resource, signal) : host.look(caller, url, signal)
    })
    if (outcome.kind === 'succeeded') return undefined
    if (outcome.kind === 'failed' || (outcome.kind === 'busy' && n > BUSY_MAX)) return outcome.error
    await job.sleep(`${what} ${n}: wait`, Math.min(LOOK_MS_FIRST * n, LOOK_MS_MAX))
  }
}

async function removeCards(job: JobContext, { desk, order: { caller } }: Asking, cards: readonly string[]) {
  for (const [at, id] of cards.entries())
    await job.step(`remove card ${at}`, async ({ signal }) => {
      // One that a machine has by now is refused, and stays.
      await (await desk.host(signal)).remove(caller, { id, apiVersion: NETWORK_API_VERSION }, signal)
    })
}

export type MakeMachineParts = Readonly<{ catalog: Catalog; desk: ApiDesk }>
export type NewMachineOrder = RestoreOrder & Readonly<{ machine: NonNullable<RestoreOrder['machine']> }>

/** Why the machine could not be made; undefined when it is there. */
export async function makeMachine(
  job: JobContext,
  parts: MakeMachineParts,
  order: NewMachineOrder,
  azure: AzureMachine,
  disks: readonly RestoredDisk[],
): Promise<MachineFailure | undefined> {
  const { machine, region } = order
  const asking = { desk: parts.desk, order }
  const name = machine.id.split('/').at(-1) ?? ''
  const base = machine.id.slice(0, machine.id.toLowerCase().indexOf('/providers/'))
  const cards: string[] = []
  for (let at = 0; at < cardCount(azure); at += 1) {
    const id = `${base}/providers/Microsoft.Network/networkInterfaces/${name}-nic-${job.jobId.slice(0, 8)}${at === 0 ? '' : `-${at}`}`
    const body = cardBody(azure, region, machine.subnet, at)
    const failure = await make(job, asking, `card ${at}`, { id, apiVersion: NETWORK_API_VERSION, body })
    if (failure !== undefined) {
      await removeCards(job, asking, cards)
      return failure
    }
    cards.push(id)
  }
  const body = machineBody(azure, { name, location: region, zones: machine.zones, disks, cards })
  const failure = await make(job, asking, 'machine', { id: machine.id, apiVersion: MACHINE_API_VERSION, body })
  if (failure === undefined) return undefined
  await removeMachine(job, parts, asking, disks)
  await removeCards(job, asking, cards)
  return failure
}

/** What a making that failed left of the machine: only if its disk is ours, for another may have its name by now. */
async function removeMachine(
  job: JobContext,
  { catalog }: MakeMachineParts,
  { desk, order }: Readonly<{ desk: ApiDesk; order: NewMachineOrder }>,
  disks: readonly RestoredDisk[],
): Promise<void> {
  for (let n = 1; n <= REMOVALS_MAX; n += 1) {
    const isGone = await job.step(`remove what there is of the machine ${n}`, async ({ signal }) => {
      const record = await findResource(catalog, order.machine.id)
      const [os] = record === undefined ? [] : disksOfMachine(record)
      if (os === undefined || !disks.some(({ id }) => id.toLowerCase() === os.id.toLowerCase())) return true
      const host = await desk.host(signal)
      await host.remove(order.caller, { id: order.machine.id, apiVersion: MACHINE_API_VERSION }, signal)
      return false
    })
    if (isGone) return
    await job.sleep(`wait for its removal ${n}`, Math.min(LOOK_MS_FIRST * n, LOOK_MS_MAX))
  }
}
