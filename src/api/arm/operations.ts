/**
 * Long-running operations: begun with the change that they announce, followed by two URLs that survive restarts.
 *
 *   GET .../{kind}/{id}                 200 always: {status: InProgress | Succeeded | Failed | Canceled, ...}
 *   GET .../{kind}/{id}?monitor=true    202 while it runs, then what the first request would have answered
 *
 * Crash story: the operation is written in one transaction with the change; its job carries the operation's id and is started
 * afterwards, or by `resumeOperations` when the server comes back. So an answered request is never forgotten and never done
 * twice. The same request repeated while it runs gets the same operation; another one gets 409.
 */
import { createHash } from 'node:crypto'
import { isHoldfastError, isoTime, must, randomUuid } from '#base'
import {
  type Catalog,
  type CatalogTransaction,
  findOperation,
  findResource,
  insertOperation,
  listOperationsWithoutJob,
  newestOperationOf,
  type OperationRecord,
  type OperationReply,
} from '#catalog'
import { ArmError, type OperationBody, type OperationStatus, RETRY_AFTER_SECONDS } from '#contract'
import { isFinal, type JobStatus } from '#domain'
import type { JobEngine, JobView } from '#jobs'
import type { ArmCall, ArmReply, ArmRoute } from './call.ts'
import { accessOf } from '../blob/access-url.ts'
import { operationErrorOf } from './error-reply.ts'
import { showResource } from './resource-view.ts'

export type OperationSpec = Readonly<{
  /** The word in the URL, as Azure's provider has it. */
  kind: 'DiskOperations' | 'operations' | 'operationresults' | 'operationStatus'
  provider: string
  location: string
  resourceId: string
  action: string
  job: string
  input: unknown
  /** What an equal request is told by, where the input holds what was made up for it. Default: the input. */
  request?: unknown
  queue: string
  /** Jobs of one key run one after the other. */
  key?: string
  reply: OperationReply['kind']
  /** The change that announces it; in the same transaction. */
  announce: (trx: CatalogTransaction) => Promise<void>
}>

export type BegunOperation = Readonly<{ id: string; headers: Readonly<Record<string, string>>; isNew: boolean }>

const STATUS_OF: Readonly<Record<JobStatus, OperationStatus>> = {
  queued: 'InProgress',
  running: 'InProgress',
  sleeping: 'InProgress',
  waiting: 'InProgress',
  succeeded: 'Succeeded',
  failed: 'Failed',
  cancelled: 'Canceled',
}

function digestOf(spec: OperationSpec): string {
  return createHash('sha256')
    .update(JSON.stringify([spec.action, spec.request ?? spec.input]))
    .digest('hex')
}

function urlsOf(
  call: ArmCall,
  operation: Pick<OperationRecord, 'id' | 'kind' | 'location' | 'subscription'>,
  provider: string,
) {
  const path = `/subscriptions/${operation.subscription}/providers/${provider}/locations/${operation.location}/${operation.kind}/${operation.id}`
  return {
    'azure-asyncoperation': `${call.baseUrl}${path}?api-version=${call.apiVersion}`,
    location: `${call.baseUrl}${path}?monitor=true&api-version=${call.apiVersion}`,
    'retry-after': String(RETRY_AFTER_SECONDS),
  }
}

async function isRunning(jobs: JobEngine, operation: OperationRecord): Promise<boolean> {
  const job = await jobs.get(operation.id)
  return job === undefined || !isFinal(job.status)
}

/**
 * Announces the operation and starts its job.
 * @throws ArmError `AnotherOperationInProgress` when the resource has another one that still runs
 */
export async function beginOperation(call: ArmCall, spec: OperationSpec): Promise<BegunOperation> {
  const { catalog, jobs, clock, random } = call.host
  const resourceKey = spec.resourceId.toLowerCase()
  const request = digestOf(spec)
  const running = await newestOperationOf(catalog, resourceKey)
  if (running !== undefined && (await isRunning(jobs, running))) {
    if (running.request === request && running.principal === call.caller.principal.id)
      return { id: running.id, headers: urlsOf(call, running, spec.provider), isNew: false }
    throw new ArmError(
      'AnotherOperationInProgress',
      `'${spec.resourceId}' is being changed by the operation ${running.id} (${running.action}). Try again when it has ended.`,
    )
  }
  const operation: OperationRecord = {
    id: randomUuid(random),
    kind: spec.kind,
    subscription: call.host.subscriptionId,
    location: spec.location,
    resourceKey,
    action: spec.action,
    principal: call.caller.principal.id,
    request,
    reply: { kind: spec.reply },
    job: spec.job,
    jobInput: spec.input,
    queue: spec.queue,
    jobKey: spec.key,
    createdMs: clock.nowMs(),
  }
  await catalog.write(async (trx) => {
    const newest = await newestOperationOf(trx, resourceKey)
    if (newest?.id !== running?.id)
      throw new ArmError('AnotherOperationInProgress', `'${spec.resourceId}' is being changed by another request.`)
    await spec.announce(trx)
    await insertOperation(trx, operation)
  })
  await startJob(jobs, operation)
  return { id: operation.id, headers: urlsOf(call, operation, spec.provider), isNew: true }
}

/**
 * As `beginOperation`, for one of many equal requests at once: who is overtaken by an equal one gets its operation.
 * @throws ArmError `AnotherOperationInProgress` for a request that is not equal
 */
export async function beginOnce(call: ArmCall, spec: OperationSpec): Promise<BegunOperation> {
  try {
    return await beginOperation(call, spec)
  } catch (error) {
    if (!isHoldfastError(error, 'AnotherOperationInProgress')) throw error
    return beginOperation(call, spec)
  }
}

async function startJob(jobs: JobEngine, operation: OperationRecord): Promise<void> {
  const { id, queue, jobKey } = operation
  await jobs.start(operation.job, operation.jobInput, { id, queue, ...(jobKey !== undefined && { key: jobKey }) })
}

/** Starts what a crash kept from being started. Call it before requests are taken. */
export async function resumeOperations(catalog: Catalog, jobs: JobEngine): Promise<void> {
  for (const operation of await listOperationsWithoutJob(catalog)) await startJob(jobs, operation)
}

function percentOf(job: JobView): number | undefined {
  const { progress } = job
  if (progress === undefined || progress.totalBytes === 0) return undefined
  return Math.min(100, Math.floor((100 * progress.doneBytes) / progress.totalBytes))
}

async function find(call: ArmCall): Promise<Readonly<{ operation: OperationRecord; job: JobView }>> {
  const operation = await findOperation(call.host.catalog, call.param('operation'))
  const job = operation === undefined ? undefined : await call.host.jobs.get(operation.id)
  const mine = operation?.principal === call.caller.principal.id
  if (
    operation === undefined ||
    (!mine && !call.may(operation.action.replace(/\/[^/]+$/, '/read'), operation.resourceKey))
  )
    throw new ArmError('OperationNotFound', `There is no operation ${call.param('operation')}.`)
  if (job === undefined)
    throw new ArmError('OperationNotFound', `The operation ${operation.id} ended long ago; its record is gone.`)
  return { operation, job }
}

async function outputOf(call: ArmCall, operation: OperationRecord, job: JobView): Promise<unknown> {
  if (operation.reply.kind === 'output') return job.output
  if (operation.reply.kind === 'empty') return undefined
  const resource = await findResource(call.host.catalog, operation.resourceKey)
  if (resource === undefined) return undefined
  return operation.reply.kind === 'access' ? accessOf(call, resource) : showResource(resource)
}

/** The body of the status URL. */
export async function operationBody(call: ArmCall, operation: OperationRecord, job: JobView): Promise<OperationBody> {
  const status = STATUS_OF[job.status]
  const percent = percentOf(job)
  const output = status === 'Succeeded' ? await outputOf(call, operation, job) : undefined
  return {
    id: new URL(call.url).pathname,
    name: operation.id,
    status,
    startTime: isoTime(operation.createdMs),
    ...(job.finishedMs !== undefined && { endTime: isoTime(job.finishedMs) }),
    ...(percent !== undefined && { percentComplete: status === 'Succeeded' ? 100 : percent }),
    ...(output !== undefined && { properties: { output } }),
    ...(status === 'Failed' && { error: operationErrorOf(must(job.error, 'A failed job has an error')) }),
    ...(status === 'Canceled' && { error: { code: 'OperationPreempted', message: 'The operation was cancelled.' } }),
  }
}

async function answerStatus(call: ArmCall): Promise<ArmReply> {
  const { operation, job } = await find(call)
  const body = await operationBody(call, operation, job)
  const retry = { 'retry-after': String(RETRY_AFTER_SECONDS) }
  if (call.query('monitor') !== 'true') return { status: 200, body, headers: body.status === 'InProgress' ? retry : {} }
  if (body.status === 'InProgress') {
    const url = call.url
    return {
      status: 202,
      headers: { ...retry, location: url, 'azure-asyncoperation': url.replace('monitor=true&', '') },
    }
  }
  if (body.error !== undefined) return { status: 409, body: { error: body.error } }
  const output = body.properties?.['output']
  return output === undefined ? { status: 200 } : { status: 200, body: output }
}

/** The two URLs of the provider's operations. */
export function operationRoutes(provider: string, kinds: readonly OperationSpec['kind'][]): ArmRoute[] {
  return kinds.map((kind) => ({
    method: 'GET',
    path: `/subscriptions/{subscription}/providers/${provider}/locations/{location}/${kind}/{operation}`,
    action: `${provider}/locations/${kind}/read`,
    access: 'signed-in',
    handle: answerStatus,
  }))
}
