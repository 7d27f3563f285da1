/**
 * `Microsoft.Resources/deployments` in resource groups, as `az deployment group`, `az vm create` and the SDKs use it. Mode
 * Incremental; `whatIf`, links, Complete and other scopes are refused by name.
 *
 * Secure parameters stand in the sealed order only (src/jobs/sealed-orders.ts), for as long as the deployment runs.
 */
import { must, randomUuid } from '#base'
import { deleteResource, findOperation, findResource, newestOperationOf, type ResourceRecord } from '#catalog'
import {
  ArmError,
  checkFilterFields,
  equalTo,
  groupId,
  pageOf,
  parseFilter,
  readTags,
  RETRY_AFTER_SECONDS,
} from '#contract'
import { isFinal } from '#domain'
import { DEPLOYMENT_JOB, DEPLOYMENT_QUEUE } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { armErrorOf } from '../../../arm/error-reply.ts'
import { checkDepth, objectBody } from '../../../arm/json-body.ts'
import { beginOperation } from '../../../arm/operations.ts'
import { parseLenientJson } from '../../../templates/lenient-json.ts'
import { type DeploymentOrder, isSameOrder, prepare, type Prepared, templateHash } from './order.ts'
import {
  backingOf,
  DEPLOYMENT_TYPE,
  isOver,
  listDeployments,
  propertiesOf,
  settleDeployment,
  templateOf,
  timesOf,
  writeDeployment,
} from './record.ts'
import { templateToKeep } from './scrub.ts'
import { deploymentView, operationViews, partsOf, propertiesOfPlan, validatedView } from './views.ts'

const LIST = '/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Resources/deployments'
const PATH = `${LIST}/{name}`
/** As the SDKs ask for operations: without the provider. */
const SHORT = '/subscriptions/{subscription}/resourceGroups/{group}/deployments/{name}/operations'
const ACTION = DEPLOYMENT_TYPE

function idOf(call: ArmCall): string {
  return `${groupId(call.host.subscriptionId, call.param('group'))}/providers/${DEPLOYMENT_TYPE}/${call.param('name')}`
}

async function find(call: ArmCall): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, idOf(call))
  if (record !== undefined) return record
  throw new ArmError('DeploymentNotFound', `Deployment '${call.param('name')}' could not be found.`)
}

function statusHeaders(call: ArmCall, operation: string): Readonly<Record<string, string>> {
  const url = `${call.baseUrl}${encodeURI(idOf(call))}/operationStatuses/${operation}?api-version=${call.apiVersion}`
  return { 'azure-asyncoperation': url, 'retry-after': String(RETRY_AFTER_SECONDS) }
}

/** The operation of the running deployment, when this asks for the same again. */
async function sameRunning(call: ArmCall, order: DeploymentOrder): Promise<ArmReply | undefined> {
  const { catalog, orders } = call.host
  const record = await findResource(catalog, idOf(call))
  if (record === undefined || isOver(record)) return undefined
  const [sealed, operation] = await Promise.all([
    orders.get(backingOf(record).run),
    newestOperationOf(catalog, idOf(call).toLowerCase()),
  ])
  if (sealed === undefined || operation === undefined) return undefined
  if (!isSameOrder(JSON.parse(sealed) as DeploymentOrder, order)) return undefined
  return { status: 200, body: deploymentView(record), headers: statusHeaders(call, operation.id) }
}

async function begin(call: ArmCall, { order, plan }: Prepared, run: string): Promise<string> {
  const { host } = call
  const { deployment, name, group, template, tags, nowMs } = order
  const { id } = await beginOperation(call, {
    kind: 'operations',
    provider: 'Microsoft.Resources',
    location: group.location,
    resourceId: deployment,
    action: `${ACTION}/write`,
    job: DEPLOYMENT_JOB,
    input: { deployment, run },
    queue: DEPLOYMENT_QUEUE,
    reply: 'resource',
    announce: (trx) =>
      writeDeployment(
        trx,
        {
          id: deployment,
          name,
          subscription: host.subscriptionId,
          group: group.id,
          tags: readTags(tags),
          properties: propertiesOfPlan({ order, plan }, timesOf(nowMs, nowMs)),
          backing: { run, startedMs: nowMs, parts: partsOf({ order, plan }) },
          template: templateToKeep(template, plan.secrets),
        },
        changeSourceOf(host),
      ),
  })
  return id
}

async function put(call: ArmCall): Promise<ArmReply> {
  const prepared = await prepare(call)
  readTags(prepared.order.tags)
  const same = await sameRunning(call, prepared.order)
  if (same !== undefined) return same
  const { catalog, orders, random } = call.host
  const existed = (await findResource(catalog, idOf(call))) !== undefined
  const run = randomUuid(random)
  await orders.put(run, JSON.stringify(prepared.order))
  let operation: string
  try {
    operation = await begin(call, prepared, run)
  } catch (error) {
    await orders.remove(run)
    throw error
  }
  const record = must(await findResource(catalog, idOf(call)), 'The deployment was written')
  return {
    status: existed ? 200 : 201,
    body: deploymentView(record),
    headers: statusHeaders(call, operation),
    operation,
  }
}

/**
 * A refusal is the result of a validation: Azure's specification has it in the same body, with 200 or 400. az shows it with
 * 200 alone: of a 400 it says that "the content for this response was already consumed" (Azure/azure-cli issue 32357).
 */
async function validate(call: ArmCall): Promise<ArmReply> {
  try {
    const prepared = await prepare(call)
    readTags(prepared.order.tags)
    return ok(validatedView(prepared))
  } catch (error) {
    const known = armErrorOf(error)
    if (known?.status !== 400) throw error
    return ok(known.body)
  }
}

async function list(call: ArmCall): Promise<ArmReply> {
  const { catalog, subscriptionId } = call.host
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, ['provisioningState'])
  const state = equalTo(terms, 'provisioningState')?.toLowerCase()
  const records = (await listDeployments(catalog, groupId(subscriptionId, call.param('group')))).filter(
    (record) => state === undefined || record.state.toLowerCase() === state,
  )
  const newestFirst = records.toSorted((left, right) => right.createdMs - left.createdMs)
  const top = Number(call.query('$top') ?? Number.NaN)
  return ok(pageOf(newestFirst.map(deploymentView), call.url, call.query('$skipToken'), top))
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const record = await findResource(call.host.catalog, idOf(call))
  if (record === undefined) return noContent
  if (!isOver(record))
    throw new ArmError('Conflict', `The deployment '${record.name}' is running: cancel it first, or wait for its end.`)
  await call.host.catalog.write((trx) => deleteResource(trx, record.id))
  return noContent
}

async function cancel(call: ArmCall): Promise<ArmReply> {
  const record = await find(call)
  const { catalog, jobs } = call.host
  const operation = await newestOperationOf(catalog, record.key)
  if (isOver(record) || operation === undefined)
    throw new ArmError('Conflict', `The deployment '${record.name}' cannot be cancelled: it is ${record.state}.`)
  await jobs.cancel(operation.id, 'asked for')
  const job = await jobs.get(operation.id)
  // A job that had not begun has nothing that would settle it.
  if (job !== undefined && isFinal(job.status))
    await settleDeployment(call.host, record.id, backingOf(record).run, undefined)
  return noContent
}

async function exportTemplate(call: ArmCall): Promise<ArmReply> {
  const record = await find(call)
  return ok({ template: await templateOf(call.host.catalog, record.id) })
}

async function operations(call: ArmCall): Promise<ArmReply> {
  const views = operationViews(await find(call))
  return ok(pageOf(views, call.url, call.query('$skipToken'), Number(call.query('$top') ?? Number.NaN)))
}

async function oneOperation(call: ArmCall): Promise<ArmReply> {
  const wanted = call.param('operation')
  const found = operationViews(await find(call)).find(({ operationId }) => operationId === wanted)
  if (found !== undefined) return ok(found)
  throw new ArmError('DeploymentOperationNotFound', `The deployment has no operation '${wanted}'.`)
}

/** How a run goes: what its job says, and of its failure what the record tells. */
async function status(call: ArmCall): Promise<ArmReply> {
  const { catalog, jobs } = call.host
  const operation = await findOperation(catalog, call.param('operation'))
  const job = operation === undefined ? undefined : await jobs.get(operation.id)
  if (operation?.resourceKey !== idOf(call).toLowerCase() || job === undefined)
    throw new ArmError('OperationNotFound', `There is no operation ${call.param('operation')} of this deployment.`)
  const { run } = operation.jobInput as { run: string }
  const record = await findResource(catalog, operation.resourceKey)
  const mine = record !== undefined && backingOf(record).run === run ? record : undefined
  if (!isFinal(job.status)) {
    const retry = { 'retry-after': String(RETRY_AFTER_SECONDS) }
    return ok({ status: mine?.state === 'Accepted' ? 'Accepted' : 'Running' }, retry)
  }
  if (job.status === 'succeeded') return ok({ status: 'Succeeded' })
  if (job.status === 'cancelled') return ok({ status: 'Canceled' })
  const kept = mine === undefined ? undefined : propertiesOf(mine)['error']
  const message = job.error?.message ?? 'The deployment failed.'
  return ok({ status: 'Failed', error: kept ?? { code: 'DeploymentFailed', message } })
}

function refuseWhatIf(): never {
  throw new ArmError(
    'NotSupported',
    'Holdfast does not support whatIf of Microsoft.Resources/deployments: use validate.',
  )
}

function hash(call: ArmCall): ArmReply {
  const template = objectBody(parseLenientJson(String(call.body)))
  checkDepth(template)
  return ok({ minifiedTemplate: JSON.stringify(template), templateHash: templateHash(template) })
}

export const deploymentRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: LIST, action: `${ACTION}/read`, handle: list },
  { method: 'GET', path: PATH, action: `${ACTION}/read`, handle: async (call) => ok(deploymentView(await find(call))) },
  { method: 'PUT', path: PATH, action: `${ACTION}/write`, body: 'text', handle: put },
  { method: 'DELETE', path: PATH, action: `${ACTION}/delete`, handle: remove },
  { method: 'POST', path: `${PATH}/validate`, action: `${ACTION}/validate/action`, body: 'text', handle: validate },
  { method: 'POST', path: `${PATH}/whatIf`, action: `${ACTION}/whatIf/action`, body: 'text', handle: refuseWhatIf },
  { method: 'POST', path: `${PATH}/cancel`, action: `${ACTION}/cancel/action`, handle: cancel },
  { method: 'POST', path: `${PATH}/exportTemplate`, action: `${ACTION}/exportTemplate/action`, handle: exportTemplate },
  { method: 'GET', path: `${PATH}/operations`, action: `${ACTION}/operations/read`, handle: operations },
  { method: 'GET', path: SHORT, action: `${ACTION}/operations/read`, handle: operations },
  { method: 'GET', path: `${SHORT}/{operation}`, action: `${ACTION}/operations/read`, handle: oneOperation },
  { method: 'GET', path: `${PATH}/operations/{operation}`, action: `${ACTION}/operations/read`, handle: oneOperation },
  {
    method: 'GET',
    path: `${PATH}/operationStatuses/{operation}`,
    action: `${ACTION}/operationStatuses/read`,
    handle: status,
  },
  {
    method: 'POST',
    path: '/providers/Microsoft.Resources/calculateTemplateHash',
    action: 'Microsoft.Resources/calculateTemplateHash/action',
    access: 'signed-in',
    body: 'text',
    handle: hash,
  },
]
