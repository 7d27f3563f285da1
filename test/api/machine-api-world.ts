/**
 * Machines over the API, with real micro guests: an ApiWorld whose worker runs them, and the micro guest's system disk as a disk
 * of it. Disposing ends every QEMU of the world, by the processes that its own records name.
 */
import assert from 'node:assert/strict'
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { must } from '#base'
import { findResource, type ResourceRecord } from '#catalog'
import { chooseAccelerator, guestExec, type QemuHypervisor, withAgent } from '#engine/hypervisor'
import { openMachineHost } from '#jobs'
import { systemClock, systemRandom } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { microImage } from '../rig/micro-image.ts'
import { type Answer, ApiWorld, type Ask, followed, VERSION } from './api-world.ts'
import type { Disk, Done } from './disk-world.ts'

export type StatusLine = { code: string; level: string; displayStatus: string; message?: string }
export type Machine = {
  id: string
  name: string
  location: string
  tags: Record<string, string>
  properties: {
    vmId: string
    provisioningState: string
    timeCreated: string
    hardwareProfile: { vmSize: string }
    storageProfile: {
      osDisk: { name: string; osType: string; createOption: string; managedDisk: { id: string } }
      dataDisks: { lun: number; name: string; managedDisk: { id: string } }[]
    }
    osProfile?: Record<string, unknown>
    instanceView?: { statuses: StatusLine[]; vmAgent?: { statuses: StatusLine[] }; computerName?: string }
  }
}
export type Failure = { error: { code: string; message: string; target?: string } }

const COMPUTE = 'providers/Microsoft.Compute'
/** What the micro guest needs. */
export const MICRO_SIZE = 'Holdfast_1x192'
const BOOT_MS_MAX = 120_000

const sharedAnswer = join(tmpdir(), `hf-accelerator-${process.pid}`)
let probed: Promise<unknown> | undefined

/** The probe for an accelerator takes seconds where KVM is broken; one answer serves all worlds of a test process. */
export async function rememberAccelerator(runtimeFolder: string): Promise<void> {
  probed ??= chooseAccelerator('qemu-system-x86_64', sharedAnswer, systemClock)
  await probed
  await mkdir(runtimeFolder, { recursive: true, mode: 0o711 })
  for (const name of await readdir(sharedAnswer))
    await writeFile(join(runtimeFolder, name), await readFile(join(sharedAnswer, name)))
}

/** The driver of the machines of a home, beside the worker's. */
export function hostOf(home: string): QemuHypervisor {
  return openMachineHost({ clock: systemClock, random: systemRandom, stateFolder: home }).hypervisor as QemuHypervisor
}

/** Runs a shell command in a guest once its agent answers. @throws when it fails */
export async function runIn(host: QemuHypervisor, machine: string, command: string): Promise<string> {
  const { sockets } = await host.describe(machine)
  const socket = must(sockets?.agent, `${machine} runs`)
  const result = await withAgent(socket, { clock: systemClock, readyTimeoutMs: BOOT_MS_MAX }, (agent) =>
    guestExec(agent, systemClock, { path: '/bin/sh', args: ['-c', command], timeoutMs: 60_000 }),
  )
  assert.equal(result.exitCode, 0, `${command}: ${result.stderr.toString()}`)
  return result.stdout.toString()
}

export class MachineApiWorld {
  readonly api: ApiWorld
  readonly ask: Ask
  readonly group: string

  private constructor(api: ApiWorld, ask: Ask) {
    this.api = api
    this.ask = ask
    this.group = `${api.subscription}/resourceGroups/rg1`
  }

  static async make(): Promise<MachineApiWorld> {
    const api = await ApiWorld.make()
    const world = new MachineApiWorld(api, await api.asker())
    await rememberAccelerator(join(api.home.folder, 'run', 'm'))
    const made = await world.ask('PUT', `${world.group}?${VERSION}`, { location: 'eastus' })
    assert.equal(made.status, 201, made.text)
    return world
  }

  /** Over a face that was begun again. */
  static async over(api: ApiWorld): Promise<MachineApiWorld> {
    return new MachineApiWorld(api, await api.asker())
  }

  get host(): QemuHypervisor {
    return hostOf(this.api.home.folder)
  }

  diskId(name: string): string {
    return `${this.group}/${COMPUTE}/disks/${name}`
  }

  id(name: string): string {
    return `${this.group}/${COMPUTE}/virtualMachines/${name}`
  }

  url(name: string, action = ''): string {
    return `${this.id(name)}${action === '' ? '' : `/${action}`}?${VERSION}`
  }

  /** The end of what an answer began; at once where it began nothing. */
  async end(answer: Answer<unknown>): Promise<Done> {
    assert.ok([200, 201, 202].includes(answer.status), answer.text)
    if (answer.headers['azure-asyncoperation'] === undefined) return { status: 'Succeeded' }
    return (await followed<Done>(this.ask, answer)).body
  }

  async succeed(answer: Answer<unknown>): Promise<Done> {
    const done = await this.end(answer)
    assert.equal(done.status, 'Succeeded', JSON.stringify(done))
    return done
  }

  /** A disk that the micro guest boots from, imported as a user would. */
  async microDisk(name: string, more: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const folder = join(this.api.home.folder, 'import')
    await mkdir(folder, { recursive: true })
    const path = join(folder, 'micro.raw')
    await copyFile(await microImage(more['hyperVGeneration'] === 'V2' ? 'uefi' : 'bios'), path)
    const creationData = { createOption: 'Import', sourceUri: `file://${path}` }
    const properties = { osType: 'Linux', ...more, creationData }
    await this.succeed(await this.ask('PUT', `${this.diskId(name)}?${VERSION}`, { location: 'eastus', properties }))
    await rm(path)
    return this.diskId(name)
  }

  async emptyDisk(name: string, diskSizeGB = 1): Promise<string> {
    const properties = { diskSizeGB, creationData: { createOption: 'Empty' } }
    await this.succeed(await this.ask('PUT', `${this.diskId(name)}?${VERSION}`, { location: 'eastus', properties }))
    return this.diskId(name)
  }

  async disk(name: string): Promise<Disk> {
    return (await this.ask<Disk>('GET', `${this.diskId(name)}?${VERSION}`)).body
  }

  body(more: Readonly<Record<string, unknown>>, size = MICRO_SIZE): Record<string, unknown> {
    return { location: 'eastus', properties: { hardwareProfile: { vmSize: size }, ...more } }
  }

  /** A machine with an OS disk that is there. */
  put(name: string, osDisk: string, more: Readonly<Record<string, unknown>> = {}): Promise<Answer<Machine>> {
    const { dataDisks, size, deleteOption = null, tags, ...properties } = more
    const os = { createOption: 'Attach', osType: 'Linux', managedDisk: { id: osDisk }, deleteOption }
    const storageProfile = { osDisk: os, ...(dataDisks !== undefined && { dataDisks }) }
    const body = this.body({ storageProfile, ...properties }, typeof size === 'string' ? size : MICRO_SIZE)
    return this.ask<Machine>('PUT', this.url(name), { ...body, ...(tags !== undefined && { tags }) })
  }

  async show(name: string): Promise<Machine> {
    const answer = await this.ask<Machine>('GET', `${this.url(name)}&$expand=instanceView`)
    assert.equal(answer.status, 200, answer.text)
    return answer.body
  }

  async powerLine(name: string): Promise<StatusLine> {
    const { instanceView } = (await this.show(name)).properties
    const line = instanceView?.statuses.find(({ code }) => code.startsWith('PowerState/'))
    return must(line, 'A machine has a power state')
  }

  async power(name: string): Promise<string> {
    return (await this.powerLine(name)).code.slice('PowerState/'.length)
  }

  async command(name: string, action: string, body?: unknown): Promise<Done> {
    return this.end(await this.ask('POST', this.url(name, action), body))
  }

  async commanded(name: string, action: string, body?: unknown): Promise<Done> {
    return this.succeed(await this.ask('POST', this.url(name, action), body))
  }

  async delete(name: string): Promise<void> {
    await this.succeed(await this.ask('DELETE', this.url(name)))
  }

  async record(name: string): Promise<ResourceRecord> {
    return must(await findResource(this.api.catalog, this.id(name)), `There is a machine ${name}`)
  }

  /** Its name at the hypervisor. */
  async hostName(name: string): Promise<string> {
    return String((await this.record(name)).backing['machine'])
  }

  async processId(name: string): Promise<number | undefined> {
    return (await this.host.describe(await this.hostName(name))).processId
  }

  async run(name: string, command: string): Promise<string> {
    return runIn(this.host, await this.hostName(name), command)
  }

  async ready(name: string): Promise<void> {
    await this.run(name, 'true')
  }

  async untilPower(name: string, power: string): Promise<void> {
    await eventually(`${name} is ${power}`, 60_000, async () => ((await this.power(name)) === power ? true : undefined))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { host } = this
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
    await this.api[Symbol.asyncDispose]()
    await rm(sharedAnswer, { recursive: true, force: true })
    probed = undefined
  }
}
