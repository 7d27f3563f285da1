/** A world of machines with a repository in a folder beside them: what is backed up there boots there again. */
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Instant, openRunningInstant, type OpenInstantOptions } from '#engine/hypervisor'
import { FolderStore, type PointRecord, Repository } from '#engine/repository'
import { backUpMachine, bootPoint, type RunningBoot } from '#engine/transfer'
import { systemClock, systemRandom } from '#runtime'
import type { MachineWorld } from '../hypervisor/machine-world.ts'

const credential = { kind: 'passphrase', passphrase: 'a test' } as const

export class ProtectedWorld {
  readonly world: MachineWorld
  readonly storePath: string
  readonly repository: Repository

  private constructor(world: MachineWorld, storePath: string, repository: Repository) {
    this.world = world
    this.storePath = storePath
    this.repository = repository
  }

  static async make(world: MachineWorld): Promise<ProtectedWorld> {
    const storePath = join(world.folder, 'store')
    await mkdir(storePath)
    const environment = {
      clock: systemClock,
      random: systemRandom,
      cacheFolder: join(world.folder, 'cache'),
      writer: 'test',
    }
    const kdfCost = { memoryKib: 64, passes: 1, parallelism: 1 }
    const store = await FolderStore.open(storePath)
    await Repository.init(store, { credential, chunkSizeBytes: 256 * 1024, kdfCost }, environment)
    return new ProtectedWorld(world, storePath, await Repository.open(store, credential, environment))
  }

  get store(): { kind: 'folder'; path: string } {
    return { kind: 'folder', path: this.storePath }
  }

  async openInstant(name: string, options: OpenInstantOptions): Promise<Instant> {
    const { folder, host } = this.world
    const { machine, sockets } = await host.describe(name)
    assert(sockets !== undefined, 'the machine runs')
    const { instant, agent } = sockets
    const instantHost = {
      clock: systemClock,
      random: systemRandom,
      journalFolder: join(folder, 'journal'),
      scratchFolder: join(folder, 'scratch'),
      runFolder: join(folder, 'run'),
      watchdog: 'elsewhere' as const,
    }
    for (const sub of ['journal', 'scratch', 'run']) await mkdir(join(folder, sub), { recursive: true, mode: 0o700 })
    const running = {
      description: machine,
      sockets: { qmpSocketPath: instant, ...(agent === undefined ? {} : { agentSocketPath: agent }) },
    }
    return openRunningInstant(instantHost, running, options)
  }

  backUp(name: string): Promise<PointRecord> {
    return backUpMachine(
      this.repository,
      { machine: name, consistency: 'application', openInstant: (options) => this.openInstant(name, options) },
      { store: this.store, clock: systemClock, random: systemRandom, writer: 'test' },
    )
  }

  /** Boots the point as machine `name`, or takes that boot up again. */
  async boot(point: PointRecord, name: string): Promise<RunningBoot> {
    const folder = join(this.world.folder, 'boot')
    await mkdir(folder, { recursive: true })
    const plan = { machine: name, folder, runtimeFolder: join(this.world.folder, 'run'), networks: [] }
    return bootPoint(this.repository, point, plan, {
      store: this.store,
      hypervisor: this.world.host,
      clock: systemClock,
    })
  }
}
