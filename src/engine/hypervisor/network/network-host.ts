/**
 * The virtual networks of this host: each is made as its plan says, and kept so.
 *
 * Promises
 *   1. What is there is what the newest plan says; an older plan that comes late changes nothing.
 *   2. Networks outlive us, and so do the machines in them. What dies of one, or is killed, is made again: `check` looks.
 *   3. After a restart of the host, `check` makes again whatever has ports in its plan.
 *   4. A plan without ports leaves nothing: no process, no interface, no port of the host.
 *
 *   <folder>/<network>/   plan.json  uplink.log  holder.log  uplink/api
 *
 * Making is convergence: the kernel and the process table are looked at, and only what differs is changed. So it may be
 * begun again after any crash, and one at a time is seen to by the same lock that machines have.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { type Clock, errnoOf, messageOf } from '#base'
import { type HostProcess, isAlive, makeFolderDurable, replaceFile } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { withMachineLock } from '../qemu/machine-lock.ts'
import { findProcessUser } from '../qemu/process-user.ts'
import { keepDhcp } from './dhcp.ts'
import { ensureNamespace, type NetworkUsers, networkUsers, possibleUids } from './namespace.ts'
import { isNetworkId, type NetworkPlan, type PlannedForward, readNetworkPlan } from './network-plan.ts'
import { endProcess, findNetworkProcesses, type NetworkProcess } from './network-process.ts'
import { applyRules, makePorts, makeSegments } from './segments.ts'
import { keepUplink } from './uplink.ts'

export type NetworkHostOptions = Readonly<{
  /** Where plans are kept: absolute. */
  folder: string
  clock: Clock
  /** Is told of what could not be made again. */
  warn: (facts: Record<string, unknown>, message: string) => void
}>

export type NetworkOutcome = Readonly<{
  /** Forwards whose port of the host another program has. */
  busy: readonly PlannedForward[]
  /** A newer plan holds; this one changed nothing. */
  isOld: boolean
}>

/** What was there after the last making. */
type Made = Readonly<{ processes: readonly HostProcess[]; hostAddresses: string }>

const LOCK_WAIT_MS = 60_000
const RETRY_MS = 5_000
/** A plan without ports is remembered for so long, against older ones that come late. */
const EMPTY_KEPT_MS = 24 * 3600 * 1000

/** Addresses of this host that a machine could reach through the uplink. */
function hostAddressesNow(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return [...new Set(all.filter(({ family }) => family === 'IPv4').map(({ address }) => address))].sort()
}

export class NetworkHost {
  readonly #options: NetworkHostOptions
  readonly #made = new Map<string, Made>()
  readonly #failedMs = new Map<string, number>()
  #users: Promise<NetworkUsers> | undefined

  constructor(options: NetworkHostOptions) {
    this.#options = options
  }

  /**
   * Makes the network as the plan says and keeps the plan.
   * @throws HypervisorError `network_invalid`, `network_unavailable`, `network_failed`; the plan is kept all the same, and
   * `check` tries again
   */
  async apply(given: unknown): Promise<NetworkOutcome> {
    const plan = readNetworkPlan(given)
    return this.#locked(plan.id, async () => {
      const known = await this.#read(plan.id)
      if (known !== undefined && known.revision > plan.revision) return { busy: [], isOld: true }
      await makeFolderDurable(this.#folder(plan.id))
      await replaceFile(join(this.#folder(plan.id), 'plan.json'), [Buffer.from(JSON.stringify(plan))])
      return { busy: await this.#make(plan), isOld: false }
    })
  }

  /** Makes again what is missing of any network. Costs next to nothing when all is well. */
  async check(): Promise<void> {
    for (const id of await this.#known()) {
      try {
        await this.#checkOne(id)
      } catch (error) {
        this.#failedMs.set(id, this.#options.clock.monotonicMs())
        this.#options.warn({ network: id, error: messageOf(error) }, 'a virtual network could not be made again')
      }
    }
  }

  async #checkOne(id: string): Promise<void> {
    const { clock, warn } = this.#options
    const made = this.#made.get(id)
    const isWell = made?.processes.every(isAlive) === true && made.hostAddresses === hostAddressesNow().join()
    const failedMs = this.#failedMs.get(id)
    if (isWell || (failedMs !== undefined && clock.monotonicMs() - failedMs < RETRY_MS)) return
    await this.#locked(id, async () => {
      const plan = await this.#read(id)
      if (plan === undefined) return
      if (made !== undefined) warn({ network: id }, 'something of a virtual network was missing; it is made again')
      const busy = await this.#make(plan)
      if (busy.length > 0) warn({ network: id, busy }, 'ports of the host are taken by other programs')
    })
  }

  async #make(plan: NetworkPlan): Promise<readonly PlannedForward[]> {
    const busy = plan.ports.length === 0 ? await this.#remove(plan.id) : await this.#converge(plan)
    this.#failedMs.delete(plan.id)
    return busy
  }

  async #converge(plan: NetworkPlan): Promise<readonly PlannedForward[]> {
    const { clock } = this.#options
    const folder = this.#folder(plan.id)
    const hostAddresses = hostAddressesNow()
    const users = await this.#usersOnce()
    const namespace = await ensureNamespace(plan.id, users, { logPath: join(folder, 'holder.log'), clock })
    await makeSegments(namespace, plan)
    await applyRules(namespace, plan, hostAddresses)
    const busy = await keepUplink(namespace, plan, join(folder, 'uplink'), clock)
    await keepDhcp(namespace, plan, clock)
    await makePorts(namespace, plan)
    this.#made.set(plan.id, { processes: await this.#processesOf(plan.id), hostAddresses: hostAddresses.join() })
    return busy
  }

  /** Machines that are still in it lose their network; the kernel lets go of the rest with the last process. */
  async #remove(id: string): Promise<readonly PlannedForward[]> {
    for (const one of await this.#processesOf(id)) await endProcess(one, this.#options.clock)
    await rm(join(this.#folder(id), 'uplink'), { recursive: true, force: true })
    this.#made.set(id, { processes: [], hostAddresses: hostAddressesNow().join() })
    return []
  }

  async #processesOf(id: string): Promise<NetworkProcess[]> {
    const all = findNetworkProcesses(possibleUids(await this.#usersOnce()))
    return all.filter(({ network, part }) => network === id && part !== 'machine')
  }

  #usersOnce(): Promise<NetworkUsers> {
    this.#users ??= findProcessUser().then(networkUsers)
    return this.#users
  }

  #folder(id: string): string {
    return join(this.#options.folder, id)
  }

  async #locked<T>(id: string, act: () => Promise<T>): Promise<T> {
    return withMachineLock(this.#options.clock, this.#folder(id), act, LOCK_WAIT_MS)
  }

  /** @throws HypervisorError `network_invalid` for a plan that is damaged */
  async #read(id: string): Promise<NetworkPlan | undefined> {
    try {
      return readNetworkPlan(JSON.parse(await readFile(join(this.#folder(id), 'plan.json'), 'utf8')))
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      if (error instanceof HypervisorError) throw error
      throw new HypervisorError('network_invalid', `The plan of the network ${id} cannot be read.`, { cause: error })
    }
  }

  async #known(): Promise<string[]> {
    try {
      return (await readdir(this.#options.folder)).filter(isNetworkId)
    } catch (error) {
      // There was no network yet; looking makes no folder, for a home may be on its way out.
      if (errnoOf(error) === 'ENOENT') return []
      throw error
    }
  }

  /** Forgets networks of which nothing is left to keep; call it now and then. */
  async sweep(): Promise<void> {
    const nowMs = this.#options.clock.nowMs()
    for (const id of await this.#known())
      await this.#locked(id, async () => {
        const plan = await this.#read(id)
        if (plan !== undefined && plan.ports.length > 0) return
        if (nowMs - (await changedMs(this.#folder(id))) > EMPTY_KEPT_MS)
          await rm(this.#folder(id), { recursive: true, force: true })
      })
  }
}

async function changedMs(folder: string): Promise<number> {
  return (await stat(folder)).mtimeMs
}
