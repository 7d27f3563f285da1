/** What tests of Microsoft.Network share: a group, its resources by short names, and a job that plugs cards as machines do. */
import assert from 'node:assert/strict'
import { must, randomUuid } from '#base'
import type { ChangeSource } from '#catalog'
import { type JobEngine, listCards, type NetworkParts, plugCards, unplugCards } from '#jobs'
import { silentLogger, systemClock, systemRandom } from '#runtime'
import { WorkerClient } from '#server'
import { type Answer, ApiWorld, type Ask, followed, VERSION } from './api-world.ts'

export type Failure = { error: { code: string; message: string; target?: string } }
export type Shown = {
  id: string
  name: string
  etag: string
  location: string
  tags: Record<string, string>
  properties: Record<string, unknown> & { provisioningState: string }
}
export type Plug = Readonly<{ cards: readonly string[]; machine: string; plugged: boolean }>

const PLUG_JOB = 'plug-for-test'
const source: ChangeSource = { nowMs: () => systemClock.nowMs(), newEtag: () => `W/"${randomUuid(systemRandom)}"` }

export class NetworkApi {
  readonly api: ApiWorld
  readonly ask: Ask

  private constructor(api: ApiWorld, ask: Ask) {
    this.api = api
    this.ask = ask
  }

  static async make(): Promise<NetworkApi> {
    let api: ApiWorld | undefined
    const parts = (): NetworkParts => {
      const { catalog, home } = must(api, 'It is made')
      return { catalog, tasks: new WorkerClient(home.socket('worker'), silentLogger), source }
    }
    const define = (engine: JobEngine): void =>
      engine.define<Plug, unknown>({
        name: PLUG_JOB,
        version: 1,
        run: async (job, { cards, machine, plugged }) =>
          plugged
            ? plugCards(job, parts(), { name: 'plug', cards, machine })
            : unplugCards(job, parts(), { name: 'unplug', cards }),
      })
    api = await ApiWorld.make({ routes: [], define })
    const ask = await api.asker()
    const world = new NetworkApi(api, ask)
    assert.equal((await ask('PUT', `${world.group}?${VERSION}`, { location: 'eastus' })).status, 201)
    return world
  }

  get group(): string {
    return `${this.api.subscription}/resourceGroups/rg1`
  }

  /** `virtualNetworks/v1`, `virtualNetworks/v1/subnets/s1`. */
  id(path: string): string {
    return `${this.group}/providers/Microsoft.Network/${path}`
  }

  put<T = Shown>(path: string, properties: unknown, more: Record<string, unknown> = {}): Promise<Answer<T>> {
    return this.ask<T>('PUT', `${this.id(path)}?${VERSION}`, { location: 'eastus', properties, ...more })
  }

  get<T = Shown>(path: string): Promise<Answer<T>> {
    return this.ask<T>('GET', `${this.id(path)}?${VERSION}`)
  }

  delete<T = Failure>(path: string): Promise<Answer<T>> {
    return this.ask<T>('DELETE', `${this.id(path)}?${VERSION}`)
  }

  /** Made or changed, and true on the host. */
  async made(answer: Answer<Shown>): Promise<Shown> {
    assert.ok([200, 201].includes(answer.status), answer.text)
    if (answer.headers['azure-asyncoperation'] === undefined) {
      assert.equal(answer.body.properties.provisioningState, 'Succeeded')
      return answer.body
    }
    assert.equal(answer.body.properties.provisioningState, 'Updating')
    const done = await followed<{ status: string }>(this.ask, answer)
    assert.equal(done.body.status, 'Succeeded', done.text)
    const shown = await this.ask<Shown>('GET', `${answer.body.id}?${VERSION}`)
    assert.equal(shown.body.properties.provisioningState, 'Succeeded')
    return shown.body
  }

  /** As machines do when they start and end. */
  async plug(plug: Plug): Promise<unknown> {
    const { jobs } = this.api
    const job = await jobs.wait(await jobs.start(PLUG_JOB, plug, { queue: 'resource' }))
    assert.equal(job.status, 'succeeded', JSON.stringify(job.error))
    return job.output
  }

  /** Networks are kept by nobody here: what a test leaves plugged would stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    const cards = (await listCards(this.api.catalog)).filter(({ isPlugged }) => isPlugged).map(({ id }) => id)
    if (cards.length > 0) await this.plug({ cards, machine: 'none', plugged: false })
    await this.api[Symbol.asyncDispose]()
  }
}

export function refusal(answer: Answer<unknown>): string {
  const { error } = answer.body as Failure
  return `${answer.status} ${error.code} ${error.message}`
}

/** An address configuration in a subnet. */
export function configuration(subnet: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { ipConfigurations: [{ name: 'ip1', properties: { subnet: { id: subnet }, ...more } }] }
}
