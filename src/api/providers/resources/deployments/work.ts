/**
 * What the API does for the job `deploy` (src/jobs/resources/deployment.ts): opens the sealed order, evaluates it, asks for the
 * resources in the caller's name, keeps how far each is. Evaluated orders are held in memory while their deployment runs.
 *
 * Everything kept or thrown here is scrubbed of the order's secrets.
 */
import { messageOf } from '#base'
import { ARM_ERROR_CODES, ArmError, type ArmErrorCode } from '#contract'
import { type DeploymentFailure, type DeploymentHost, type DeploymentInput, JobsError } from '#jobs'
import type { ArmHost } from '../../../arm/call.ts'
import { armErrorOf } from '../../../arm/error-reply.ts'
import { pathOf } from '../../../arm/inside.ts'
import type { PlannedResource } from '../../../templates/dependence.ts'
import type { TemplateValue } from '../../../templates/template-value.ts'
import { type DeploymentOrder, planOf, type Prepared } from './order.ts'
import { outcomeOfLook, outcomeOfPut, type PartOutcome } from './part-answer.ts'
import {
  backingOf,
  changeDeployment,
  findRun,
  isOver,
  type Part,
  type PartError,
  propertiesOf,
  settleDeployment,
  timesOf,
} from './record.ts'
import { withReferences } from './references.ts'
import { scrub } from './scrub.ts'

/** Resources of one deployment that are made at once. */
const PARTS_AT_ONCE = 16
const REFERENCE_VERSION = '2024-11-01'
const PREPARED_MAX = 32

type Looked = Readonly<{ ready: readonly number[]; running: number }>
const NOTHING: Looked = { ready: [], running: 0 }

export class DeploymentWork implements DeploymentHost {
  readonly #host: ArmHost
  readonly #prepared = new Map<string, Prepared>()

  constructor(host: ArmHost) {
    this.#host = host
  }

  async begin({ deployment, run }: DeploymentInput): Promise<void> {
    await changeDeployment(this.#host, deployment, run, () => ({ state: 'Running' }))
  }

  async look(input: DeploymentInput, signal: AbortSignal): Promise<Looked> {
    const record = await findRun(this.#host.catalog, input.deployment, input.run)
    if (record === undefined || isOver(record)) return NOTHING
    const prepared = await this.#open(input)
    const before = backingOf(record).parts
    const parts = [...before]
    await Promise.all(
      before.map(async (part, at) => {
        if (part.state === 'Running' && part.url !== undefined)
          parts[at] = this.#after(part, await this.#ask(prepared, part.url, signal), prepared)
      }),
    )
    signal.throwIfAborted()
    skipDependents(parts, prepared.plan.resources)
    if (parts.some((part, at) => part !== before[at]))
      await changeDeployment(this.#host, input.deployment, input.run, () => ({ parts }))
    const running = parts.filter(({ state }) => state === 'Running').length
    return { ready: readyParts(parts, prepared.plan.resources).slice(0, PARTS_AT_ONCE - running), running }
  }

  async put(input: DeploymentInput, at: number, isLast: boolean, signal: AbortSignal): Promise<void> {
    const prepared = await this.#open(input)
    const resource = prepared.plan.resources[at]
    const record = await findRun(this.#host.catalog, input.deployment, input.run)
    if (resource === undefined || record === undefined || isOver(record)) return
    const outcome = await this.#putOne(prepared, resource, signal)
    // What was answered because we stop says nothing about the resource.
    signal.throwIfAborted()
    if (outcome.kind === 'busy' && !isLast)
      throw new JobsError('resource_busy', scrub(outcome.error.message, prepared.plan.secrets), {
        facts: { resource: resource.id },
        retry: 'later',
      })
    const startedMs = this.#host.clock.nowMs()
    await this.#keep(input, at, (part) => this.#after({ ...part, startedMs }, outcome, prepared))
  }

  async end(input: DeploymentInput, signal: AbortSignal): Promise<DeploymentFailure | null> {
    const { deployment, run } = input
    const record = await findRun(this.#host.catalog, deployment, run)
    if (record !== undefined && !isOver(record)) await this.#settle(input, signal)
    await this.#forget(run)
    const settled = await findRun(this.#host.catalog, deployment, run)
    if (settled === undefined || settled.state === 'Succeeded') return null
    const { code, message } = (propertiesOf(settled)['error'] ?? {}) as Partial<PartError>
    return { code: code ?? 'DeploymentFailed', message: message ?? 'The deployment did not succeed.' }
  }

  async abandon({ deployment, run }: DeploymentInput, failure: DeploymentFailure | null): Promise<void> {
    await settleDeployment(this.#host, deployment, run, failure ?? undefined)
    await this.#forget(run)
  }

  async #forget(run: string): Promise<void> {
    this.#prepared.delete(run)
    await this.#host.orders.remove(run)
  }

  async #open({ run }: DeploymentInput): Promise<Prepared> {
    const known = this.#prepared.get(run)
    if (known !== undefined) return known
    const text = await this.#host.orders.get(run)
    if (text === undefined)
      throw new JobsError('deployment_order_lost', 'The order of this deployment is not in the home any more.', {
        facts: { run },
      })
    const order = JSON.parse(text) as DeploymentOrder
    const prepared = { order, plan: planOf(order) }
    const [oldest] = this.#prepared.keys()
    if (this.#prepared.size >= PREPARED_MAX && oldest !== undefined) this.#prepared.delete(oldest)
    this.#prepared.set(run, prepared)
    return prepared
  }

  async #ask({ order }: Prepared, url: string, signal: AbortSignal): Promise<PartOutcome> {
    const { principal, baseUrl, correlationId } = order
    const request = { method: 'GET', target: url, baseUrl, correlationId, signal } as const
    return this.#orRefused(async () => outcomeOfLook(await this.#host.inside.ask(principal, request), url))
  }

  #putOne(prepared: Prepared, resource: PlannedResource, signal: AbortSignal): Promise<PartOutcome> {
    const { principal, baseUrl, correlationId } = prepared.order
    const { id, apiVersion } = resource
    return this.#orRefused(async () => {
      const body = await withReferences(
        (reference) => prepared.plan.bodyOf(resource, reference),
        (wanted) => this.#fetch(prepared, wanted, signal),
      )
      const target = `${pathOf(id)}?api-version=${encodeURIComponent(apiVersion)}`
      const request = { method: 'PUT', target, baseUrl, correlationId, body, signal } as const
      return outcomeOfPut(await this.#host.inside.ask(principal, request), id, apiVersion)
    })
  }

  /** What is wrong with the request is the part's failure; anything else is a fault of ours, and thrown. */
  async #orRefused(run: () => Promise<PartOutcome>): Promise<PartOutcome> {
    try {
      return await run()
    } catch (error) {
      const known = armErrorOf(error)
      if (known === undefined) throw error
      return { kind: 'failed', error: { code: known.code, message: known.message } }
    }
  }

  /** The state of a resource, as the caller may see it. @throws ArmError */
  async #fetch({ order, plan }: Prepared, wanted: string, signal: AbortSignal): Promise<TemplateValue> {
    const key = wanted.toLowerCase()
    const planned = plan.resources.find(({ id, type, name }) =>
      [id, name, `${type}/${name}`].some((other) => other.toLowerCase() === key),
    )
    const id = planned?.id ?? wanted
    if (!id.startsWith('/'))
      throw new ArmError('InvalidTemplate', `reference('${wanted}') names no resource of the template.`)
    const apiVersion = planned?.apiVersion ?? REFERENCE_VERSION
    const { principal, baseUrl, correlationId } = order
    const target = `${pathOf(id)}?api-version=${encodeURIComponent(apiVersion)}`
    const answer = await this.#host.inside.ask(principal, { method: 'GET', target, baseUrl, correlationId, signal })
    const body = (answer.body ?? {}) as Record<string, TemplateValue>
    if (answer.status === 200) return { ...body, apiVersion, resourceId: id.replace(/^.*\/providers\//, '') }
    const { code, message } = (body['error'] ?? {}) as Partial<PartError>
    throw new ArmError(
      (ARM_ERROR_CODES.find((known) => known === code) ?? 'ResourceNotFound') satisfies ArmErrorCode,
      `reference('${wanted}'): ${message ?? `the status ${answer.status}`}`,
    )
  }

  #after(part: Part, outcome: PartOutcome, { plan }: Prepared): Part {
    const { url: _url, error: _error, ...rest } = part
    const endedMs = this.#host.clock.nowMs()
    if (outcome.kind === 'running') return { ...rest, state: 'Running', url: outcome.url }
    if (outcome.kind === 'succeeded') return { ...rest, state: 'Succeeded', endedMs }
    return { ...rest, state: 'Failed', endedMs, error: scrub(outcome.error, plan.secrets) }
  }

  #keep({ deployment, run }: DeploymentInput, at: number, change: (part: Part) => Part): Promise<void> {
    return changeDeployment(this.#host, deployment, run, (record) => ({
      parts: backingOf(record).parts.map((part, index) => (index === at ? change(part) : part)),
    }))
  }

  async #settle(input: DeploymentInput, signal: AbortSignal): Promise<void> {
    const prepared = await this.#open(input)
    const outputs = await this.#outputs(input, prepared, signal)
    const nowMs = this.#host.clock.nowMs()
    await changeDeployment(this.#host, input.deployment, input.run, (record) => {
      const { parts, startedMs } = backingOf(record)
      const error = failureOf(parts, record.id) ?? outputs.error
      const made = parts.filter(({ state }) => state === 'Succeeded').map(({ id }) => ({ id }))
      return {
        state: error === undefined ? 'Succeeded' : 'Failed',
        properties: {
          ...timesOf(startedMs, nowMs),
          outputResources: made,
          ...(error === undefined ? { outputs: outputs.values } : { error }),
        },
      }
    })
  }

  async #outputs(
    { deployment, run }: DeploymentInput,
    prepared: Prepared,
    signal: AbortSignal,
  ): Promise<Readonly<{ values: unknown; error?: PartError }>> {
    const record = await findRun(this.#host.catalog, deployment, run)
    if (record === undefined || backingOf(record).parts.some(({ state }) => state !== 'Succeeded'))
      return { values: {} }
    try {
      const values = await withReferences(
        (reference) => prepared.plan.outputs(reference),
        (wanted) => this.#fetch(prepared, wanted, signal),
      )
      return { values: scrub(values, prepared.plan.secrets) }
    } catch (error) {
      if (armErrorOf(error) === undefined) throw error
      const message = scrub(messageOf(error), prepared.plan.secrets)
      return { values: {}, error: { code: 'DeploymentFailed', message: `The outputs cannot be evaluated: ${message}` } }
    }
  }
}

/** Which planned resource stands where, by id. */
function positions(resources: readonly PlannedResource[]): ReadonlyMap<string, number> {
  return new Map(resources.map(({ id }, at) => [id, at]))
}

/** What depends on a part that came to nothing is not begun. Resources are in the order of dependence: one pass is enough. */
function skipDependents(parts: Part[], resources: readonly PlannedResource[]): void {
  const at = positions(resources)
  for (const [index, { after }] of resources.entries()) {
    const part = parts[index]
    const lost = after.some((id) => {
      const state = parts[at.get(id) ?? -1]?.state
      return state === 'Failed' || state === 'Skipped' || state === 'Canceled'
    })
    if (part?.state === 'Waiting' && lost) parts[index] = { ...part, state: 'Skipped' }
  }
}

function readyParts(parts: readonly Part[], resources: readonly PlannedResource[]): number[] {
  const at = positions(resources)
  return [...resources.keys()].filter(
    (index) =>
      parts[index]?.state === 'Waiting' &&
      resources[index]?.after.every((id) => parts[at.get(id) ?? -1]?.state === 'Succeeded'),
  )
}

/** As Azure tells it: one error for the whole, a detail for each part that failed. */
function failureOf(
  parts: readonly Part[],
  deployment: string,
): (PartError & Readonly<{ details: unknown }>) | undefined {
  const failed = parts.filter(({ state }) => state === 'Failed')
  if (failed.length === 0) return undefined
  const details = failed.map(({ id, error }) => ({
    code: error?.code ?? 'InternalServerError',
    message: error?.message ?? '',
    target: id,
  }))
  const message = 'At least one resource deployment operation failed. Please list deployment operations for details.'
  return { code: 'DeploymentFailed', target: deployment, message, details }
}
