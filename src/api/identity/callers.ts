/** Principals with what they may, as it is now: looked up at every request, so that a role taken away is gone at once. */
import { type Catalog, findPrincipal, listRoleAssignments, type Principal } from '#catalog'
import type { Caller } from '../arm/call.ts'

export async function callerOf(catalog: Catalog, principal: Principal): Promise<Caller> {
  const assignments = await listRoleAssignments(catalog, { principal: principal.id })
  return { principal, grants: assignments.map(({ scope, role }) => ({ scope, roleId: role })) }
}

/** By object id; undefined when there is no such principal any more. */
export async function findCaller(catalog: Catalog, id: string): Promise<Caller | undefined> {
  const principal = await findPrincipal(catalog, id)
  return principal === undefined ? undefined : callerOf(catalog, principal)
}
