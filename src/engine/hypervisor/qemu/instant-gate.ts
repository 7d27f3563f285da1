/** The InstantGate over instant/: opens instants by the machine's second monitor, and knows from the journal which are open. */
import type { MachineStatus } from '../driver.ts'
import { HypervisorError } from '../errors.ts'
import type { InstantHost } from '../instant/access.ts'
import { InstantJournal } from '../instant/journal.ts'
import { openRunningInstant } from '../instant/open-running.ts'
import type { MachineDescription } from '../machine.ts'
import type { Instant, OpenInstantOptions } from '../port.ts'
import { diskNodeName } from './device-address.ts'
import type { InstantGate } from './hypervisor.ts'

export class JournalInstantGate implements InstantGate {
  readonly #host: InstantHost

  constructor(host: InstantHost) {
    this.#host = host
  }

  /** A record that was left behind counts until it is recovered: its nodes may still be in QEMU. */
  async isInstantOpen(machine: MachineDescription): Promise<boolean> {
    const journal = new InstantJournal(this.#host.journalFolder)
    for (const id of await journal.ids()) {
      const record = await journal.read(id)
      if (record?.machine === machine.name && record.step !== 'dismantled') return true
    }
    return false
  }

  openInstant(status: MachineStatus, options: OpenInstantOptions): Promise<Instant> {
    const { machine, sockets } = status
    if (sockets === undefined)
      throw new HypervisorError('machine_state_conflict', `${machine.name} is not running.`, {
        facts: { power: status.power },
      })
    const nodeNames = Object.fromEntries(machine.disks.map((disk) => [disk.lun, diskNodeName(disk.lun)]))
    const access = { qmpSocketPath: sockets.instant, agentSocketPath: sockets.agent }
    return openRunningInstant(this.#host, { description: machine, sockets: access, nodeNames }, options)
  }
}
