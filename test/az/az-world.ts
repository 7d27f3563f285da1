/**
 * A served home with `az` logged in to it, and flows: tests of which each says how long it took, and which are skipped, with
 * the reason, while the server does not provide what they need. What it provides, it says itself (`az provider list`), so a
 * flow turns on with its provider.
 */
import { readFile } from 'node:fs/promises'
import type { TestContext } from 'node:test'
import { isHoldfastError } from '#base'
import { systemClock } from '#runtime'
import { type FaceRecord, openControl, openHome } from '#server'
import { ServedHome } from '../server/served-home.ts'
import { Az } from './az.ts'

type Provider = Readonly<{
  namespace: string
  registrationState: string
  resourceTypes: readonly Readonly<{ resourceType: string; locations: readonly string[] }>[]
}>

export type NewPrincipal = Readonly<{ id: string; clientId: string; name: string; secret: string }>
export type Flow = (
  name: string,
  run: (t: TestContext) => Promise<unknown>,
  ...needs: readonly string[]
) => Promise<void>

export class AzWorld {
  readonly served: ServedHome
  readonly record: FaceRecord
  readonly az: Az
  #types: ReadonlySet<string> = new Set()

  private constructor(served: ServedHome, record: FaceRecord, az: Az) {
    this.served = served
    this.record = record
    this.az = az
  }

  /** Served, and az there, but not logged in. */
  static async make(): Promise<AzWorld> {
    const served = await ServedHome.make()
    try {
      await served.serve()
      const record = await served.face()
      return new AzWorld(served, record, await Az.make(served.folder, record.caFile))
    } catch (error) {
      await served[Symbol.asyncDispose]()
      throw error
    }
  }

  /** As `make`, logged in as the administrator. */
  static async loggedIn(): Promise<AzWorld> {
    const world = await AzWorld.make()
    try {
      await world.login()
      return world
    } catch (error) {
      await world[Symbol.asyncDispose]()
      throw error
    }
  }

  get subscription(): string {
    return `/subscriptions/${this.record.subscriptionId}`
  }

  async login(): Promise<void> {
    await this.az.login(this.record, this.record.clientId, await this.secret())
    const providers = await this.az.run<Provider[]>('provider', 'list')
    this.#types = new Set(
      providers.flatMap(({ namespace, resourceTypes }) =>
        resourceTypes.map(({ resourceType }) => `${namespace}/${resourceType}`.toLowerCase()),
      ),
    )
  }

  async secret(): Promise<string> {
    return (await readFile(this.record.clientSecretFile, 'utf8')).trim()
  }

  /** Another az, not logged in. */
  another(): Promise<Az> {
    return Az.make(this.served.folder, this.record.caFile)
  }

  /** A principal without any role; undefined when this server cannot make one yet. */
  async principal(name: string): Promise<NewPrincipal | undefined> {
    const control = await openControl(openHome(this.served.home))
    try {
      return (await control.call('principal.add', { name })) as NewPrincipal
    } catch (error) {
      if (isHoldfastError(error, 'rpc_method_unknown')) return undefined
      throw error
    } finally {
      control.close()
    }
  }

  /** Runs flows of this world as tests of `t`. `needs` are resource types, such as `Microsoft.Compute/disks`. */
  flows(t: TestContext): Flow {
    return async (name, run, ...needs) => {
      const lacking = needs.filter((type) => !this.#types.has(type.toLowerCase()))
      const skip = lacking.length > 0 && `the server does not provide ${lacking.join(', ')}`
      await t.test(name, { skip }, async (inner) => {
        const startMs = systemClock.monotonicMs()
        const before = this.az.commands
        await run(inner)
        const seconds = ((systemClock.monotonicMs() - startMs) / 1000).toFixed(1)
        inner.diagnostic(`| ${name} | ${seconds} s | ${this.az.commands - before} commands |`)
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.served[Symbol.asyncDispose]()
  }
}
