/**
 * How soon a guest answers after the order, booted from a point by `holdfast repo boot` and started from a local disk, in
 * turn. Two machines: one small disk, and the same with a second one of 1 TiB that holds 200 MiB. Also how long until all
 * data has moved in. Both are machines of the same host driver, with the same description.
 */
import { spawn } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GIB, MIB, SeededRandom } from '#base'
import { type NewDisk, QemuHypervisor, withAgent } from '#engine/hypervisor'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { emptyMachine, MachineWorld } from '../../test/hypervisor/machine-world.ts'
import { microImage } from '../../test/rig/micro-image.ts'
import { median, run } from '../measure.ts'
import { PROGRAM } from '../tools/holdfast.ts'

export type BootMachine = 'small' | 'huge'
export type BootKind = 'local' | 'instant'
export type BootSample = Readonly<{
  machine: BootMachine
  kind: BootKind
  readySeconds: number
  /** Until the order said that the machine runs. */
  startedSeconds: number
  hydratedSeconds?: number
}>

const READY_MS_MAX = 120_000
const HUGE = '1T'
const HUGE_PIECES = 200
const POWER_OFF_MS = 500

export async function measureBoots(rounds: number, say: (text: string) => void): Promise<BootSample[]> {
  await using world = await MachineWorld.make()
  const bench = new BootBench(world)
  for (const machine of ['small', 'huge'] as const) await bench.prepare(machine)
  const samples: BootSample[] = []
  for (let round = 0; round < rounds; round += 1) {
    for (const machine of ['small', 'huge'] as const) {
      for (const kind of ['local', 'instant'] as const) {
        const figures = kind === 'local' ? await bench.bootLocal(machine) : await bench.bootInstant(machine, round)
        const sample: BootSample = { machine, kind, ...figures }
        samples.push(sample)
        const hydrated = sample.hydratedSeconds === undefined ? '' : `, hydrated ${sample.hydratedSeconds.toFixed(2)} s`
        say(
          `boot ${machine} ${kind}: started ${sample.startedSeconds.toFixed(2)} s, agent ${sample.readySeconds.toFixed(2)} s${hydrated}`,
        )
        await systemClock.sleep(POWER_OFF_MS)
      }
    }
  }
  return samples
}

class BootBench {
  readonly #world: MachineWorld

  constructor(world: MachineWorld) {
    this.#world = world
  }

  /** The images, a machine on them, and a point of them. */
  async prepare(machine: BootMachine): Promise<void> {
    const disks = [await this.#osImage(machine), ...(machine === 'huge' ? [await this.#hugeImage()] : [])]
    const attached = disks.map((path, lun): NewDisk => ({
      lun,
      role: lun === 0 ? 'os' : 'data',
      bus: 'virtio-blk',
      source: { from: 'image', path, format: 'qcow2' },
    }))
    await this.#world.host.create(emptyMachine(machine, { memoryMib: 1_024, disks: attached }))
    const store = this.#store(machine)
    await this.#holdfast('init', store)
    const images = disks.flatMap((path, lun) => ['--disk', `${lun}=qcow2:${path}`])
    await this.#holdfast('backup', store, '--machine', machine, ...images)
  }

  async bootLocal(machine: BootMachine): Promise<Pick<BootSample, 'readySeconds' | 'startedSeconds'>> {
    const seconds = stopwatch()
    const status = await this.#world.host.start(machine)
    const startedSeconds = seconds()
    await ready(status.sockets?.agent)
    const readySeconds = seconds()
    await this.#world.host.powerOff(machine)
    return { readySeconds, startedSeconds }
  }

  async bootInstant(machine: BootMachine, round: number): Promise<Omit<BootSample, 'machine' | 'kind'>> {
    const folder = join(this.#world.folder, `b${machine}${round}`)
    const name = `${machine}-${round}`
    const { runtimeFolder } = this.#world.roots
    const where = ['--to', folder, '--name', name, '--runtime-dir', runtimeFolder, '--output', 'json']
    const { args, env } = this.#command('boot', this.#store(machine), 'latest', ...where)
    const seconds = stopwatch()
    const child = spawn(PROGRAM, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let [out, err] = ['', '']
    child.stderr.on('data', (bytes: Buffer) => (err += bytes.toString()))
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
    const said = new Promise<string>((resolve, reject) => {
      child.stdout.on('data', (bytes: Buffer) => {
        out += bytes.toString()
        const socket = /"agent":\s*"([^"]+)"/.exec(out)?.[1]
        if (socket !== undefined) resolve(socket)
      })
      void exited.then((code) => reject(new Error(`repo boot ended with ${code}: ${err}`)))
    })
    const agent = await said
    const startedSeconds = seconds()
    await ready(agent)
    const readySeconds = seconds()
    const code = await exited
    const hydratedSeconds = seconds()
    await this.#remove(folder, name)
    if (code !== 0) throw new Error(`repo boot ended with ${code}: ${err}`)
    return { readySeconds, startedSeconds, hydratedSeconds }
  }

  async #remove(folder: string, name: string): Promise<void> {
    const host = new QemuHypervisor({
      roots: { machinesFolder: join(folder, 'machines'), runtimeFolder: this.#world.roots.runtimeFolder },
      clock: systemClock,
      random: systemRandom,
      instants: this.#world.gate,
    })
    await host.powerOff(name)
    await rm(folder, { recursive: true, force: true })
  }

  #store(machine: BootMachine): string {
    return join(this.#world.folder, `store-${machine}`)
  }

  #command(command: string, ...args: string[]): { args: string[]; env: Record<string, string> } {
    const env = {
      HOLDFAST_PASSPHRASE: 'benchmark',
      XDG_CACHE_HOME: this.#world.folder,
      XDG_STATE_HOME: this.#world.folder,
    }
    return { args: ['repo', command, ...args], env }
  }

  async #holdfast(command: string, ...args: string[]): Promise<void> {
    await run({ program: PROGRAM, ...this.#command(command, ...args) })
  }

  async #osImage(machine: BootMachine): Promise<string> {
    const path = await this.#image(`${machine}-os`)
    await checkCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', await microImage(), path])
    return path
  }

  /** 1 TiB with 200 pieces of 1 MiB, far apart. */
  async #hugeImage(): Promise<string> {
    const path = await this.#image('huge-data')
    await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', path, HUGE])
    const random = new SeededRandom(5)
    const piece = `${path}.piece`
    for (let i = 0; i < HUGE_PIECES; i += 1) {
      await writeFile(piece, random.bytes(MIB))
      await checkCommand('qemu-io', ['-f', 'qcow2', '-c', `write -q -s ${piece} ${i * 5 * GIB} 1M`, path])
    }
    await rm(piece)
    return path
  }

  async #image(name: string): Promise<string> {
    const folder = join(this.#world.folder, 'images')
    await mkdir(folder, { recursive: true })
    return join(folder, `${name}.qcow2`)
  }
}

function stopwatch(): () => number {
  const beganMs = systemClock.monotonicMs()
  return () => (systemClock.monotonicMs() - beganMs) / 1000
}

async function ready(agentSocket: string | undefined): Promise<void> {
  if (agentSocket === undefined) throw new Error('The machine has no agent socket')
  await withAgent(agentSocket, { clock: systemClock, readyTimeoutMs: READY_MS_MAX }, () => Promise.resolve())
}

export function bootMedians(samples: readonly BootSample[]): Record<string, Omit<BootSample, 'machine' | 'kind'>> {
  const groups = Map.groupBy(samples, ({ machine, kind }) => `${machine} ${kind}`)
  const of = (own: readonly BootSample[], field: 'readySeconds' | 'startedSeconds' | 'hydratedSeconds'): number =>
    median(own.map((one) => one[field] ?? Number.NaN))
  return Object.fromEntries(
    [...groups].map(([name, own]) => [
      name,
      {
        readySeconds: of(own, 'readySeconds'),
        startedSeconds: of(own, 'startedSeconds'),
        ...(own[0]?.hydratedSeconds === undefined ? {} : { hydratedSeconds: of(own, 'hydratedSeconds') }),
      },
    ]),
  )
}
