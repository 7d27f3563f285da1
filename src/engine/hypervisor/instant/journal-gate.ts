/**
 * The gate of a host whose instants are opened by tasks beside the driver (snapshots, backups), each repository with a journal
 * of its own below one folder: what is open is what those journals say, whichever process opened it.
 *
 *   attach, detach, resize   wait until no instant is open
 *   start                    waits: an instant of the stopped machine holds its images' locks
 *   stop                     does not wait: QEMU's end breaks the instant, and what was tracked is merged back from its record
 *
 * An instant may still open between the look and the act. QEMU's own locks decide then, and the act fails, to be tried later.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, errnoOf } from '#base'
import type { MachineStatus } from '../driver.ts'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription } from '../machine.ts'
import type { Instant, OpenInstantOptions } from '../port.ts'
import type { InstantGate, MachineChange } from '../qemu/hypervisor.ts'
import type { InstantHost } from './access.ts'
import { InstantBroker } from './broker.ts'
import { InstantJournal } from './journal.ts'

const WAIT_MS_DEFAULT = 60_000
const POLL_MS = 100

type Open = Readonly<{ running: boolean; stopped: boolean }>

export type JournalGateOptions = Readonly<{
  /** For instants that are opened through the driver itself; its journal lies below `journalsFolder` like all others. */
  host: InstantHost
  /** Holds one folder for each journal. */
  journalsFolder: string
  waitMs?: number
}>

export class JournalGate implements InstantGate {
  readonly #broker: InstantBroker
  readonly #clock: Clock
  readonly #folder: string
  readonly #waitMs: number

  constructor({ host, journalsFolder, waitMs = WAIT_MS_DEFAULT }: JournalGateOptions) {
    this.#broker = new InstantBroker({ host })
    this.#clock = host.clock
    this.#folder = journalsFolder
    this.#waitMs = waitMs
  }

  async isInstantOpen(machine: MachineDescription): Promise<boolean> {
    const { running, stopped } = await this.#open(machine)
    return running || stopped
  }

  async during<T>(machine: MachineDescription, change: MachineChange, act: () => Promise<T>): Promise<T> {
    const endMs = this.#clock.monotonicMs() + this.#waitMs
    for (;;) {
      const { running, stopped } = await this.#open(machine)
      if (!stopped && (change === 'stop' || !running)) return act()
      if (this.#clock.monotonicMs() >= endMs) throw waitedInVain(machine, change)
      await this.#clock.sleep(POLL_MS)
    }
  }

  openInstant(status: MachineStatus, options: OpenInstantOptions): Promise<Instant> {
    return this.#broker.openInstant(status, options)
  }

  /** Of its QEMU, and of images of its own. Those are known by their disk: nobody asked which machine has it. */
  async #open({ uuid, disks }: MachineDescription): Promise<Open> {
    const ids = new Set(disks.map(({ diskId }) => diskId))
    let open: Open = { running: false, stopped: false }
    for (const journal of await this.#journals())
      for (const id of await journal.ids()) {
        const record = await journal.read(id)
        if (record === undefined || record.step === 'dismantled') continue
        const isOurs = record.machineUuid === uuid || ids.has(record.machineUuid)
        if (isOurs) open = { ...open, [record.kind]: true }
      }
    return open
  }

  async #journals(): Promise<InstantJournal[]> {
    try {
      const entries = await readdir(this.#folder, { withFileTypes: true })
      return entries
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => new InstantJournal(join(this.#folder, name)))
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return []
      throw error
    }
  }
}

function waitedInVain(machine: MachineDescription, change: MachineChange): HypervisorError {
  return new HypervisorError('instant_open', `The disks of ${machine.name} are being read at this moment.`, {
    facts: { machine: machine.name, change },
    retry: 'later',
    hint: 'Wait for the snapshot or backup to end, or cancel it.',
  })
}
