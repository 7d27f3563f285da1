/** The machine of the demo, seen from outside: its host, and what its guest says through the agent. */
import { join } from 'node:path'
import { guestExec, InstantBroker, type NewMachine, QemuHypervisor, withAgent } from '#engine/hypervisor'
import { makeFolderDurable, systemClock, systemRandom } from '#runtime'

const BOOT_MS_MAX = 120_000
const EXEC_MS_MAX = 60_000

/** A host whose machines lie in `folder` and whose sockets in `runtimeFolder`, which must be short. */
export async function openHost(folder: string, runtimeFolder: string): Promise<QemuHypervisor> {
  for (const made of [folder, runtimeFolder]) await makeFolderDurable(made)
  const host = {
    clock: systemClock,
    random: systemRandom,
    journalFolder: join(folder, 'instants'),
    scratchFolder: join(folder, 'scratch'),
    runFolder: runtimeFolder,
    watchdog: 'start' as const,
  }
  const roots = { machinesFolder: join(folder, 'machines'), runtimeFolder }
  return new QemuHypervisor({ roots, clock: systemClock, random: systemRandom, instants: new InstantBroker({ host }) })
}

/** An OS disk over the micro image and two blank data disks for a stripe. */
export function machineRequest(name: string, microImage: string, dataBytes: number): NewMachine {
  const backing = { kind: 'image', path: microImage, format: 'raw' } as const
  const data = (lun: number) =>
    ({ lun, role: 'data', bus: 'virtio-blk', source: { from: 'empty', sizeBytes: dataBytes } }) as const
  return {
    name,
    firmware: 'bios',
    machineType: 'pc',
    cpuCount: 1,
    memoryMib: 192,
    agent: true,
    tags: {},
    networks: [],
    disks: [{ lun: 0, role: 'os', bus: 'virtio-blk', source: { from: 'overlay', backing } }, data(1), data(2)],
  }
}

/** A guest, by the path of its agent's socket. */
export class Guest {
  readonly #agent: string

  constructor(agentSocket: string) {
    this.#agent = agentSocket
  }

  async ready(): Promise<void> {
    await this.run('true', BOOT_MS_MAX)
  }

  /** Standard output of a shell command. @throws when it fails */
  async run(command: string, readyTimeoutMs = 10_000): Promise<string> {
    const { exitCode, stdout, stderr } = await this.exec(command, readyTimeoutMs)
    if (exitCode === 0) return stdout.toString('utf8').trim()
    throw new Error(`In the guest, exit code ${exitCode} from: ${command}\n${stdout.toString()}${stderr.toString()}`)
  }

  exec(command: string, readyTimeoutMs = 10_000): ReturnType<typeof guestExec> {
    return withAgent(this.#agent, { clock: systemClock, readyTimeoutMs }, (agent) =>
      guestExec(agent, systemClock, { path: '/bin/sh', args: ['-c', command], timeoutMs: EXEC_MS_MAX }),
    )
  }

  /** Starts a command that goes on. */
  async start(command: string): Promise<void> {
    await this.run(`setsid sh -c '${command}' < /dev/null > /dev/null 2>&1 &`)
  }

  /** Number of the newest record that the writer knows to be durable. */
  async newestRecord(): Promise<number> {
    return Number(await this.run('tail -n 1 /run/records.acked 2>/dev/null || echo -1'))
  }
}
