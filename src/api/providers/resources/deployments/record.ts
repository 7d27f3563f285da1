/**
 * A deployment's record: what is shown stands in `body`, how far its parts are in `backing`, the template in a child record of
 * its own (it may be large, and the record changes with every part).
 */
import {
  type Catalog,
  type CatalogTransaction,
  type ChangeSource,
  deleteResource,
  findResource,
  insertResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { isoTime } from '#base'
import type { ArmHost } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import type { TemplateObject } from '../../../templates/template-value.ts'

export const DEPLOYMENT_TYPE = 'Microsoft.Resources/deployments'
const TEMPLATE_TYPE = `${DEPLOYMENT_TYPE}/templates`

export type PartError = Readonly<{ code: string; message: string; target?: string }>
export type PartState = 'Waiting' | 'Running' | 'Succeeded' | 'Failed' | 'Skipped' | 'Canceled'

/** One resource of a deployment. */
export type Part = Readonly<{
  id: string
  type: string
  name: string
  state: PartState
  /** Where to ask how it goes, while it runs. */
  url?: string
  /** HTTP status of the last answer. */
  status?: number
  error?: PartError
  startedMs?: number
  endedMs?: number
}>

export type DeploymentBacking = Readonly<{ run: string; startedMs: number; parts: readonly Part[] }>
export type DeploymentProperties = Readonly<Record<string, unknown>>

export function backingOf(record: ResourceRecord): DeploymentBacking {
  return record.backing as unknown as DeploymentBacking
}

export function propertiesOf(record: ResourceRecord): DeploymentProperties {
  return record.body['properties'] as DeploymentProperties
}

export function isOver({ state }: ResourceRecord): boolean {
  return state === 'Succeeded' || state === 'Failed' || state === 'Canceled'
}

function templateIdOf(deployment: string): string {
  return `${deployment}/templates/current`
}

export type NewDeployment = Readonly<{
  id: string
  name: string
  subscription: string
  group: string
  tags: Readonly<Record<string, string>>
  properties: DeploymentProperties
  backing: DeploymentBacking
  template: TemplateObject
}>

/** Writes the record of a deployment that begins; an earlier one of that name is replaced. */
export async function writeDeployment(
  trx: CatalogTransaction,
  given: NewDeployment,
  source: ChangeSource,
): Promise<void> {
  const { id, name, subscription, group, tags, properties, backing, template } = given
  const common = { subscription, group, location: undefined, state: 'Accepted' }
  await deleteResource(trx, id)
  await insertResource(
    trx,
    { ...common, id, type: DEPLOYMENT_TYPE, name, tags, body: { properties }, backing: { ...backing } },
    source,
  )
  const child = { id: templateIdOf(id), type: TEMPLATE_TYPE, name: 'current', parentId: id, tags: {}, body: {} }
  await insertResource(trx, { ...common, ...child, backing: { template } }, source)
}

export async function templateOf(catalog: Catalog, deployment: string): Promise<unknown> {
  return (await findResource(catalog, templateIdOf(deployment)))?.backing['template']
}

/** The record of that run; undefined when the deployment was removed or begun anew. */
export async function findRun(
  from: Catalog | CatalogTransaction,
  deployment: string,
  run: string,
): Promise<ResourceRecord | undefined> {
  const record = await findResource(from, deployment)
  return record !== undefined && backingOf(record).run === run ? record : undefined
}

export type DeploymentChange = Readonly<{
  state?: string
  parts?: readonly Part[]
  properties?: DeploymentProperties
}>

/** Changes the record of a run that is not over, as it is then. */
export function changeDeployment(
  host: Pick<ArmHost, 'catalog' | 'clock' | 'random'>,
  deployment: string,
  run: string,
  change: (record: ResourceRecord) => DeploymentChange,
): Promise<void> {
  return host.catalog.write(async (trx) => {
    const record = await findRun(trx, deployment, run)
    if (record === undefined || isOver(record)) return
    const { state, parts, properties } = change(record)
    const changed = {
      ...(state !== undefined && { state }),
      ...(parts !== undefined && { backing: { ...backingOf(record), parts } }),
      ...(properties !== undefined && { body: { properties: { ...propertiesOf(record), ...properties } } }),
    }
    await updateResource(trx, deployment, changed, changeSourceOf(host))
  })
}

/** Properties of a deployment that has just come to its end, or is looked at on the way. */
export function timesOf(startedMs: number, nowMs: number): Readonly<{ timestamp: string; duration: string }> {
  return { timestamp: isoTime(nowMs), duration: `PT${((nowMs - startedMs) / 1000).toFixed(3)}S` }
}

export async function listDeployments(catalog: Catalog, group?: string): Promise<ResourceRecord[]> {
  return listResources(catalog, { type: DEPLOYMENT_TYPE, ...(group !== undefined && { group }) })
}

/** Ends the record of a run, unless it has ended; then its sealed order goes. */
export async function settleDeployment(
  host: Pick<ArmHost, 'catalog' | 'clock' | 'random' | 'orders'>,
  deployment: string,
  run: string,
  error: PartError | undefined,
): Promise<void> {
  const nowMs = host.clock.nowMs()
  await changeDeployment(host, deployment, run, (record) => {
    const { parts, startedMs } = backingOf(record)
    const open: readonly PartState[] = ['Waiting', 'Running']
    return {
      state: error === undefined ? 'Canceled' : 'Failed',
      parts: parts.map(({ url: _url, ...part }) => (open.includes(part.state) ? { ...part, state: 'Canceled' } : part)),
      properties: { ...timesOf(startedMs, nowMs), ...(error !== undefined && { error }) },
    }
  })
  await host.orders.remove(run)
}
