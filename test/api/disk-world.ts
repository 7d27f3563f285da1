/** What tests of disks share: a group, disks made and waited for, their bytes by qemu-img, content that says where it belongs. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findResource } from '#catalog'
import { stampedBytes } from '#engine/block'
import { type Answer, ApiWorld, type Ask, followed, VERSION } from './api-world.ts'

const run = promisify(execFile)

export type Disk = {
  id: string
  name: string
  location: string
  tags: Record<string, string>
  managedBy?: string
  sku: { name: string; tier: string }
  properties: {
    provisioningState: string
    diskState: string
    diskSizeGB: number
    diskSizeBytes: number
    uniqueId: string
    timeCreated: string
    completionPercent?: number
    creationData: Record<string, unknown>
  }
}
export type Failure = { error: { code: string; message: string; target?: string } }
export type Done = { status: string; error?: { code: string; message: string }; properties?: { output?: unknown } }

export class DiskWorld {
  readonly api: ApiWorld
  readonly ask: Ask
  readonly folder: string

  private constructor(api: ApiWorld, ask: Ask) {
    this.api = api
    this.ask = ask
    this.folder = join(api.home.folder, 'import')
  }

  static async make(): Promise<DiskWorld> {
    const api = await ApiWorld.make()
    const ask = await api.asker()
    const world = new DiskWorld(api, ask)
    await mkdir(world.folder)
    const made = await ask('PUT', `${world.group}?${VERSION}`, { location: 'eastus' })
    assert.equal(made.status, 201, made.text)
    return world
  }

  /** Over a face that was begun again. */
  static async over(api: ApiWorld): Promise<DiskWorld> {
    return new DiskWorld(api, await api.asker())
  }

  get group(): string {
    return `${this.api.subscription}/resourceGroups/rg1`
  }

  id(name: string): string {
    return `${this.group}/providers/Microsoft.Compute/disks/${name}`
  }

  at(name: string, action = ''): string {
    return `${this.id(name)}${action === '' ? '' : `/${action}`}?${VERSION}`
  }

  put(name: string, properties: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<Answer<Disk>> {
    return this.ask<Disk>('PUT', this.at(name), { location: 'eastus', properties, ...more })
  }

  /** Follows an answer that is 202 to its end. */
  async end(answer: Answer<unknown>): Promise<Done> {
    assert.equal(answer.status, 202, answer.text)
    return (await followed<Done>(this.ask, answer)).body
  }

  async succeed(answer: Answer<unknown>): Promise<Done> {
    const done = await this.end(answer)
    assert.equal(done.status, 'Succeeded', JSON.stringify(done))
    return done
  }

  async disk(name: string): Promise<Disk> {
    const answer = await this.ask<Disk>('GET', this.at(name))
    assert.equal(answer.status, 200, answer.text)
    return answer.body
  }

  /** A disk of these bytes, by way of the import folder. */
  async import(name: string, bytes: Uint8Array): Promise<Disk> {
    const path = join(this.folder, `${name}.raw`)
    await writeFile(path, bytes)
    await this.succeed(await this.put(name, { creationData: { createOption: 'Import', sourceUri: `file://${path}` } }))
    await rm(path)
    return this.disk(name)
  }

  async file(name: string): Promise<string> {
    const record = await findResource(this.api.catalog, this.id(name))
    return String(record?.backing['file'])
  }

  /** The disk's bytes, as QEMU reads its image. */
  async bytes(name: string): Promise<Buffer> {
    return imageBytes(await this.file(name), 'qcow2', join(this.api.home.folder, `${name}.out`))
  }

  async grant(name: string, access = 'Read', durationInSeconds = 600): Promise<string> {
    const begun = await this.ask('POST', this.at(name, 'beginGetAccess'), { access, durationInSeconds })
    const done = await this.succeed(begun)
    const { accessSAS } = outputOf(done)
    const location = await this.ask<{ accessSAS: string }>('GET', String(begun.headers['location']))
    assert.equal(location.status, 200)
    assert.equal(location.body.accessSAS, accessSAS, 'both URLs of the operation say the same')
    return accessSAS
  }

  async revoke(name: string): Promise<Done> {
    return this.end(await this.ask('POST', this.at(name, 'endGetAccess')))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api[Symbol.asyncDispose]()
  }
}

export async function imageBytes(path: string, format: string, out: string): Promise<Buffer> {
  await run('qemu-img', ['convert', '-f', format, '-O', 'raw', path, out])
  try {
    return await readFile(out)
  } finally {
    await rm(out)
  }
}

export async function qemuImg(...args: string[]): Promise<string> {
  return (await run('qemu-img', args)).stdout
}

/** A disk of `sizeBytes` with stamped content in its first, a middle and its last part, and holes between. */
export function patchyDisk(disk: number, sizeBytes: number, version = 1): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  for (const offset of [0, Math.floor(sizeBytes / 2 / 512) * 512 + 512, sizeBytes - 64 * 1024])
    stampedBytes({ disk, version }, offset, 64 * 1024).copy(bytes, offset)
  return bytes
}

export function assertSameBytes(found: Uint8Array, expected: Uint8Array, what: string): void {
  assert.equal(found.length, expected.length, `${what}: length`)
  const at = Buffer.compare(found, expected) === 0 ? -1 : found.findIndex((byte, index) => byte !== expected[index])
  assert.equal(at, -1, `${what}: the first other byte is at ${at}`)
}

/** What `beginGetAccess` gave. */
export function outputOf(done: Done): Readonly<{ accessSAS: string }> {
  const output = done.properties?.output
  assert.ok(typeof output === 'object' && output !== null && 'accessSAS' in output, JSON.stringify(done))
  return output as { accessSAS: string }
}
