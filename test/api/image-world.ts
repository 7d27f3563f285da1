/** What tests of images share: images put and followed, disks made from them, what lies in the pool. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { findResource } from '#catalog'
import type { DiskBacking } from '#domain'
import { type Answer, followed, VERSION } from './api-world.ts'
import { type Done, DiskWorld } from './disk-world.ts'

export type Image = {
  id: string
  name: string
  location: string
  tags: Record<string, string>
  properties: {
    provisioningState: string
    hyperVGeneration: string
    sourceVirtualMachine?: { id: string }
    storageProfile: {
      osDisk: Record<string, unknown>
      dataDisks: Record<string, unknown>[]
      zoneResilient: boolean
    }
  }
}

export class ImageWorld {
  readonly disks: DiskWorld

  private constructor(disks: DiskWorld) {
    this.disks = disks
  }

  static async make(): Promise<ImageWorld> {
    return new ImageWorld(await DiskWorld.make())
  }

  id(name: string): string {
    return `${this.disks.group}/providers/Microsoft.Compute/images/${name}`
  }

  put(name: string, properties: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<Answer<Image>> {
    const body = { location: 'eastus', properties, ...more }
    return this.disks.ask<Image>('PUT', `${this.id(name)}?${VERSION}`, body)
  }

  /** An image whose OS disk is made of this, and whose data disks of these, by LUN. */
  of(name: string, os: Record<string, unknown>, data: readonly Record<string, unknown>[] = []): Promise<Answer<Image>> {
    const osDisk = { osType: 'Linux', osState: 'Generalized', ...os }
    return this.put(name, { hyperVGeneration: 'V1', storageProfile: { osDisk, dataDisks: data } })
  }

  async get(name: string): Promise<Image> {
    const answer = await this.disks.ask<Image>('GET', `${this.id(name)}?${VERSION}`)
    assert.equal(answer.status, 200, answer.text)
    return answer.body
  }

  async end(answer: Answer<unknown>): Promise<Done> {
    assert.ok([201, 202].includes(answer.status), answer.text)
    return (await followed<Done>(this.disks.ask, answer)).body
  }

  async made(answer: Answer<Image>): Promise<Image> {
    const done = await this.end(answer)
    assert.equal(done.status, 'Succeeded', JSON.stringify(done))
    return this.get(answer.body.name)
  }

  async delete(name: string): Promise<void> {
    const done = await this.end(await this.disks.ask('DELETE', `${this.id(name)}?${VERSION}`))
    assert.equal(done.status, 'Succeeded', JSON.stringify(done))
    assert.equal((await this.disks.ask('GET', `${this.id(name)}?${VERSION}`)).status, 404)
  }

  async deleteDisk(name: string): Promise<void> {
    await this.disks.succeed(await this.disks.ask('DELETE', this.disks.at(name)))
  }

  /** A disk made from an image. */
  async disk(name: string, image: string, more: Readonly<{ lun?: number; diskSizeGB?: number }> = {}): Promise<string> {
    const { lun, ...size } = more
    const imageReference = { id: this.id(image), ...(lun !== undefined && { lun }) }
    await this.disks.succeed(
      await this.disks.put(name, { creationData: { createOption: 'FromImage', imageReference }, ...size }),
    )
    return this.disks.file(name)
  }

  async diskBacking(name: string): Promise<DiskBacking> {
    const record = await findResource(this.disks.api.catalog, this.disks.id(name))
    assert.ok(record !== undefined, name)
    return record.backing as unknown as DiskBacking
  }

  get pool(): string {
    return join(this.disks.api.home.folder, 'regions', 'eastus', 'pool')
  }

  /** File names of the bases that are there, drafts included. */
  async bases(): Promise<string[]> {
    return readdir(join(this.pool, 'bases')).catch(() => [])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.disks[Symbol.asyncDispose]()
  }
}
