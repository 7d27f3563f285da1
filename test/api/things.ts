/**
 * A resource type for tests of what is common to all: `Microsoft.Test/things`. A thing is made at once, or by a job that waits
 * for its signal `go`; it can be told to refuse. Every PUT is remembered with its body, in order.
 */
import {
  type ArmCall,
  type ArmReply,
  type ArmRoute,
  beginOperation,
  changeSourceOf,
  operationRoutes,
  showResource,
} from '#api'
import { isHoldfastError } from '#base'
import { deleteResource, findResource, insertResource, updateResource, type CatalogTransaction } from '#catalog'
import { ArmError, groupId } from '#contract'
import { type JobEngine, RESOURCE_QUEUE } from '#jobs'
import type { MoreTypes } from './api-world.ts'

const TYPE = 'Microsoft.Test/things'
const PATH = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${TYPE}`
const JOB = 'make-thing'

export type ThingBody = Readonly<{
  location?: string
  properties?: Readonly<{ how?: 'job' | 'refuse' | 'fail'; text?: unknown; [name: string]: unknown }>
}>

export class Things implements MoreTypes {
  /** Names in the order of their PUTs, and what was sent. */
  readonly puts: { name: string; body: ThingBody; by: string }[] = []
  readonly routes: readonly ArmRoute[] = [
    { method: 'GET', path: `${PATH}/{name}`, action: `${TYPE}/read`, handle: (call) => this.#show(call) },
    { method: 'PUT', path: `${PATH}/{name}`, action: `${TYPE}/write`, handle: (call) => this.#put(call) },
    { method: 'DELETE', path: `${PATH}/{name}`, action: `${TYPE}/delete`, handle: (call) => this.#remove(call) },
    ...operationRoutes('Microsoft.Test', ['operations']),
  ]

  readonly define = (engine: JobEngine): void => {
    engine.define({
      name: JOB,
      version: 1,
      run: async (job, { fails }: { fails: boolean }) => {
        await job.waitForSignal('go')
        const make = (): void => {
          if (fails) throw new ArmError('AllocationFailed', 'There is no room for the thing.')
        }
        await job.step('make', make, { retry: { attemptsMax: 1, delayMs: 1, delayMsMax: 1 } })
        return null
      },
    })
  }

  names(): string[] {
    return this.puts.map(({ name }) => name)
  }

  async #show(call: ArmCall): Promise<ArmReply> {
    const record = await findResource(call.host.catalog, call.id)
    if (record === undefined) throw new ArmError('ResourceNotFound', `The thing '${call.param('name')}' was not found.`)
    return { status: 200, body: showResource(record) }
  }

  async #remove(call: ArmCall): Promise<ArmReply> {
    await call.host.catalog.write((trx) => deleteResource(trx, call.id))
    return { status: 200 }
  }

  async #put(call: ArmCall): Promise<ArmReply> {
    const body = call.body as ThingBody
    const { how, ...properties } = body.properties ?? {}
    this.puts.push({ name: call.param('name'), body, by: call.caller.principal.clientId })
    if (how === 'refuse')
      throw new ArmError('InvalidParameter', `The value '${String(properties.text)}' is not allowed.`, {
        target: 'text',
      })
    const shown = { location: body.location ?? 'eastus', properties: { ...properties, text: undefined } }
    const write = (trx: CatalogTransaction): Promise<void> => this.#write(call, trx, shown)
    if (how === undefined) {
      await call.host.catalog.write(write)
      return { ...(await this.#show(call)), status: 201 }
    }
    const { headers, id } = await beginOperation(call, {
      kind: 'operations',
      provider: 'Microsoft.Test',
      location: 'eastus',
      resourceId: call.id,
      action: `${TYPE}/write`,
      job: JOB,
      input: { fails: how === 'fail' },
      queue: RESOURCE_QUEUE,
      reply: 'resource',
      announce: write,
    })
    return { ...(await this.#show(call)), status: 201, headers, operation: id }
  }

  async #write(call: ArmCall, trx: CatalogTransaction, body: Record<string, unknown>): Promise<void> {
    const source = changeSourceOf(call.host)
    if ((await updateResource(trx, call.id, { body }, source)) !== undefined) return
    const { subscriptionId } = call.host
    const group = groupId(subscriptionId, call.param('group'))
    const record = { id: call.id, subscription: subscriptionId, group, type: TYPE, name: call.param('name') }
    await insertResource(
      trx,
      { ...record, location: 'eastus', tags: {}, state: 'Succeeded', body, backing: {} },
      source,
    )
  }
}

/** Lets the jobs of all things go on that wait now. */
export async function letGo(jobs: JobEngine): Promise<number> {
  const waiting = await jobs.list({ name: JOB, status: ['waiting', 'queued', 'running', 'sleeping'] })
  for (const { id } of waiting)
    await jobs.signal(id, 'go').catch((error: unknown) => {
      // It was let go before, and has ended meanwhile.
      if (!isHoldfastError(error, 'job_over')) throw error
    })
  return waiting.length
}
