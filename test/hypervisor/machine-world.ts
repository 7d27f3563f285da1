/**
 * A host of its own for a test: folders under the temporary folder, a QemuHypervisor on them, micro guests as machines.
 * Disposing powers off every machine of it and removes the folders; what a machine's process may not be, it does not kill.
 */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  chooseAccelerator,
  guestExec,
  type InstantGate,
  type MachineChange,
  type MachineDescription,
  type NewDisk,
  type NewMachine,
  type ProcessUser,
  QemuHypervisor,
  type QemuRoots,
  withAgent,
} from '#engine/hypervisor'
import { systemClock, systemRandom } from '#runtime'
import { microImage } from '../rig/micro-image.ts'

const BOOT_MS_MAX = 120_000
const EXEC_MS_MAX = 30_000

/** No instant is ever open, unless the test says so. */
export class StubGate implements InstantGate {
  isOpen = false

  isInstantOpen(_machine: MachineDescription): Promise<boolean> {
    return Promise.resolve(this.isOpen)
  }

  during<T>(_machine: MachineDescription, _change: MachineChange, act: () => Promise<T>): Promise<T> {
    return act()
  }

  openInstant(): Promise<never> {
    return Promise.reject(new Error('This test opens no instants.'))
  }
}

/** The probe for an accelerator takes seconds where KVM is broken; one answer serves all worlds of a test process. */
let probed: Promise<{ name: string; text: string }> | undefined

export class MachineWorld {
  readonly folder: string
  readonly roots: QemuRoots
  readonly gate = new StubGate()
  readonly host: QemuHypervisor

  private constructor(folder: string, user: ProcessUser | undefined) {
    this.folder = folder
    this.roots = { machinesFolder: join(folder, 'm'), runtimeFolder: join(folder, 'r') }
    this.host = this.openHost(user)
  }

  static async make(user?: ProcessUser): Promise<MachineWorld> {
    const world = new MachineWorld(await mkdtemp(join(tmpdir(), 'hf-world-')), user)
    await chmod(world.folder, 0o711) // for a QEMU that runs as somebody else
    await mkdir(world.roots.runtimeFolder, { mode: 0o711 })
    const known = join(world.roots.runtimeFolder, 'known')
    probed ??= chooseAccelerator('qemu-system-x86_64', known, systemClock).then(async () => {
      const [name = ''] = await readdir(known)
      return { name, text: await readFile(join(known, name), 'utf8') }
    })
    const { name, text } = await probed
    await writeFile(join(world.roots.runtimeFolder, name), text)
    return world
  }

  /** Another process's view of the same host. */
  openHost(user?: ProcessUser): QemuHypervisor {
    const { roots, gate } = this
    const more = user === undefined ? {} : { user }
    return new QemuHypervisor({ roots, clock: systemClock, random: systemRandom, instants: gate, ...more })
  }

  /** Makes a machine that boots the micro guest from an overlay. */
  async makeMicro(name: string, more: Partial<NewMachine> = {}): Promise<void> {
    const backing = { kind: 'image', path: await microImage(), format: 'raw' } as const
    const os: NewDisk = { lun: 0, role: 'os', bus: 'virtio-blk', serial: 'OS', source: { from: 'overlay', backing } }
    await this.host.create(emptyMachine(name, { memoryMib: 192, ...more, disks: [os, ...(more.disks ?? [])] }))
  }

  /** Waits until the guest's agent answers. */
  async waitReady(name: string): Promise<void> {
    await this.run(name, 'true', BOOT_MS_MAX)
  }

  /** Runs a shell command in the guest and gives its standard output. @throws when it fails. */
  async run(name: string, command: string, readyTimeoutMs = 5_000): Promise<string> {
    const socket = (await this.host.describe(name)).sockets?.agent
    if (socket === undefined) throw new Error(`${name} is not running`)
    const result = await withAgent(socket, { clock: systemClock, readyTimeoutMs }, (agent) =>
      guestExec(agent, systemClock, { path: '/bin/sh', args: ['-c', command], timeoutMs: EXEC_MS_MAX }),
    )
    if (result.exitCode === 0) return result.stdout.toString('utf8')
    throw new Error(`In ${name}, exit code ${result.exitCode} from: ${command}\n${result.stderr.toString('utf8')}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { machine } of (await this.host.discover()).machines) await this.host.powerOff(machine.name)
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** A machine without disks or networks: firmware only. */
export function emptyMachine(name: string, more: Partial<NewMachine> = {}): NewMachine {
  const base = { name, firmware: 'bios', machineType: 'pc', cpuCount: 1, memoryMib: 64, agent: true } as const
  return { ...base, tags: {}, networks: [], disks: [], ...more }
}

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
