/**
 * Many machines of one image over the API of a served home, by one deployment with the template that `az vm create --count` sends:
 * each with a card of its own in one sealed subnet and an OS disk, both to go with it. The host gives room to some of them only.
 *
 * The image is the micro guest behind whose partitions lie bytes that only this run knows: who reads them reads the base.
 */
import { createHash, randomFillSync } from 'node:crypto'
import { appendFile, copyFile, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MIB, must } from '#base'
import type { QemuHypervisor } from '#engine/hypervisor'
import { microImage } from '../rig/micro-image.ts'
import { ServedHome } from '../server/served-home.ts'
import { type Answer, VERSION } from './api-world.ts'
import { FaceClient } from './face-client.ts'
import { hostOf, type Machine, MICRO_SIZE, rememberAccelerator, runIn, type StatusLine } from './machine-api-world.ts'

export const FLEET_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFleetFleetFleetFleetFleetFleetFleetFleetFlee me@here'
export const KNOWN_BYTES = 32 * MIB
const MICRO_MEMORY_MIB = 192
/** A deployment of hundreds of machines on two cores. */
const END_MS_MAX = 900_000
const POLL_MS = 200
const AT_ONCE = 16
const SCHEMA = 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#'

type Done = Readonly<{ status: string; error?: unknown }>
type Body = Readonly<Record<string, unknown>>

/** What the files of a folder take on the disk, and how many there are. */
export async function spaceOf(folder: string): Promise<Readonly<{ bytes: number; files: number }>> {
  const names = await readdir(folder).catch(() => [])
  let bytes = 0
  for (const name of names) bytes += (await stat(join(folder, name))).blocks * 512
  return { bytes, files: names.length }
}

export class Fleet {
  readonly home: ServedHome
  readonly client: FaceClient
  readonly group: string
  /** Of the known bytes, hexadecimal. */
  #sha256 = ''

  private constructor(home: ServedHome, client: FaceClient, group: string) {
    this.home = home
    this.client = client
    this.group = group
  }

  /** A server whose host gives room to that many micro machines; with a group. */
  static async make(running: number): Promise<Fleet> {
    const home = await ServedHome.make()
    try {
      await mkdir(home.home, { recursive: true, mode: 0o700 })
      const settings = `machines:\n  memory: ${running * MICRO_MEMORY_MIB}MiB\n`
      await writeFile(join(home.home, 'holdfast.yaml'), settings, { mode: 0o600 })
      await rememberAccelerator(join(home.home, 'run', 'm'))
      await home.serve()
      const client = new FaceClient(home.home)
      const { subscriptionId } = await client.record()
      const fleet = new Fleet(home, client, `/subscriptions/${subscriptionId}/resourceGroups/rg1`)
      await fleet.do('PUT', fleet.group)
      return fleet
    } catch (error) {
      await home[Symbol.asyncDispose]()
      throw error
    }
  }

  get host(): QemuHypervisor {
    return hostOf(this.home.home)
  }

  get pool(): string {
    return join(this.home.home, 'regions', 'eastus', 'pool')
  }

  get sha256(): string {
    return this.#sha256
  }

  /** `Microsoft.Compute/images`, `img`. */
  id(type: string, name: string): string {
    return `${this.group}/providers/${type}/${name}`
  }

  machineId(at: number): string {
    return this.id('Microsoft.Compute/virtualMachines', `web${at}`)
  }

  /** Asked for and followed to its end. @throws what it failed with */
  async do(method: string, path: string, properties?: Body): Promise<void> {
    const body = method === 'PUT' ? { location: 'eastus', ...(properties !== undefined && { properties }) } : undefined
    await this.follow(await this.client.ask(method, `${path}?${VERSION}`, body))
  }

  async follow(answer: Answer<unknown>): Promise<void> {
    if (answer.status >= 300) throw new Error(answer.text)
    if (answer.headers['azure-asyncoperation'] === undefined) return
    const done = await this.client.followed<Done>(answer, { timeoutMs: END_MS_MAX, pollMs: POLL_MS })
    if (done.status !== 'Succeeded') throw new Error(JSON.stringify(done))
  }

  /** Several at once, as many as a deployment asks for. */
  async all<T>(these: readonly T[], act: (one: T) => Promise<void>): Promise<void> {
    const queue = these.values()
    const work = async (): Promise<void> => {
      for (const one of queue) await act(one)
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
  }

  /** A disk with the bytes of a file, as a user would import it. */
  async importDisk(name: string, source: string, more: Body = {}): Promise<void> {
    const creationData = { createOption: 'Import', sourceUri: `file://${source}` }
    await this.do('PUT', this.id('Microsoft.Compute/disks', name), { ...more, creationData })
  }

  async importFolder(): Promise<string> {
    const folder = join(this.home.home, 'import')
    await mkdir(folder, { recursive: true, mode: 0o700 })
    return folder
  }

  /** A generalized image of a disk that is gone afterwards. */
  async imageOf(disk: string, image = 'img'): Promise<void> {
    const id = this.id('Microsoft.Compute/disks', disk)
    const osDisk = { osType: 'Linux', osState: 'Generalized', managedDisk: { id } }
    await this.do('PUT', this.id('Microsoft.Compute/images', image), { storageProfile: { osDisk } })
    await this.do('DELETE', id)
  }

  /** The image of the micro guest with known bytes behind it, and a sealed subnet. */
  async prepare(): Promise<void> {
    const source = join(await this.importFolder(), 'micro.raw')
    await copyFile(await microImage(), source)
    const known = randomFillSync(Buffer.alloc(KNOWN_BYTES))
    this.#sha256 = createHash('sha256').update(known).digest('hex')
    await appendFile(source, known)
    await this.importDisk('source', source, { osType: 'Linux' })
    await rm(source)
    await this.imageOf('source')
    const subnet = { addressPrefix: '10.9.0.0/24', defaultOutboundAccess: false }
    await this.do('PUT', this.id('Microsoft.Network/virtualNetworks', 'net'), {
      addressSpace: { addressPrefixes: ['10.9.0.0/16'] },
      subnets: [{ name: 's', properties: subnet }],
    })
  }

  /** web0, web1, ... */
  deploy(count: number): Promise<void> {
    const template = fleetTemplate(count, {
      image: this.id('Microsoft.Compute/images', 'img'),
      subnet: `${this.id('Microsoft.Network/virtualNetworks', 'net')}/subnets/s`,
      card: this.id('Microsoft.Network/networkInterfaces', 'webVMNic'),
    })
    const id = this.id('Microsoft.Resources/deployments', 'vm_deploy')
    return this.do('PUT', id, { mode: 'incremental', template, parameters: {} })
  }

  async show(at: number): Promise<Machine> {
    const answer = await this.client.ask<Machine>('GET', `${this.machineId(at)}?${VERSION}&$expand=instanceView`)
    if (answer.status !== 200) throw new Error(answer.text)
    return answer.body
  }

  /** By the number in its name. */
  async powers(count: number): Promise<StatusLine[]> {
    const lines: StatusLine[] = []
    await this.all([...Array(count).keys()], async (at) => {
      const { statuses = [] } = (await this.show(at)).properties.instanceView ?? {}
      lines[at] = must(
        statuses.find(({ code }) => code.startsWith('PowerState/')),
        'A machine has a power state',
      )
    })
    return lines
  }

  async running(count: number): Promise<number[]> {
    const lines = await this.powers(count)
    return lines.flatMap(({ code }, at) => (code === 'PowerState/running' ? [at] : []))
  }

  async run(at: number, command: string): Promise<string> {
    const { vmId } = (await this.show(at)).properties
    const found = (await this.host.discover({ monitors: false })).machines.find(({ machine }) => machine.uuid === vmId)
    return runIn(this.host, must(found, `web${at} runs`).machine.name, command)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { host } = this
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
    await this.home[Symbol.asyncDispose]()
  }
}

function fleetTemplate(count: number, ids: Readonly<{ image: string; subnet: string; card: string }>): object {
  const copy = (name: string): object => ({ copy: { name, mode: 'parallel', count } })
  const ssh = { publicKeys: [{ path: '/home/ops/.ssh/authorized_keys', keyData: FLEET_KEY }] }
  return {
    $schema: SCHEMA,
    contentVersion: '1.0.0.0',
    resources: [
      {
        type: 'Microsoft.Network/networkInterfaces',
        apiVersion: '2022-01-01',
        name: "[concat('webVMNic', copyIndex())]",
        location: 'eastus',
        properties: { ipConfigurations: [{ name: 'ipconfig', properties: { subnet: { id: ids.subnet } } }] },
        ...copy('nics'),
      },
      {
        type: 'Microsoft.Compute/virtualMachines',
        apiVersion: '2024-11-01',
        name: "[concat('web', copyIndex())]",
        location: 'eastus',
        dependsOn: ["[concat('Microsoft.Network/networkInterfaces/webVMNic', copyIndex())]"],
        properties: {
          hardwareProfile: { vmSize: MICRO_SIZE },
          storageProfile: {
            imageReference: { id: ids.image },
            osDisk: { createOption: 'fromImage', deleteOption: 'Delete' },
          },
          osProfile: {
            computerName: "[concat('web', copyIndex())]",
            adminUsername: 'ops',
            linuxConfiguration: { disablePasswordAuthentication: true, ssh },
          },
          networkProfile: {
            networkInterfaces: [{ id: `[concat('${ids.card}', copyIndex())]`, properties: { deleteOption: 'Delete' } }],
          },
        },
        ...copy('machines'),
      },
    ],
  }
}
