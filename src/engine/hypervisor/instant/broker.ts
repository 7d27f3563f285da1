/**
 * The broker is the one door to instants of this host's machines: per machine one is open at a time, and what may happen
 * beside it stands in interactions.ts. It is the `InstantGate` of the QEMU driver.
 *
 * Order is first come, first served among those of this process who wait. Requests that wait for an instant and suit each other get the same
 * one. Instants of other processes are seen through the journal and waited for as well.
 *
 * The broker keeps nothing over a restart: the journal does. Run `recoverInstants` before the first request.
 */
import { dirname } from 'node:path'
import { BaseError, type Clock } from '#base'
import type { MachineStatus } from '../driver.ts'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription } from '../machine.ts'
import type { Instant, OpenInstantOptions } from '../port.ts'
import { diskNodeName } from '../qemu/device-address.ts'
import type { InstantHost, RunningMachine } from './access.ts'
import { type Arriving, canShare, type Consumer, type Operation, ruleAll, type UnderWay } from './interactions.ts'
import { InstantJournal } from './journal.ts'
import { openRunningInstant } from './open-running.ts'
import { openStoppedInstant } from './open-stopped.ts'
import { SharedInstant } from './shared-instant.ts'

/** How long a request may wait for what is under way; a backup over a slow link is not waited for by a resize. */
const WAIT_MS_DEFAULT = 60_000
const POLL_MS = 100
const SHARED = ['Shared with another task that asked at the same time.']

type Wish = {
  readonly options: OpenInstantOptions
  /** The same promise for all who joined. */
  readonly opened: Promise<SharedInstant>
  isTaken: boolean
}

type Machine = {
  wish: Wish | undefined
  open: SharedInstant | undefined
  readonly operations: Operation[]
  /** Who waits, oldest first. */
  readonly waiting: symbol[]
}

export type BrokerOptions = Readonly<{
  /** The host's folders and limits. `runFolder` is used for stopped machines; running ones have their own. */
  host: InstantHost
  waitMs?: number
}>

export class InstantBroker {
  readonly #host: InstantHost
  readonly #waitMs: number
  readonly #journal: InstantJournal
  readonly #machines = new Map<string, Machine>()

  constructor(options: BrokerOptions) {
    this.#host = options.host
    this.#waitMs = options.waitMs ?? WAIT_MS_DEFAULT
    this.#journal = new InstantJournal(options.host.journalFolder)
  }

  /** Whether any process of this host holds an instant of the machine, or is about to. */
  async isInstantOpen(machine: MachineDescription): Promise<boolean> {
    const known = this.#machines.get(machine.uuid)
    if (known?.open !== undefined || known?.wish !== undefined) return true
    return (await this.#journal.openMachines()).has(machine.uuid)
  }

  /**
   * An instant for a consumer, its own or a shared one. Waits for what is in its way.
   * @throws `instant_open` when that takes too long, and what openRunningInstant and openStoppedInstant throw.
   */
  async openInstant(
    status: MachineStatus,
    options: OpenInstantOptions,
    consumer: Consumer = 'backup',
  ): Promise<Instant> {
    const machine = this.#machine(status.machine)
    const found = await this.#untilFree(status.machine, consumer, options)
    if (found === 'join')
      return (await machine.wish?.opened)?.share(SHARED) ?? this.openInstant(status, options, consumer)
    return (await this.#wish(status, options)).share()
  }

  /**
   * Runs a change of the machine when nothing forbids it any more; a stop first breaks off an open instant.
   * @throws `instant_open` when waiting takes too long, `machine_state_conflict` when the two exclude each other.
   */
  async during<T>(machine: MachineDescription, operation: Operation, act: () => Promise<T>): Promise<T> {
    const state = this.#machine(machine)
    if (ruleAll(operation, this.#underWay(state)) === 'break_off') await this.#breakOff(state, operation)
    else await this.#untilFree(machine, operation)
    state.operations.push(operation)
    try {
      return await act()
    } finally {
      state.operations.splice(state.operations.indexOf(operation), 1)
    }
  }

  async #breakOff(machine: Machine, operation: Operation): Promise<void> {
    // One that is being taken right now is open in a moment; then it can be aborted properly.
    const open = machine.open ?? (await machine.wish?.opened.catch(() => undefined))
    await open?.breakOff(`the machine is to ${operation}`)
  }

  #wish(status: MachineStatus, options: OpenInstantOptions): Promise<SharedInstant> {
    const machine = this.#machine(status.machine)
    const wish: Wish = {
      options,
      opened: this.#take(status, options, machine, () => (wish.isTaken = true)),
      isTaken: false,
    }
    machine.wish = wish
    wish.opened
      .catch(() => {
        // Everybody who joined awaits it and gets the error.
      })
      .finally(() => (machine.wish = undefined))
    return wish.opened
  }

  async #take(
    status: MachineStatus,
    options: OpenInstantOptions,
    machine: Machine,
    taken: () => void,
  ): Promise<SharedInstant> {
    const host: InstantHost = {
      ...this.#host,
      onStep: async (step) => {
        // From here on the instant shows a moment that later requests must not be given.
        if (step === 'freeze' || step === 'pause' || step === 'open') taken()
        await this.#host.onStep?.(step)
      },
    }
    const instant = await openAny(host, status, options)
    const shared = new SharedInstant(instant, () => {
      if (machine.open === shared) machine.open = undefined
    })
    machine.open = shared
    return shared
  }

  #machine(description: MachineDescription): Machine {
    const known = this.#machines.get(description.uuid) ?? {
      wish: undefined,
      open: undefined,
      operations: [],
      waiting: [],
    }
    this.#machines.set(description.uuid, known)
    return known
  }

  #underWay(machine: Machine): UnderWay[] {
    const underWay: UnderWay[] = [...machine.operations]
    if (machine.wish !== undefined) underWay.push(machine.wish.isTaken ? 'instant_open' : 'instant_wanted')
    if (machine.open !== undefined) underWay.push('instant_open')
    return underWay
  }

  /**
   * Waits until the matrix lets `arriving` begin, or join what others wait for. The caller must begin without another await:
   * then only microtasks lie between the look and the beginning, and no other look can come between.
   */
  async #untilFree(
    description: MachineDescription,
    arriving: Arriving,
    options?: OpenInstantOptions,
  ): Promise<'run' | 'join'> {
    const { waiting } = this.#machine(description)
    const ticket = Symbol(arriving)
    waiting.push(ticket)
    try {
      const endMs = this.#host.clock.monotonicMs() + this.#waitMs
      for (;;) {
        const found = await this.#look(description, arriving, options)
        if (found.verdict === 'join') return 'join'
        if (found.verdict === 'run' && waiting[0] === ticket) return 'run'
        if (this.#host.clock.monotonicMs() >= endMs) throw waitedInVain(description, arriving, found.underWay)
        await sleep(this.#host.clock, options?.signal)
      }
    } finally {
      waiting.splice(waiting.indexOf(ticket), 1)
    }
  }

  async #look(
    description: MachineDescription,
    arriving: Arriving,
    options: OpenInstantOptions | undefined,
  ): Promise<Readonly<{ verdict: 'run' | 'join' | 'wait'; underWay: readonly UnderWay[] }>> {
    const machine = this.#machine(description)
    const elsewhere = !isBusy(machine) && (await this.isInstantOpen(description)) && !isBusy(machine)
    const underWay = elsewhere ? [...this.#underWay(machine), 'instant_open' as const] : this.#underWay(machine)
    const ruling = ruleAll(arriving, underWay)
    if (ruling === 'refuse') throw conflict(description, arriving, underWay)
    if (ruling === 'run') return { verdict: 'run', underWay }
    const { wish } = machine
    const joins = ruling === 'join' && options !== undefined && wish !== undefined && canShare(wish.options, options)
    return { verdict: joins ? 'join' : 'wait', underWay }
  }
}

function isBusy(machine: Machine): boolean {
  return machine.open !== undefined || machine.wish !== undefined
}

async function sleep(clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  await clock.sleep(POLL_MS, signal)
  if (signal?.aborted === true) throw new BaseError('cancelled', 'The wait was cancelled.')
}

/** A running or paused machine through its monitor, one that is stopped through its images. */
async function openAny(host: InstantHost, status: MachineStatus, options: OpenInstantOptions): Promise<Instant> {
  const { machine, sockets, power } = status
  if (sockets === undefined) {
    return openStoppedInstant(
      host,
      { description: machine, stoppedCleanly: power === 'stopped' && !endedBadly(status) },
      options,
    )
  }
  const running: RunningMachine = {
    description: machine,
    sockets: {
      qmpSocketPath: sockets.instant,
      rescueSocketPath: sockets.rescue,
      agentSocketPath: sockets.agent,
      processId: status.processId,
    },
    nodeNames: Object.fromEntries(machine.disks.map((disk) => [disk.lun, diskNodeName(disk.lun)])),
  }
  // QEMU makes the NBD socket itself, so it lies where QEMU's user may write and others may not look.
  return openRunningInstant({ ...host, runFolder: dirname(sockets.instant) }, running, options)
}

function endedBadly(status: MachineStatus): boolean {
  return status.lastEnd?.exitCode !== undefined && status.lastEnd.exitCode !== 0
}

function conflict(machine: MachineDescription, arriving: Arriving, underWay: readonly UnderWay[]): HypervisorError {
  return new HypervisorError('machine_state_conflict', `${machine.name} cannot do that now (${underWay.join(', ')}).`, {
    facts: { machine: machine.name, arriving, underWay },
    retry: 'later',
  })
}

function waitedInVain(machine: MachineDescription, arriving: Arriving, underWay: readonly UnderWay[]): HypervisorError {
  return new HypervisorError('instant_open', `${machine.name} is busy (${underWay.join(', ')}).`, {
    facts: { machine: machine.name, arriving, underWay },
    retry: 'later',
    hint: 'Wait for the backup or replication cycle to end, or cancel it.',
  })
}
