/** What tests of vaults share: regions with stores, vaults made and waited for, records of items as protection makes them. */
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { findResource, insertProtectedItem, type ProtectedItem, putRegion, putStore } from '#catalog'
import { type VaultBacking, vaultBackingOf } from '#jobs'
import { systemClock, systemRandom } from '#runtime'
import { type Answer, ApiWorld, type Ask, followed } from './api-world.ts'

export const VERSION = 'api-version=2025-02-01'
export type Failure = { error: { code: string; message: string; target?: string } }
export type Vault = {
  id: string
  name: string
  etag: string
  location: string
  tags: Record<string, string>
  properties: {
    provisioningState: string
    redundancySettings: Record<string, string>
    securitySettings: {
      softDeleteSettings: { softDeleteState: string; softDeleteRetentionPeriodInDays: number }
      immutabilitySettings: Record<string, unknown>
    }
    secureScore: string
  }
}

export const failed = (answer: Answer<unknown>): Failure['error'] => (answer.body as Failure).error

export class VaultsWorld {
  readonly api: ApiWorld
  readonly ask: Ask
  readonly group: string

  private constructor(api: ApiWorld, ask: Ask) {
    this.api = api
    this.ask = ask
    this.group = `${api.subscription}/resourceGroups/rg`
  }

  /** Two regions with a store each, the one paired with the other; a third that is not. */
  static async make(): Promise<VaultsWorld> {
    const api = await ApiWorld.make()
    const world = new VaultsWorld(api, await api.asker())
    for (const [name, pair] of [
      ['here', 'there'],
      ['there', 'here'],
      ['alone', undefined],
    ] as const) {
      // prettier-ignore
      const store = join(api.home.folder, `store-${name}`)
      await mkdir(store)
      await api.catalog.write(async (trx) => {
        await putRegion(trx, { name, displayName: name, pair, geography: 'Private', createdMs: 1 })
        const row = {
          region: name,
          name: 'first',
          location: store,
          repositoryId: undefined,
          shared: false,
          createdMs: 1,
        }
        await putStore(trx, name === 'alone' ? { ...row, failureDomains: 3 } : row)
      })
    }
    assert.equal((await world.ask('PUT', `${world.group}?${VERSION}`, { location: 'here' })).status, 201)
    return world
  }

  id(name: string): string {
    return `${this.group}/providers/Microsoft.RecoveryServices/vaults/${name}`
  }

  async make(name: string, more: object = {}, location = 'here'): Promise<Vault> {
    const body = { location, sku: { name: 'Standard' }, properties: { publicNetworkAccess: 'Enabled', ...more } }
    const answer = await this.ask<Vault>('PUT', `${this.id(name)}?${VERSION}`, body)
    assert.equal(answer.status, 201, answer.text)
    assert.match(
      String(answer.headers['azure-asyncoperation']),
      /\/locations\/[a-z]+\/operationStatus\/[0-9a-f-]{36}\?/,
    )
    const end = await followed<{ status: string }>(this.ask, answer)
    assert.equal(end.body.status, 'Succeeded', end.text)
    return (await this.ask<Vault>('GET', `${this.id(name)}?${VERSION}`)).body
  }

  async backing(name: string): Promise<VaultBacking> {
    return vaultBackingOf((await findResource(this.api.catalog, this.id(name))) ?? assert.fail(name))
  }

  /** A record of an item, as the protection of a machine makes one. */
  async protect(name: string, machine: string, more: Partial<ProtectedItem> = {}): Promise<ProtectedItem> {
    const container = `IaasVMContainer;iaasvmcontainerv2;rg;${machine}`
    const id = `${this.id(name)}/backupFabrics/Azure/protectionContainers/${container}/protectedItems/VM;iaasvmcontainerv2;rg;${machine}`
    const machineId = `${this.group}/providers/Microsoft.Compute/virtualMachines/${machine}`
    const item: ProtectedItem = {
      key: id.toLowerCase(),
      id,
      vaultKey: this.id(name).toLowerCase(),
      name: `VM;iaasvmcontainerv2;rg;${machine}`,
      machineId,
      machineKey: machineId.toLowerCase(),
      friendlyName: machine,
      state: 'Protected',
      policyId: `${this.id(name)}/backupPolicies/DefaultPolicy`,
      facts: {},
      createdMs: 1,
      changedMs: 1,
      ...more,
    }
    await this.api.catalog.write((trx) => insertProtectedItem(trx, item))
    return item
  }

  async delete(name: string): Promise<Answer<{ status: string; error?: { code: string; message: string } }>> {
    const answer = await this.ask('DELETE', `${this.id(name)}?${VERSION}`)
    return answer.status === 202 ? followed(this.ask, answer) : (answer as never)
  }

  get parts() {
    const { home, catalog } = this.api
    const host = { clock: systemClock, random: systemRandom, cacheFolder: join(home.folder, 'cache'), writer: 'test' }
    return { catalog, keysFolder: join(home.folder, 'keys'), host }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.api[Symbol.asyncDispose]()
  }
}
