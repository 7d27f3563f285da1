/**
 * kill -9 of the server and of the worker while snapshots are made: an answered request is a snapshot of its instant or says
 * why there is none; nothing stays half made, and the repository holds the versions of the snapshots that there are.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB, randomUuid } from '#base'
import { Catalog, insertResource } from '#catalog'
import { openStore, parseStoreLocation, Repository } from '#engine/repository'
import { openVersion } from '#engine/transfer'
import { processState, systemClock, systemRandom } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { ServedHome } from '../server/served-home.ts'
import { VERSION } from './api-world.ts'
import { FaceClient } from './face-client.ts'
import { type Operation, type Snapshot, SNAPSHOT_VERSION } from './snapshot-world.ts'

const DISK_BYTES = 192 * MIB
/** ms after the request was sent. */
const KILLS_MS = [0, 60, 200, 600]
const ROUNDS_MAX = 5

class CrashWorld {
  readonly home: ServedHome
  readonly client: FaceClient
  readonly content = randomBytes(DISK_BYTES)
  readonly group: string

  private constructor(home: ServedHome, client: FaceClient, group: string) {
    this.home = home
    this.client = client
    this.group = group
  }

  static async make(): Promise<CrashWorld> {
    const home = await ServedHome.make()
    try {
      return await CrashWorld.#over(home)
    } catch (error) {
      await home[Symbol.asyncDispose]()
      throw error
    }
  }

  static async #over(home: ServedHome): Promise<CrashWorld> {
    await home.serve()
    const client = new FaceClient(home.home)
    const { subscriptionId } = await client.record()
    const world = new CrashWorld(home, client, `/subscriptions/${subscriptionId}/resourceGroups/rg1`)
    assert.equal((await client.ask('PUT', `${world.group}?${VERSION}`, { location: 'eastus' })).status, 201)
    await world.#makeDisk(subscriptionId)
    return world
  }

  async #makeDisk(subscription: string): Promise<void> {
    const file = join(this.home.folder, 'd1.raw')
    await writeFile(file, this.content)
    const catalog = await Catalog.open(join(this.home.home, 'catalog.sqlite'), systemClock)
    const properties = { diskState: 'Unattached', uniqueId: randomUuid(systemRandom), diskSizeBytes: DISK_BYTES }
    const row = {
      id: this.diskId('d1'),
      subscription,
      group: this.group,
      type: 'Microsoft.Compute/disks',
      name: 'd1',
      location: 'eastus',
      tags: {},
      state: 'Succeeded',
      body: { properties },
      backing: { file, format: 'raw' },
    }
    const source = { nowMs: () => systemClock.nowMs(), newEtag: () => 'W/"1"' }
    await catalog.write((trx) => insertResource(trx, row, source))
    await catalog.close()
  }

  url(name: string): string {
    return `${this.group}/providers/Microsoft.Compute/snapshots/${name}?${SNAPSHOT_VERSION}`
  }

  diskId(disk: string): string {
    return `${this.group}/providers/Microsoft.Compute/disks/${disk}`
  }

  put(name: string, incremental = false, disk = 'd1') {
    return this.client.ask<Snapshot>('PUT', this.url(name), {
      location: 'eastus',
      properties: { incremental, creationData: { createOption: 'Copy', sourceResourceId: this.diskId(disk) } },
    })
  }

  /**
   * Kills workers until one died with its instant open: it is when the request is answered, but on a machine that is fast or
   * busy the work may be done before the signal arrives, and the snapshot is whole then.
   * @returns The name of the snapshot that failed, and how many succeeded.
   */
  async killedWithInstantOpen(disk: string): Promise<{ name: string; whole: number }> {
    for (let whole = 0; whole < ROUNDS_MAX; whole += 1) {
      const name = `s${whole}`
      const answer = await this.put(name, false, disk)
      assert.equal(answer.status, 202, answer.text)
      await this.killWorker()
      const ended = await this.client.followed<Operation>(answer)
      if (ended.status !== 'Succeeded') {
        assert.equal(ended.error?.code, 'SnapshotInstantLost', JSON.stringify(ended))
        return { name, whole }
      }
    }
    throw new Error(`None of ${ROUNDS_MAX} workers died while its instant was open`)
  }

  /** The snapshot once nothing more is going on with it; undefined when there is none. */
  async settled(name: string): Promise<Snapshot | undefined> {
    return eventually(`${name} to be settled`, 120_000, async () => {
      const answer = await this.client.ask<Snapshot>('GET', this.url(name)).catch(() => undefined)
      if (answer?.status === 404) return { found: undefined }
      const state = answer?.body.properties?.provisioningState
      return state === 'Succeeded' || state === 'Failed' ? { found: answer?.body } : undefined
    }).then(({ found }) => found)
  }

  async killWorker(): Promise<void> {
    const worker = await this.home.worker()
    if (processState(worker) === 'alive') process.kill(worker.pid, 'SIGKILL')
  }

  /** What the repository holds, and whether each version has the disk's bytes. */
  async versions(): Promise<boolean[]> {
    const folder = this.home.home
    const bytes = await readFile(join(folder, 'keys', 'region-eastus.key'))
    const store = await openStore(parseStoreLocation(join(folder, 'regions', 'eastus', 'store')))
    const cacheFolder = join(this.home.folder, 'cache-of-test')
    const host = { clock: systemClock, random: systemRandom, cacheFolder, writer: 'test' }
    const repository = await Repository.open(store, { kind: 'key-file', bytes }, host)
    const same: boolean[] = []
    for (const { disks } of repository.points())
      for (const disk of disks) {
        const opened = await openVersion(repository, disk, { store, threads: 0 })
        const read = Buffer.alloc(opened.sizeBytes)
        await opened.read(0, read)
        await opened.close()
        same.push(read.equals(this.content))
      }
    await repository.close()
    return same
  }
}

test('A worker that dies with the instant open: the snapshot is Failed and says so; never a later instant', async () => {
  const world = await CrashWorld.make()
  await using _home = world.home
  const { name, whole } = await world.killedWithInstantOpen('d1')
  const shown = await world.settled(name)
  assert.equal(shown?.properties.provisioningState, 'Failed')
  assert.equal(shown?.properties.copyCompletionError?.errorCode, 'SnapshotInstantLost')
  const kept = Array.from({ length: whole }, () => true)
  assert.deepEqual(await world.versions(), kept)
  // It may be put again, and is another snapshot then.
  const again = await world.put(name)
  assert.equal(again.status, 202, again.text)
  assert.equal((await world.client.followed<Operation>(again)).status, 'Succeeded')
  assert.deepEqual(await world.versions(), [...kept, true])
})

test('A worker that dies with a running machine’s instant open: the machine goes on, and nothing is left in it', async () => {
  const machine = await BlankMachine.create([{ sizeBytes: 768 * MIB, isRandom: true }])
  try {
    const world = await CrashWorld.make()
    await using _home = world.home
    const before = await machine.graph()
    const url = `${world.group}/providers/Microsoft.Compute/virtualMachines/m`
    const adopted = await world.client.ask('POST', `${url}/adopt?${VERSION}`, {
      location: 'eastus',
      qmp: join(machine.folder, 'instant.qmp'),
    })
    assert.equal((await world.client.followed<Operation>(adopted)).status, 'Succeeded')
    await world.killedWithInstantOpen('m_OsDisk')
    await eventually('the machine to be as before', 30_000, async () =>
      JSON.stringify(await machine.graph()) === JSON.stringify(before) ? true : undefined,
    )
    assert.equal(await machine.status(), 'running')
  } finally {
    await machine.remove()
  }
})

test('A server that dies after the 202: the same URL tells of a snapshot that was made', async () => {
  const world = await CrashWorld.make()
  await using _home = world.home
  const answer = await world.put('s1')
  assert.equal(answer.status, 202, answer.text)
  await world.home.killServe()
  await world.home.serve()
  const ended = await world.client.followed<Operation>(answer)
  assert.equal(ended.status, 'Succeeded', JSON.stringify(ended))
  assert.equal((await world.settled('s1'))?.properties.timeCreated, answer.body.properties.timeCreated)
  assert.deepEqual(await world.versions(), [true])
})

for (const victim of ['serve', 'worker'] as const)
  test(`kill -9 of the ${victim} at any time after the request leaves a right state`, async () => {
    const world = await CrashWorld.make()
    await using _home = world.home
    const outcomes: string[] = []
    for (const [round, delayMs] of KILLS_MS.entries()) {
      const name = `s${round}`
      const asked = world.put(name, round % 2 === 0).then(
        (answer) => String(answer.status),
        () => 'broken',
      )
      await systemClock.sleep(delayMs)
      if (victim === 'worker') await world.killWorker()
      else {
        await world.home.killServe()
        await world.home.serve()
      }
      const said = await asked
      const found = await world.settled(name)
      const state = found?.properties.provisioningState ?? 'none'
      outcomes.push(`${delayMs} ms: ${said}, ${state}`)
      if (said === '202') assert.notEqual(state, 'none')
      if (state === 'Failed')
        assert.equal(found?.properties.copyCompletionError?.errorCode, 'SnapshotInstantLost', JSON.stringify(found))
    }
    console.log(outcomes.join('\n'))
    const list = await world.client.ask<{ value: Snapshot[] }>(
      'GET',
      `${world.group}/providers/Microsoft.Compute/snapshots?${SNAPSHOT_VERSION}`,
    )
    const whole = list.body.value.filter(({ properties }) => properties.provisioningState === 'Succeeded').length
    assert.deepEqual(
      await world.versions(),
      Array.from({ length: whole }, () => true),
    )
  })
