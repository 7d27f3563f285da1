import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB } from '#base'
import { type Instant, openRunningInstant, type OpenInstantOptions } from '#engine/hypervisor'
import { FolderStore, type PointRecord, Repository } from '#engine/repository'
import { backUpMachine, bootPoint, verifyWithKey } from '#engine/transfer'
import { systemClock, systemRandom } from '#runtime'
import { MachineWorld } from '../hypervisor/machine-world.ts'

const credential = { kind: 'passphrase', passphrase: 'a test' } as const

class ProtectedWorld {
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
}

const checksum = 'sha256sum /data/vdb/a /data/vdb/b 2>/dev/null'

test('A running machine is backed up, changes, is backed up by its bitmap, is lost, and boots from the point at once', async () => {
  await using world = await MachineWorld.make()
  const data = {
    lun: 1,
    role: 'data',
    bus: 'virtio-blk',
    serial: 'DATA',
    source: { from: 'empty', sizeBytes: 4096 * MIB },
  } as const
  await world.makeMicro('m', { disks: [data] })
  await world.host.start('m')
  await world.waitReady('m')
  const guarded = await ProtectedWorld.make(world)
  await world.run(
    'm',
    'mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/vdb && mkdir -p /data/vdb && mount /dev/vdb /data/vdb && dd if=/dev/urandom of=/data/vdb/a bs=1M count=20 2>/dev/null && sync',
  )
  const first = await guarded.backUp('m')
  assert.deepEqual(
    [first.mode, first.consistency, first.disks.map(({ mode }) => mode)],
    ['full', 'application', ['full', 'full']],
  )
  await world.run('m', 'dd if=/dev/urandom of=/data/vdb/b bs=1M count=8 conv=fsync 2>/dev/null && sync')
  const sums = await world.run('m', checksum)
  const second = await guarded.backUp('m')
  assert.deepEqual(
    second.disks.map(({ mode }) => mode),
    ['incremental', 'incremental'],
  )
  const read = second.disks.reduce((sum, disk) => sum + disk.readBytes, 0)
  assert.ok(read >= 8 * MIB && read < 40 * MIB, `an incremental reads what changed, not ${read} bytes`)
  assert.deepEqual((await verifyWithKey(guarded.repository, { store: guarded.store })).damage, [])

  await world.host.powerOff('m')
  await world.host.delete('m', { disks: 'delete' })
  const folder = join(world.folder, 'boot')
  await mkdir(folder)
  const plan = { machine: 'm2', folder, runtimeFolder: join(world.folder, 'run'), networks: [] }
  const environment = { store: guarded.store, hypervisor: world.host, clock: systemClock }
  const boot = await bootPoint(guarded.repository, second, plan, environment)
  await world.waitReady('m2')
  await world.run(
    'm2',
    'mkdir -p /data/vdb; mount /dev/vdb /data/vdb; echo mine > /data/vdb/written-while-hydrating; sync',
  )
  assert.equal(await world.run('m2', checksum), sums, 'what was written before the instant is there')
  await boot.close()
  const again = await bootPoint(guarded.repository, second, plan, environment)
  await again.hydrated()
  await again.close()
  assert.equal(
    await world.run('m2', `echo 3 > /proc/sys/vm/drop_caches; ${checksum}`),
    sums,
    'with nobody serving any more',
  )
  assert.equal((await world.run('m2', 'cat /data/vdb/written-while-hydrating')).trim(), 'mine')
  await assert.rejects(bootPoint(guarded.repository, second, plan, environment), { code: 'machine_exists' })
  assert.equal(
    (await world.run('m2', 'cat /data/vdb/written-while-hydrating')).trim(),
    'mine',
    'its disks were not replaced',
  )
  await guarded.repository.close()
})
