/**
 * A deployment as it was asked for: read, checked, and made into the order that is sealed until it has ended. Everything that
 * evaluation asks for stands in the order, time and chance too, so that evaluating it again gives the same.
 */
import { createHash } from 'node:crypto'
import { isoTime, randomUuid } from '#base'
import { findResource } from '#catalog'
import { ArmError, groupId } from '#contract'
import type { ArmCall, ArmHost } from '../../../arm/call.ts'
import { checkFields } from '../../../arm/field-table.ts'
import { checkDepth, objectBody } from '../../../arm/json-body.ts'
import { cloudMetadata } from '../../../metadata.ts'
import { templateError } from '../../../templates/expression.ts'
import { guidOf } from '../../../templates/functions.ts'
import { parseLenientJson } from '../../../templates/lenient-json.ts'
import { type DeploymentContext, planDeployment, type PlannedDeployment } from '../../../templates/template.ts'
import type { TemplateObject, TemplateValue } from '../../../templates/template-value.ts'
import { DEPLOYMENT_FIELDS } from './fields.ts'
import { formatTime } from './format-time.ts'

export type DeploymentOrder = Readonly<{
  /** Id of the deployment. */
  deployment: string
  name: string
  group: Readonly<{ id: string; name: string; location: string; tags: Readonly<Record<string, string>> }>
  subscription: Readonly<{ id: string; name: string }>
  tenantId: string
  principal: string
  correlationId: string
  baseUrl: string
  nowMs: number
  /** What `newGuid()` goes by. */
  seed: string
  template: TemplateObject
  parameters: TemplateObject
  tags: unknown
}>

const NAME = /^[-\w.()]{1,64}$/

/** @throws ArmError */
export async function readOrder(call: ArmCall): Promise<DeploymentOrder> {
  const name = call.param('name')
  // The job asks for each resource in the principal's name, whose roles only its own server knows.
  if (call.caller.link !== undefined)
    throw new ArmError('NotSupported', 'A deployment to a linked server is given to that server itself: log in there.')
  if (!NAME.test(name))
    throw new ArmError('InvalidResourceName', `'${name}' cannot be the name of a deployment.`, { target: 'name' })
  const body = objectBody(parseLenientJson(String(call.body)))
  checkDepth(body)
  const properties = objectBody(body['properties'])
  checkFields(DEPLOYMENT_FIELDS, body)
  if (typeof properties['mode'] !== 'string')
    throw new ArmError('InvalidParameter', 'The mode of the deployment is missing.', { target: 'properties.mode' })
  const { host, baseUrl, correlationId } = call
  const group = await findResource(host.catalog, groupId(host.subscriptionId, call.param('group')))
  if (group === undefined)
    throw new ArmError('ResourceGroupNotFound', `Resource group '${call.param('group')}' could not be found.`)
  if (group.state === 'Deleting')
    throw new ArmError('ResourceGroupBeingDeleted', `The resource group '${group.name}' is being deleted.`)
  return {
    deployment: `${group.id}/providers/Microsoft.Resources/deployments/${name}`,
    name,
    group: { id: group.id, name: group.name, location: group.location ?? '', tags: group.tags },
    subscription: { id: host.subscriptionId, name: host.subscriptionName },
    tenantId: host.tenantId,
    principal: call.caller.principal.id,
    correlationId,
    baseUrl,
    nowMs: host.clock.nowMs(),
    seed: randomUuid(host.random),
    template: objectBody(properties['template']) as TemplateObject,
    parameters: objectBody(properties['parameters'] ?? {}) as TemplateObject,
    tags: body['tags'],
  }
}

/** Whether two orders ask for the same thing. */
export function isSameOrder(left: DeploymentOrder, right: DeploymentOrder): boolean {
  const asked = ({ template, parameters, tags, principal }: DeploymentOrder): string =>
    JSON.stringify([template, parameters, tags ?? null, principal])
  return asked(left) === asked(right)
}

/** As Azure's: a decimal number that depends on the template alone. (Azure's own numbers come from a hash that is not published.) */
export function templateHash(template: unknown): string {
  const digest = createHash('sha256').update(JSON.stringify(template)).digest()
  return digest.readBigUInt64BE().toString()
}

/** The id of a resource from what `resourceId()` and its kin are given. */
function idFrom(
  order: DeploymentOrder,
  kind: 'group' | 'subscription' | 'tenant' | 'extension',
  given: readonly string[],
): string {
  const typeAt = given.findIndex((text) => !text.startsWith('/') && text.includes('/') && text.includes('.'))
  const before = typeAt < 0 ? [] : given.slice(0, typeAt)
  const [type = '', ...names] = typeAt < 0 ? [] : given.slice(typeAt)
  const [namespace = '', ...types] = type.split('/')
  if (typeAt < 0 || types.length === 0 || types.length !== names.length)
    throw templateError(`resourceId() was given ${names.length} names for the type '${type || given.join(', ')}'.`)
  const tail = `/providers/${namespace}${types.map((part, at) => `/${part}/${names[at] ?? ''}`).join('')}`
  if (kind === 'tenant') return tail
  if (kind === 'extension') return `${before[0] ?? ''}${tail}`
  if (kind === 'subscription') return `/subscriptions/${before[0] ?? order.subscription.id}${tail}`
  const [group, subscription] = before.toReversed()
  return `${groupId(subscription ?? order.subscription.id, group ?? order.group.name)}${tail}`
}

function about(order: DeploymentOrder, what: string): TemplateValue | undefined {
  const { group, subscription, tenantId, baseUrl, name, template } = order
  switch (what) {
    case 'resourcegroup':
      return {
        ...group,
        type: 'Microsoft.Resources/resourceGroups',
        managedBy: null,
        properties: { provisioningState: 'Succeeded' },
      }
    case 'subscription':
      return {
        id: `/subscriptions/${subscription.id}`,
        subscriptionId: subscription.id,
        tenantId,
        displayName: subscription.name,
      }
    case 'tenant':
      return { tenantId, id: `/tenants/${tenantId}`, displayName: subscription.name, countryCode: '' }
    case 'environment':
      return cloudMetadata(baseUrl, baseUrl.replace('https://', ''), '2022-09-01') as TemplateValue
    case 'deployment':
      return {
        name,
        properties: {
          template,
          templateHash: templateHash(template),
          // Given values may be secure; none is shown.
          parameters: {},
          mode: 'Incremental',
          provisioningState: 'Accepted',
        },
      }
    default:
      return undefined
  }
}

export function contextOf(order: DeploymentOrder): DeploymentContext {
  let guids = 0
  return {
    about: (what) => about(order, what),
    resourceId: (kind, given) => idFrom(order, kind, given),
    chance: {
      now: (format) => formatTime(isoTime(order.nowMs), format),
      guid: () => guidOf([order.seed, String((guids += 1))]),
    },
  }
}

/** @throws ArmError `InvalidTemplate` */
export function planOf(order: DeploymentOrder): PlannedDeployment {
  return planDeployment(order.template, order.parameters, contextOf(order))
}

export type Prepared = Readonly<{ order: DeploymentOrder; plan: PlannedDeployment }>

class NotYet extends Error {}

/** What can be evaluated before anything is deployed is, so that its mistakes are told at once. */
function tryOut(plan: PlannedDeployment): void {
  const reference = (): never => {
    throw new NotYet()
  }
  const runs = [
    ...plan.resources.map((resource) => () => plan.bodyOf(resource, reference)),
    () => plan.outputs(reference),
  ]
  for (const run of runs) {
    try {
      run()
    } catch (error) {
      // It asks for the state of a resource: evaluated when its turn comes.
      if (!(error instanceof NotYet)) throw error
    }
  }
}

function checkResources({ inside }: ArmHost, call: ArmCall, plan: PlannedDeployment): void {
  for (const { id, type, name, source } of plan.resources) {
    for (const field of ['resourceGroup', 'subscriptionId'])
      if (source[field] !== undefined && source[field] !== null)
        throw new ArmError('InvalidTemplate', `'${name}' is to be in another group or subscription: not supported.`, {
          target: field,
        })
    const action = inside.actionOf('PUT', id)
    if (action === undefined)
      throw new ArmError(
        'InvalidTemplateDeployment',
        `Holdfast does not provide the resource type '${type}' ('${name}').`,
        {
          target: id,
        },
      )
    if (!call.may(action, id))
      throw new ArmError(
        'InvalidTemplateDeployment',
        `Authorization failed for template resource '${name}' of type '${type}': the client '${call.caller.principal.clientId}' ` +
          `does not have permission to perform action '${action}' at scope '${id}'.`,
        { status: 403, target: id },
      )
  }
}

/** The order, checked as far as it can be before anything is done. @throws ArmError */
export async function prepare(call: ArmCall): Promise<Prepared> {
  const order = await readOrder(call)
  const plan = planOf(order)
  checkResources(call.host, call, plan)
  tryOut(plan)
  return { order, plan }
}
