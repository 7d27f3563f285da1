/**
 * Management locks as the dispatcher heeds them. Source: Azure "Lock your resources": a lock holds at its scope and below;
 * CanNotDelete forbids deletions, ReadOnly every change, actions by POST included. What holds a locked thing cannot be deleted
 * either. Locks themselves are never kept from being changed or removed by locks: their own actions say who may.
 */
import { listResources } from '#catalog'
import { ArmError } from '#contract'
import { isWithin } from '#domain'
import type { ArmCall, ArmRoute } from './call.ts'

export const LOCK_TYPE = 'Microsoft.Authorization/locks'
export const LOCK_LEVELS = ['CanNotDelete', 'ReadOnly'] as const
export type LockLevel = (typeof LOCK_LEVELS)[number]

export type Lock = Readonly<{ id: string; scope: string; level: LockLevel }>

const LOCK_SUFFIX = /\/providers\/microsoft\.authorization\/locks\/[^/]+$/i

export function scopeOfLock(id: string): string {
  return id.replace(LOCK_SUFFIX, '')
}

async function locksOf({ host }: ArmCall): Promise<Lock[]> {
  const records = await listResources(host.catalog, { subscription: host.subscriptionId, type: LOCK_TYPE })
  return records.map(({ id, body }) => {
    const { level } = body['properties'] as { level: LockLevel }
    return { id, scope: scopeOfLock(id), level }
  })
}

function forbids(lock: Lock, route: ArmRoute, id: string): boolean {
  if (route.method === 'DELETE') return isWithin(lock.scope, id) || isWithin(id, lock.scope)
  return lock.level === 'ReadOnly' && isWithin(lock.scope, id)
}

/** @throws ArmError `ScopeLocked` */
export async function checkLocks(route: ArmRoute, call: ArmCall): Promise<void> {
  if (route.method === 'GET' || route.method === 'HEAD' || route.action.endsWith('/read')) return
  if (route.action.toLowerCase().startsWith(`${LOCK_TYPE.toLowerCase()}/`)) return
  const inTheWay = (await locksOf(call)).filter((lock) => forbids(lock, route, call.id))
  if (inTheWay.length === 0) return
  const what = route.method === 'DELETE' ? 'delete' : route.method === 'POST' ? 'action' : 'write'
  throw new ArmError(
    'ScopeLocked',
    `The scope '${call.id}' cannot perform ${what} operation because following scope(s) are locked: ` +
      `'${inTheWay.map(({ scope }) => scope).join("', '")}'. Please remove the lock and try again.`,
    { details: inTheWay.map(({ id, level }) => ({ code: level, message: `The lock ${id}.`, target: id })) },
  )
}
