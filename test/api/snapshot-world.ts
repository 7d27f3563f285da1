/** What the tests of snapshots share: disks as records over images of their own, and the bytes behind a snapshot. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MIB, randomUuid } from '#base'
import { findResource, insertResource, type ResourceRecord } from '#catalog'
import type { DiskBacking, SnapshotBacking } from '#domain'
import { recordedWatchdog } from '#engine/hypervisor'
import { openStore, parseStoreLocation, type PointRecord, Repository } from '#engine/repository'
import { openVersion } from '#engine/transfer'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { type Answer, ApiWorld, type Ask, followed, VERSION } from './api-world.ts'

export const SNAPSHOT_VERSION = 'api-version=2023-10-02'

export type Snapshot = {
  id: string
  name: string
  location: string
  tags: Record<string, string>
  sku: { name: string; tier: string }
  properties: {
    provisioningState: string
    incremental: boolean
    timeCreated: string
    completionPercent: number
    diskSizeBytes: number
    diskSizeGB: number
    uniqueId: string
    incrementalSnapshotFamilyId?: string
    creationData: { createOption: string; sourceResourceId: string; sourceUniqueId: string }
    copyCompletionError?: { errorCode: string; errorMessage: string }
    consistencyGroup?: { name: string; skewMs: number; pauseMs: number; consistency: string }
    networkAccessPolicy: string
  }
}
export type Operation = { status: string; error?: { code: string; message: string }; properties?: { output: unknown } }
export type Failure = { error: { code: string; message: string; target?: string } }

const source = {
  nowMs: () => systemClock.nowMs(),
  newEtag: () => `W/"${randomUuid(systemRandom)}"`,
}

export type MadeDisk = Readonly<{ id: string; uniqueId: string; file: string; content: Buffer }>

/** Sectors that say where they belong, and do not compress. */
export function content(bytes: number, disk: number, version: number): Buffer {
  const made = randomBytes(bytes)
  for (let at = 0; at < bytes; at += 512) made.write(`disk ${disk} sector ${at / 512} version ${version} `, at)
  return made
}

export class SnapshotWorld {
  readonly world: ApiWorld
  readonly ask: Ask
  readonly group: string

  private constructor(world: ApiWorld, ask: Ask) {
    this.world = world
    this.ask = ask
    this.group = `${world.subscription}/resourceGroups/rg1`
  }

  static async make(): Promise<SnapshotWorld> {
    const world = await ApiWorld.make()
    const ask = await world.asker()
    const made = new SnapshotWorld(world, ask)
    assert.equal((await ask('PUT', `${made.group}?${VERSION}`, { location: 'eastus' })).status, 201)
    return made
  }

  snapshotId(name: string): string {
    return `${this.group}/providers/Microsoft.Compute/snapshots/${name}`
  }

  /** A disk record over an image, as creating or adopting one leaves it. */
  async record(
    name: string,
    given: Readonly<{ file: string; format: 'qcow2' | 'raw'; sizeBytes: number; machine?: DiskBacking['machine'] }>,
  ): Promise<Readonly<{ id: string; uniqueId: string }>> {
    const { file, format, sizeBytes, machine } = given
    const id = `${this.group}/providers/Microsoft.Compute/disks/${name}`
    const uniqueId = randomUuid(systemRandom)
    const backing: DiskBacking = { file, format, ...(machine !== undefined && { machine }) }
    const properties = {
      creationData: { createOption: 'Empty' },
      diskSizeBytes: sizeBytes,
      diskSizeGB: 1,
      diskState: machine === undefined ? 'Unattached' : 'Attached',
      osType: 'Linux',
      uniqueId,
    }
    const row = {
      id,
      subscription: this.world.record.subscriptionId,
      group: this.group,
      type: 'Microsoft.Compute/disks',
      name,
      location: 'eastus',
      tags: {},
      state: 'Succeeded',
      body: { sku: { name: 'Standard_LRS' }, properties },
      backing: backing as Readonly<Record<string, unknown>>,
    }
    await this.world.catalog.write((trx) => insertResource(trx, row, source))
    return { id, uniqueId }
  }

  /** An unattached disk whose first `writtenBytes` are written. */
  async disk(name: string, number: number, sizeBytes = 8 * MIB, writtenBytes = 4 * MIB): Promise<MadeDisk> {
    const bytes = Buffer.alloc(sizeBytes)
    content(writtenBytes, number, 1).copy(bytes)
    const raw = join(this.world.home.folder, `${name}.raw`)
    const file = join(this.world.home.folder, `${name}.qcow2`)
    await writeFile(raw, bytes)
    await checkCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, file])
    return { ...(await this.record(name, { file, format: 'qcow2', sizeBytes })), file, content: bytes }
  }

  /** Writes into an unattached disk's image as a machine would between two runs. */
  async write(disk: MadeDisk, offset: number, bytes: Buffer): Promise<void> {
    const pattern = join(this.world.home.folder, 'pattern')
    await writeFile(pattern, bytes)
    const line = `write -s ${pattern} ${offset} ${bytes.length}`
    await checkCommand('qemu-io', ['-f', 'qcow2', '-c', line, disk.file])
    bytes.copy(disk.content, offset)
  }

  put(name: string, sourceId: string, more: Readonly<Record<string, unknown>> = {}): Promise<Answer<Snapshot>> {
    const { location = 'eastus', createOption = 'Copy', tags = {}, sku, ...properties } = more
    return this.ask<Snapshot>('PUT', `${this.snapshotId(name)}?${SNAPSHOT_VERSION}`, {
      location,
      tags,
      ...(sku !== undefined && { sku: { name: sku } }),
      properties: { ...properties, creationData: { createOption, sourceResourceId: sourceId } },
    })
  }

  /** As `put`, and its operation followed to its success. */
  async made(name: string, sourceId: string, more: Readonly<Record<string, unknown>> = {}): Promise<Snapshot> {
    const answer = await this.put(name, sourceId, more)
    assert.equal(answer.status, 202, answer.text)
    const ended = await followed<Operation>(this.ask, answer)
    assert.equal(ended.body.status, 'Succeeded', ended.text)
    return (await this.get(name)).body
  }

  get(name: string): Promise<Answer<Snapshot>> {
    return this.ask<Snapshot>('GET', `${this.snapshotId(name)}?${SNAPSHOT_VERSION}`)
  }

  async deleted(name: string): Promise<Operation> {
    const answer = await this.ask('DELETE', `${this.snapshotId(name)}?${SNAPSHOT_VERSION}`)
    assert.equal(answer.status, 202, answer.text)
    return (await followed<Operation>(this.ask, answer)).body
  }

  async row(id: string): Promise<ResourceRecord> {
    const found = await findResource(this.world.catalog, id)
    assert.ok(found !== undefined, id)
    return found
  }

  /** Opens a region's repository beside whoever else has it open. */
  async inRegion<T>(region: string, use: (repository: Repository) => Promise<T>): Promise<T> {
    const { folder } = this.world.home
    const bytes = await readFile(join(folder, 'keys', `region-${region}.key`))
    const store = await openStore(parseStoreLocation(join(folder, 'regions', region, 'store')))
    const host = {
      clock: systemClock,
      random: systemRandom,
      cacheFolder: join(folder, 'cache-of-test'),
      writer: 'test',
    }
    const repository = await Repository.open(store, { kind: 'key-file', bytes }, host)
    try {
      return await use(repository)
    } finally {
      await repository.close()
    }
  }

  async pointOf(id: string): Promise<PointRecord> {
    const { version } = (await this.row(id)).backing as SnapshotBacking
    assert.ok(version !== undefined, 'A snapshot that is done has a version')
    return this.inRegion(version.region, (repository) => Promise.resolve(repository.findPoint(version.point)))
  }

  /** All bytes that the snapshot shows. */
  async bytesOf(name: string): Promise<Buffer> {
    const { version } = (await this.row(this.snapshotId(name))).backing as SnapshotBacking
    assert.ok(version !== undefined, 'A snapshot that is done has a version')
    return this.inRegion(version.region, async (repository) => {
      const disk = repository.findPoint(version.point).disks.find(({ id }) => id === version.disk)
      assert.ok(disk !== undefined)
      const opened = await openVersion(repository, disk, { store: repository.store, threads: 0 })
      const bytes = Buffer.alloc(opened.sizeBytes)
      await opened.read(0, bytes)
      await opened.close()
      return bytes
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const journals = join(this.world.home.folder, 'instants')
    const names = existsSync(journals) ? await readdir(journals, { withFileTypes: true }) : []
    for (const entry of names) {
      const watchdog = entry.isDirectory() ? await recordedWatchdog(join(journals, entry.name)) : undefined
      if (watchdog !== undefined) process.kill(watchdog.pid, 'SIGKILL')
    }
    await this.world[Symbol.asyncDispose]()
  }
}
