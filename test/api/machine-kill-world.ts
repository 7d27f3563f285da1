/**
 * Machines of a served home whose server and worker are killed: what its host runs, by the process table; how far an operation has come,
 * by the catalog. Disposing ends every QEMU of the world, by the processes that its own records name.
 */
import assert from 'node:assert/strict'
import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { must } from '#base'
import { Catalog, findResource } from '#catalog'
import type { QemuHypervisor } from '#engine/hypervisor'
import { type ProcessIdentity, processState, systemClock } from '#runtime'
import { microImage } from '../rig/micro-image.ts'
import { ServedHome } from '../server/served-home.ts'
import { type Answer, VERSION } from './api-world.ts'
import type { Done } from './disk-world.ts'
import { FaceClient } from './face-client.ts'
import { hostOf, type Machine, MICRO_SIZE, rememberAccelerator, runIn } from './machine-api-world.ts'

export type Victim = 'serve' | 'worker' | 'both'

/** Processes of QEMU that have this SMBIOS UUID. */
export async function processesOf(uuid: string): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const args = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (args[0]?.includes('qemu-system') === true && args.includes(uuid)) found.push(Number(name))
  }
  return found
}

export class KillWorld {
  readonly home: ServedHome
  readonly client: FaceClient
  readonly group: string
  #catalog: Catalog | undefined

  private constructor(home: ServedHome, client: FaceClient, group: string) {
    this.home = home
    this.client = client
    this.group = group
  }

  static async make(through: readonly string[] = []): Promise<KillWorld> {
    const home = await ServedHome.make(through)
    try {
      await rememberAccelerator(join(home.home, 'run', 'm'))
      await home.serve()
      const client = new FaceClient(home.home)
      const { subscriptionId } = await client.record()
      const group = `/subscriptions/${subscriptionId}/resourceGroups/rg1`
      assert.equal((await client.ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })).status, 201)
      return new KillWorld(home, client, group)
    } catch (error) {
      await home[Symbol.asyncDispose]()
      throw error
    }
  }

  get host(): QemuHypervisor {
    return hostOf(this.home.home)
  }

  id(kind: string, name: string): string {
    return `${this.group}/providers/Microsoft.Compute/${kind}/${name}`
  }

  url(name: string, action = ''): string {
    const id = this.id('virtualMachines', name)
    return `${id}${action === '' ? '' : `/${action}`}?${VERSION}`
  }

  put(name: string): Promise<Answer<Machine>> {
    const osDisk = { createOption: 'Empty', osType: 'Linux', diskSizeGB: 1 }
    const properties = { hardwareProfile: { vmSize: 'Holdfast_1x64' }, storageProfile: { osDisk } }
    return this.client.ask<Machine>('PUT', this.url(name), { location: 'eastus', properties })
  }

  async succeed(answer: Answer<unknown>): Promise<void> {
    assert.ok([201, 202].includes(answer.status), answer.text)
    const done = await this.client.followed<Done>(answer)
    assert.equal(done.status, 'Succeeded', JSON.stringify(done))
  }

  async made(name: string): Promise<Machine> {
    const answer = await this.put(name)
    await this.succeed(answer)
    return answer.body
  }

  async disk(name: string, creationData: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<string> {
    const id = this.id('disks', name)
    const body = { location: 'eastus', properties: { ...more, creationData } }
    await this.succeed(await this.client.ask('PUT', `${id}?${VERSION}`, body))
    return id
  }

  /** A machine of the micro guest, whose agent answers. */
  async guest(name: string): Promise<void> {
    const folder = join(this.home.home, 'import')
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const path = join(folder, 'micro.raw')
    await copyFile(await microImage(), path)
    const creationData = { createOption: 'Import', sourceUri: `file://${path}` }
    const disk = await this.disk(`${name}-os`, creationData, { osType: 'Linux' })
    const osDisk = { createOption: 'Attach', osType: 'Linux', managedDisk: { id: disk } }
    const properties = { hardwareProfile: { vmSize: MICRO_SIZE }, storageProfile: { osDisk } }
    await this.succeed(await this.client.ask('PUT', this.url(name), { location: 'eastus', properties }))
    await this.run(name, 'true')
  }

  async show(name: string): Promise<Machine> {
    const answer = await this.client.ask<Machine>('GET', `${this.url(name)}&$expand=instanceView`)
    assert.equal(answer.status, 200, answer.text)
    return answer.body
  }

  async run(name: string, command: string): Promise<string> {
    const { vmId } = (await this.show(name)).properties
    const found = (await this.host.discover({ monitors: false })).machines.find(({ machine }) => machine.uuid === vmId)
    return runIn(this.host, must(found, `${name} is on its host`).machine.name, command)
  }

  /** Where the bytes of a disk lie. */
  async fileOf(kind: string, name: string): Promise<string> {
    const record = await findResource(await this.#open(), this.id(kind, name))
    return String(must(record, 'It is there').backing['file'])
  }

  filesIn(folder: string): Promise<string[]> {
    return readdir(join(this.home.home, folder))
  }

  async #open(): Promise<Catalog> {
    return (this.#catalog ??= await Catalog.open(join(this.home.home, 'catalog.sqlite'), systemClock))
  }

  /** What is on record of an operation: its steps and milestones, in their order, and whether it is over. */
  async progressOf(answer: Answer<unknown>): Promise<Readonly<{ reached: number; isOver: boolean }>> {
    const [, id = ''] = /\/([0-9a-f-]{36})\?/.exec(String(answer.headers['azure-asyncoperation'])) ?? []
    const { db } = await this.#open()
    const job = await db.selectFrom('job').select('status').where('id', '=', id).executeTakeFirst()
    const kinds = ['step_begun', 'milestone']
    const events = await db
      .selectFrom('job_event')
      .select('sequence')
      .where('job_id', '=', id)
      .where('kind', 'in', kinds)
      .execute()
    return { reached: events.length, isOver: ['succeeded', 'failed', 'cancelled'].includes(String(job?.status)) }
  }

  async power(name: string): Promise<string | undefined> {
    const { statuses = [] } = (await this.show(name)).properties.instanceView ?? {}
    return statuses.find(({ code }) => code.startsWith('PowerState/'))?.code.slice('PowerState/'.length)
  }

  /** Those of them that serve are there again afterwards, the worker soon. */
  async kill(victim: Victim): Promise<void> {
    const killed = victim === 'serve' ? Promise.resolve() : this.#killWorker()
    if (victim !== 'worker') await this.home.killServe()
    await killed
    if (victim !== 'worker') await this.home.serve()
  }

  /** By its record: to ask for it takes longer than the moment that is meant. */
  async #killWorker(): Promise<void> {
    const worker = JSON.parse(await readFile(join(this.home.home, 'run', 'worker.json'), 'utf8')) as ProcessIdentity
    if (processState(worker) === 'alive') process.kill(worker.pid, 'SIGKILL')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { host } = this
    await this.#catalog?.close()
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
    await this.home[Symbol.asyncDispose]()
  }
}
