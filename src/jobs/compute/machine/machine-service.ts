/**
 * Machines as their host sees them now: asked for by the control process, answered by the worker (byte-server.ts).
 * What is asked changes nothing; what changes machines are tasks.
 */
import { isHoldfastError } from '#base'
import { guestOs, type MachineStatus, withAgent } from '#engine/hypervisor'
import type { MachineHost } from './machine-host.ts'

/** One machine, as cheap to learn as possible. */
export type MachineSighting = Readonly<{
  name: string
  uuid: string
  power: MachineStatus['power']
  startedAtMs?: number
  accelerator?: string
  end?: Readonly<{ cause: string; exitCode?: number; atMs?: number }>
  notes: readonly string[]
}>

/** And what its guest says of itself, when it does. */
export type MachineReport = MachineSighting &
  Readonly<{
    agent: 'ready' | 'silent' | 'off'
    osName?: string
    osVersion?: string
    hostName?: string
  }>

export interface MachineService {
  /** All machines that the host has. @throws JobsError `bytes_unreachable` */
  look(): Promise<readonly MachineSighting[]>
  /** @throws HypervisorError `machine_not_found` */
  report(name: string): Promise<MachineReport>
  /** What the guest wrote to its serial port, newest last. */
  serialLog(name: string): Promise<Uint8Array>
  /** PNG. @throws HypervisorError `machine_state_conflict` when it does not run */
  screenshot(name: string): Promise<Uint8Array>
}

const AGENT_MS_MAX = 700
const SERIAL_BYTES_MAX = 1024 * 1024

function sightingOf({ machine, power, startedAtMs, accelerator, lastEnd, notes }: MachineStatus): MachineSighting {
  return {
    name: machine.name,
    uuid: machine.uuid,
    power,
    notes,
    ...(startedAtMs !== undefined && { startedAtMs }),
    ...(accelerator !== undefined && { accelerator }),
    ...(lastEnd !== undefined && {
      end: {
        cause: lastEnd.cause,
        ...(lastEnd.exitCode !== undefined && { exitCode: lastEnd.exitCode }),
        ...(lastEnd.endedAtMs !== undefined && { atMs: lastEnd.endedAtMs }),
      },
    }),
  }
}

/** The service itself, on the worker. */
export class HostMachines implements MachineService {
  readonly #host: MachineHost

  constructor(host: MachineHost) {
    this.#host = host
  }

  async look(): Promise<readonly MachineSighting[]> {
    return (await this.#host.hypervisor.discover({ monitors: false })).machines.map(sightingOf)
  }

  async report(name: string): Promise<MachineReport> {
    const status = await this.#host.hypervisor.describe(name)
    return { ...sightingOf(status), ...(await this.#guest(status)) }
  }

  async serialLog(name: string): Promise<Uint8Array> {
    return (await this.#host.hypervisor.serialLog(name, { bytesMax: SERIAL_BYTES_MAX })).bytes
  }

  async screenshot(name: string): Promise<Uint8Array> {
    return (await this.#host.hypervisor.screenshot(name)).png
  }

  async #guest({ power, sockets }: MachineStatus): Promise<Omit<MachineReport, keyof MachineSighting>> {
    const { clock } = this.#host
    if (power !== 'running' || sockets?.agent === undefined) return { agent: 'off' }
    const options = { clock, lockTimeoutMs: AGENT_MS_MAX, readyTimeoutMs: AGENT_MS_MAX }
    try {
      return await withAgent(sockets.agent, options, async (agent) => {
        const { id, prettyName, versionId } = await guestOs(agent)
        const said = (await agent.command('guest-get-host-name')) as { 'host-name'?: unknown } | null
        const hostName = said?.['host-name']
        return {
          agent: 'ready' as const,
          ...((prettyName || id) !== '' && { osName: prettyName || id }),
          ...(versionId !== '' && { osVersion: versionId }),
          ...(typeof hostName === 'string' && { hostName }),
        }
      })
    } catch (error) {
      // In use by another task, or frozen by one: it answers, only not us.
      if (isHoldfastError(error, 'agent_busy', 'agent_frozen', 'agent_command_failed')) return { agent: 'ready' }
      if (isHoldfastError(error)) return { agent: 'silent' }
      throw error
    }
  }
}
