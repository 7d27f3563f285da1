/** What providers whose resources are records share: the routes of a type, the records that a caller may see, the region that must be here. */
import { findRegion, listResources, type ResourceRecord } from '#catalog'
import { groupId } from '#contract'
import type { ArmCall, ArmRoute } from './call.ts'
import { noRegionHere } from './linked-servers.ts'

/** Those of the type, in the group of the path or else in the subscription, that the caller may read. */
export async function readableRecords(call: ArmCall, type: string): Promise<ResourceRecord[]> {
  const { catalog, subscriptionId: subscription } = call.host
  const { group } = call.params
  const within = group === undefined ? {} : { group: groupId(subscription, group) }
  const records = await listResources(catalog, { subscription, type, ...within })
  return records.filter(({ id }) => call.may(`${type}/read`, id))
}

type Handlers = Readonly<Record<'list' | 'get' | 'put' | 'patch' | 'remove', ArmRoute['handle']>>

/** List in the subscription and in a group, show, put, patch, delete. */
export function routesOfType(type: string, { list, get, put, patch, remove }: Handlers): ArmRoute[] {
  const inGroup = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${type}`
  const one = `${inGroup}/{name}`
  const lists = [`/subscriptions/{subscription}/providers/${type}`, inGroup]
  return [
    ...lists.map((path): ArmRoute => ({ method: 'GET', path, action: `${type}/read`, access: 'filter', handle: list })),
    { method: 'GET', path: one, action: `${type}/read`, handle: get },
    { method: 'PUT', path: one, action: `${type}/write`, handle: put },
    { method: 'PATCH', path: one, action: `${type}/write`, handle: patch },
    { method: 'DELETE', path: one, action: `${type}/delete`, handle: remove },
  ]
}

/** @throws ArmError `InvalidLocation`, which says whose region it is if that is known */
export async function checkRegion({ host }: ArmCall, location: string): Promise<void> {
  if ((await findRegion(host.catalog, location)) !== undefined) return
  throw await noRegionHere(host, location)
}
