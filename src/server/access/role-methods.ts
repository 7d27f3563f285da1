/**
 * Roles over the server's socket: Azure's built-in ones, by name or GUID, given to a principal at a scope.
 *
 *   role.definitions                        → {id, name, description}[]
 *   role.list {principal?, scope?}          → AssignmentView[]
 *   role.assign {role, principal, scope?}   → AssignmentView; without scope: the subscription
 *   role.unassign {role, principal, scope?} → AssignmentView
 */
import { randomUuid } from '#base'
import {
  deleteRoleAssignment,
  findSetting,
  insertRoleAssignment,
  listPrincipals,
  listRoleAssignments,
  type Principal,
  type RoleAssignment,
} from '#catalog'
import { parseResourceId } from '#contract'
import { BUILT_IN_ROLES, type RoleDefinition } from '#domain'
import type { RpcMethods } from '#runtime'
import { ServerError } from '../errors.ts'
import { type AdminParts, fieldsOf, LOCAL_CALLER, optionalTextOf, recordChange, textOf } from './admin-call.ts'
import { type AssignmentView, assignmentView, checkOwnerLeft, principalNamed } from './principal-methods.ts'

export type RoleView = Readonly<{ id: string; name: string; description: string }>

const ACTION = 'Microsoft.Authorization/roleAssignments'

/** @throws ServerError `role_not_found` */
export function roleNamed(given: string): RoleDefinition {
  const key = given.toLowerCase()
  const found = BUILT_IN_ROLES.find(
    ({ id, name }) => key === id || key.endsWith(`/${id}`) || key === name.toLowerCase(),
  )
  if (found !== undefined) return found
  throw new ServerError('role_not_found', `There is no role "${given}".`, {
    facts: { role: given },
    hint: 'See "holdfast role list --definitions".',
  })
}

/** A resource id of this server in the standard spelling, or "/" for everything. @throws ServerError `role_scope_invalid` */
async function scopeOf({ catalog }: AdminParts, given: string | undefined): Promise<string> {
  const subscription = await findSetting(catalog, 'subscription')
  if (subscription === undefined)
    throw new ServerError('face_not_open', 'The home has no subscription yet: the server is starting.', {
      retry: 'later',
    })
  if (given === undefined) return `/subscriptions/${subscription}`
  if (given === '/') return given
  const refuse = (why: string): ServerError =>
    new ServerError('role_scope_invalid', `No role can be given at "${given}": ${why}.`, {
      facts: { scope: given },
      hint: `Give /, /subscriptions/${subscription} or the id of something in it.`,
    })
  let scope
  try {
    scope = parseResourceId(given)
  } catch {
    throw refuse('it is no id of a resource') // All that the parser says.
  }
  if (scope.subscription?.toLowerCase() !== subscription) throw refuse('this server has another subscription')
  return scope.text
}

type Wanted = Readonly<{ role: RoleDefinition; principal: Principal; scope: string; principals: readonly Principal[] }>

async function wantedOf(parts: AdminParts, params: unknown): Promise<Wanted> {
  const fields = fieldsOf(params)
  const principals = await listPrincipals(parts.catalog)
  const principal = principalNamed(principals, textOf(fields, 'principal'))
  const role = roleNamed(textOf(fields, 'role'))
  return { role, principal, principals, scope: await scopeOf(parts, optionalTextOf(fields, 'scope')) }
}

const sameAs =
  ({ role, principal, scope }: Wanted) =>
  (one: RoleAssignment): boolean =>
    one.role === role.id && one.principal === principal.id && one.scope.toLowerCase() === scope.toLowerCase()

function words({ role, principal, scope }: Wanted): string {
  return `${principal.name} has the role ${role.name} at ${scope}`
}

async function assign(parts: AdminParts, params: unknown): Promise<AssignmentView> {
  const wanted = await wantedOf(parts, params)
  const { role, principal, scope, principals } = wanted
  const name = randomUuid(parts.random)
  const assignment: RoleAssignment = {
    key: `${scope === '/' ? '' : scope}/providers/Microsoft.Authorization/roleAssignments/${name}`.toLowerCase(),
    name,
    scope,
    role: role.id,
    principal: principal.id,
    principalType: 'ServicePrincipal',
    description: undefined,
    createdMs: parts.clock.nowMs(),
    createdBy: LOCAL_CALLER,
  }
  const isNew = await parts.catalog.write(async (trx) => {
    if ((await listRoleAssignments(trx, { principal: principal.id })).some(sameAs(wanted))) return false
    await insertRoleAssignment(trx, assignment)
    return true
  })
  if (!isNew)
    throw new ServerError('role_assignment_exists', `${words(wanted)} already.`, {
      facts: { principal: principal.name, role: role.name, scope },
    })
  await recordChange(parts, `${ACTION}/write`, assignment.key)
  return assignmentView(assignment, principals)
}

async function unassign(parts: AdminParts, params: unknown): Promise<AssignmentView> {
  const wanted = await wantedOf(parts, params)
  const found = await parts.catalog.write(async (trx) => {
    const all = await listRoleAssignments(trx)
    const existing = all.find(sameAs(wanted))
    if (existing === undefined) return undefined
    checkOwnerLeft(all, ({ key }) => key === existing.key)
    await deleteRoleAssignment(trx, existing.key)
    return existing
  })
  if (found === undefined)
    throw new ServerError('role_assignment_not_found', `It is not so that ${words(wanted)}.`, {
      hint: 'See "holdfast role list".',
    })
  await recordChange(parts, `${ACTION}/delete`, found.key)
  return assignmentView(found, wanted.principals)
}

async function list(parts: AdminParts, params: unknown): Promise<AssignmentView[]> {
  const fields = fieldsOf(params)
  const principals = await listPrincipals(parts.catalog)
  const principal = optionalTextOf(fields, 'principal')
  const given = optionalTextOf(fields, 'scope')
  const scope = given === undefined ? undefined : await scopeOf(parts, given)
  const found = await listRoleAssignments(parts.catalog, {
    ...(principal !== undefined && { principal: principalNamed(principals, principal).id }),
    ...(scope !== undefined && { scope }),
  })
  return found.map((assignment) => assignmentView(assignment, principals))
}

export function roleMethods(parts: AdminParts): RpcMethods {
  return {
    'role.definitions': () => BUILT_IN_ROLES.map(({ id, name, description }) => ({ id, name, description })),
    'role.list': (params) => list(parts, params),
    'role.assign': (params) => assign(parts, params),
    'role.unassign': (params) => unassign(parts, params),
  }
}
