/**
 * Incrementals by bitmap of a running machine with a disk of 1 TiB, 64 MiB changed in places far apart: engine time from
 * the order to the durable point (repository open, as in a service), and what was read. No guest: its writes go through the
 * same block graph.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GIB, KIB, MIB } from '#base'
import { type MachineDescription, openRunningInstant, QmpClient } from '#engine/hypervisor'
import { FolderStore, Repository } from '#engine/repository'
import { backUpMachine } from '#engine/transfer'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { eventually } from '../../test/rig/deadline.ts'
import { sectorData } from '../../test/rig/sector-data.ts'
import { median } from '../measure.ts'

export type IncrementalSample = Readonly<{ seconds: number; readBytes: number; newBytes: number; changedBytes: number }>

const CHUNK_BYTES = 256 * KIB
const PLACES = 64
const PLACE_BYTES = MIB
const CREDENTIAL = { kind: 'passphrase', passphrase: 'benchmark' } as const

export async function measureIncrementals(rounds: number, say: (text: string) => void): Promise<IncrementalSample[]> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-incr-'))
  const machine = await HugeMachine.start(folder)
  try {
    const repository = await makeRepository(folder)
    await machine.change(0)
    const samples: IncrementalSample[] = []
    await backUp(machine, repository, folder)
    for (let round = 1; round <= rounds; round += 1) {
      await machine.change(round)
      await checkCommand('sync', [], { timeoutMs: 10 * 60_000 })
      const sample = await backUp(machine, repository, folder)
      samples.push(sample)
      say(
        `incremental: ${sample.seconds.toFixed(2)} s, ${(sample.readBytes / sample.changedBytes).toFixed(3)} times the changed bytes read`,
      )
    }
    await repository.close()
    return samples
  } finally {
    await machine.end()
    await rm(folder, { recursive: true, force: true })
  }
}

async function makeRepository(folder: string): Promise<Repository> {
  await mkdir(join(folder, 'store'))
  const store = await FolderStore.open(join(folder, 'store'))
  const environment = { clock: systemClock, random: systemRandom, cacheFolder: join(folder, 'cache'), writer: 'bench' }
  const kdfCost = { memoryKib: 64, passes: 1, parallelism: 1 }
  await Repository.init(store, { credential: CREDENTIAL, chunkSizeBytes: CHUNK_BYTES, kdfCost }, environment)
  return Repository.open(store, CREDENTIAL, environment)
}

async function backUp(machine: HugeMachine, repository: Repository, folder: string): Promise<IncrementalSample> {
  for (const sub of ['journal', 'scratch']) await mkdir(join(folder, sub), { recursive: true })
  const host = {
    clock: systemClock,
    random: systemRandom,
    journalFolder: join(folder, 'journal'),
    scratchFolder: join(folder, 'scratch'),
    runFolder: folder,
    watchdog: 'elsewhere' as const,
  }
  const beganMs = systemClock.monotonicMs()
  const point = await backUpMachine(
    repository,
    {
      machine: 'huge',
      consistency: 'crash',
      openInstant: (options) => openRunningInstant(host, machine.running(), options),
    },
    {
      store: { kind: 'folder', path: join(folder, 'store') },
      clock: systemClock,
      random: systemRandom,
      writer: 'bench',
    },
  )
  const seconds = (systemClock.monotonicMs() - beganMs) / 1000
  const [disk] = point.disks
  if (disk === undefined) throw new Error('The point has no disk')
  return { seconds, readBytes: disk.readBytes, newBytes: disk.newBytes, changedBytes: PLACES * PLACE_BYTES }
}

class HugeMachine {
  readonly #folder: string
  readonly #child: ChildProcess
  readonly #qmp: QmpClient

  private constructor(folder: string, child: ChildProcess, qmp: QmpClient) {
    this.#folder = folder
    this.#child = child
    this.#qmp = qmp
  }

  static async start(folder: string): Promise<HugeMachine> {
    const image = join(folder, 'disk.qcow2')
    await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', image, '1T'])
    const args = ['-accel', 'tcg', '-m', '32', '-nodefaults', '-display', 'none', '-machine', 'pc']
    for (const name of ['own', 'bench']) args.push('-qmp', `unix:${join(folder, name)}.qmp,server=on,wait=off`)
    const blockdev = { 'node-name': 'disk0', driver: 'qcow2', file: { driver: 'file', filename: image } }
    args.push('-blockdev', JSON.stringify(blockdev), '-device', 'virtio-blk-pci,drive=disk0,id=vd0')
    const child = spawn('qemu-system-x86_64', args, { stdio: 'ignore' })
    const socket = join(folder, 'bench.qmp')
    await eventually('QEMU to listen', 30_000, () => (existsSync(socket) ? true : undefined))
    return new HugeMachine(folder, child, await QmpClient.connect(socket, { clock: systemClock }))
  }

  running(): { description: MachineDescription; sockets: { qmpSocketPath: string } } {
    const description: MachineDescription = {
      schema: 1,
      name: 'huge',
      uuid: '8d9ab4ea-55f6-4f4c-a8a4-6a9df4b57a11',
      firmware: 'bios',
      machineType: 'pc',
      cpuCount: 1,
      memoryMib: 32,
      disks: [
        {
          lun: 0,
          diskId: 'disk-0',
          role: 'os',
          path: join(this.#folder, 'disk.qcow2'),
          format: 'qcow2',
          bus: 'virtio-blk',
          serial: 'D0',
        },
      ],
      networks: [],
      agent: false,
      tags: {},
    }
    return { description, sockets: { qmpSocketPath: join(this.#folder, 'own.qmp') } }
  }

  /** Writes whole chunks, as a guest would, with bytes that say where and when. */
  async change(version: number): Promise<void> {
    const pattern = join(this.#folder, 'pattern')
    for (let i = 0; i < PLACES; i += 1) {
      const offset = i * 15 * GIB + 8 * GIB
      await writeFile(pattern, sectorData(1, offset / 512, PLACE_BYTES / 512, version + 1))
      const line = `qemu-io -d /machine/peripheral/vd0/virtio-backend "write -q -s ${pattern} ${offset} ${PLACE_BYTES}"`
      const said = await this.#qmp.execute('human-monitor-command', { 'command-line': line })
      if (said !== '') throw new Error(`qemu-io said ${JSON.stringify(said)}`)
    }
  }

  async end(): Promise<void> {
    await this.#qmp.close()
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGKILL')
    await ended
  }
}

export function incrementalMedian(samples: readonly IncrementalSample[]): { seconds: number; readRatio: number } {
  return {
    seconds: median(samples.map(({ seconds }) => seconds)),
    readRatio: Math.max(...samples.map(({ readBytes, changedBytes }) => readBytes / changedBytes)),
  }
}
