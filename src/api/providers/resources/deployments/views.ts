/** Deployments and their operations as the API shows them. Source: Azure "Deployments" 2024-11-01. */
import { isoTime } from '#base'
import type { ResourceRecord } from '#catalog'
import type { PlannedResource } from '../../../templates/dependence.ts'
import { type DeploymentOrder, type Prepared, templateHash } from './order.ts'
import { backingOf, type DeploymentProperties, type Part, propertiesOf } from './record.ts'
import { scrub } from './scrub.ts'

export type View = Readonly<Record<string, unknown>>

/** Azure's spelling of the types of parameters. */
const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: 'String',
  securestring: 'SecureString',
  int: 'Int',
  bool: 'Bool',
  object: 'Object',
  secureobject: 'SecureObject',
  array: 'Array',
}

function typed<T extends Readonly<{ type: string }>>(values: Readonly<Record<string, T>>): View {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      { ...value, type: TYPE_WORDS[value.type.toLowerCase()] ?? value.type },
    ]),
  )
}

function providersOf(resources: readonly PlannedResource[], location: string): View[] {
  const types = new Map<string, Set<string>>()
  for (const { type } of resources) {
    const [namespace = '', ...rest] = type.split('/')
    types.set(namespace, (types.get(namespace) ?? new Set()).add(rest.join('/')))
  }
  return Array.from(types, ([namespace, names]) => ({
    namespace,
    resourceTypes: Array.from(names, (resourceType) => ({ resourceType, locations: [location] })),
  }))
}

function named({ id, type, name }: Pick<PlannedResource, 'id' | 'type' | 'name'>): View {
  return { id, resourceType: type, resourceName: name }
}

function dependenciesOf(resources: readonly PlannedResource[]): View[] {
  const byId = new Map(resources.map((resource) => [resource.id, resource]))
  return resources
    .filter(({ after }) => after.length > 0)
    .map((resource) => ({
      dependsOn: resource.after.flatMap((id) => {
        const before = byId.get(id)
        return before === undefined ? [] : [named(before)]
      }),
      ...named(resource),
    }))
}

/** What is known of a deployment before it runs. */
export function propertiesOfPlan(
  { order, plan }: Prepared,
  time: Readonly<{ timestamp: string; duration: string }>,
): View {
  const { template, correlationId, group } = order
  return scrub(
    {
      templateHash: templateHash(template),
      parameters: typed(plan.parameters),
      mode: 'Incremental',
      ...time,
      correlationId,
      providers: providersOf(plan.resources, group.location),
      dependencies: dependenciesOf(plan.resources),
    },
    plan.secrets,
  )
}

export function partsOf({ plan }: Prepared): Part[] {
  return plan.resources.map(({ id, type, name }) => ({ id, type, name, state: 'Waiting' }))
}

function shownProperties(properties: DeploymentProperties): View {
  const outputs = properties['outputs'] as Readonly<Record<string, { type: string }>> | undefined
  return outputs === undefined ? properties : { ...properties, outputs: typed(outputs) }
}

export function deploymentView(record: ResourceRecord): View {
  const { id, name, type, tags, state } = record
  const properties = { ...shownProperties(propertiesOf(record)), provisioningState: state }
  return { id, name, type, ...(Object.keys(tags).length > 0 && { tags }), properties }
}

/** What `validate` answers: nothing is written. */
export function validatedView(prepared: Prepared): View {
  const { order, plan } = prepared
  const time = { timestamp: isoTime(order.nowMs), duration: 'PT0S' }
  return {
    id: order.deployment,
    name: order.name,
    type: 'Microsoft.Resources/deployments',
    properties: {
      ...propertiesOfPlan(prepared, time),
      provisioningState: 'Succeeded',
      validatedResources: plan.resources.map(({ id }) => ({ id })),
    },
  }
}

const STATUS_CODES: Readonly<Record<Part['state'], string>> = {
  Waiting: '',
  Running: 'Accepted',
  Succeeded: 'OK',
  Failed: 'Conflict',
  Skipped: '',
  Canceled: '',
}

/** One part of a deployment as one of its operations. Operations of parts that did not begin are not shown, as on Azure. */
export function operationViews(record: ResourceRecord): View[] {
  const { parts, startedMs: begunMs } = backingOf(record)
  return parts.flatMap((part, at) => {
    const { state, startedMs, endedMs, error, id, type, name } = part
    if (startedMs === undefined) return []
    const operationId = String(at + 1).padStart(16, '0')
    const view = {
      id: `${record.id}/operations/${operationId}`,
      operationId,
      properties: {
        provisioningOperation: 'Create',
        provisioningState: state,
        timestamp: isoTime(endedMs ?? startedMs),
        duration: `PT${(((endedMs ?? startedMs) - begunMs) / 1000).toFixed(3)}S`,
        trackingId: operationId,
        statusCode: STATUS_CODES[state],
        ...(error !== undefined && { statusMessage: { status: 'Failed', error } }),
        targetResource: { id, resourceType: type, resourceName: name },
      },
    }
    return [view]
  })
}

export type { DeploymentOrder }
