/**
 * Who may do what: `Microsoft.Authorization` role assignments and definitions, at any scope. Roles are Azure's built-in ones;
 * making others is refused by name. Source: Azure "Role assignments - REST API" 2022-04-01.
 */
import {
  deleteRoleAssignment,
  findPrincipal,
  findResource,
  findRoleAssignment,
  insertRoleAssignment,
  listRoleAssignments,
  type RoleAssignment,
} from '#catalog'
import { ArmError, checkFilterFields, equalTo, type FilterTerm, parseFilter, parseResourceId } from '#contract'
import { BUILT_IN_ROLES, findRole, isWithin, type RoleDefinition } from '#domain'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { objectBody } from '../../arm/json-body.ts'
import { assignmentView, definitionView } from './role-views.ts'

const ASSIGNMENTS = '/{scope}/providers/Microsoft.Authorization/roleAssignments'
const DEFINITIONS = '/{scope}/providers/Microsoft.Authorization/roleDefinitions'
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const DESCRIPTION_LENGTH_MAX = 1024

function scopeOf(call: ArmCall): string {
  const scope = call.param('scope')
  return scope === '' ? '/' : parseResourceId(scope).text
}

function filterOf(call: ArmCall): FilterTerm[] {
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, ['atScope', 'assignedTo', 'principalId', 'roleName', 'type'])
  return terms
}

function calls(terms: readonly FilterTerm[], name: string): string | undefined {
  for (const term of terms) if (term.kind === 'call' && term.name === name) return term.arguments[0] ?? ''
  return undefined
}

/** Azure's rule: at and above the scope always; below it unless `atScope()`. */
async function list(call: ArmCall): Promise<ArmReply> {
  const scope = scopeOf(call)
  const terms = filterOf(call)
  const principal = (equalTo(terms, 'principalId') ?? calls(terms, 'assignedto'))?.toLowerCase()
  const onlyAbove = calls(terms, 'atscope') !== undefined
  const { catalog, subscriptionId } = call.host
  const found = (await listRoleAssignments(catalog, principal === undefined ? {} : { principal })).filter(
    (assignment) => isWithin(assignment.scope, scope) || (!onlyAbove && isWithin(scope, assignment.scope)),
  )
  return ok({ value: found.map((assignment) => assignmentView(assignment, subscriptionId)) })
}

async function find(call: ArmCall): Promise<RoleAssignment | undefined> {
  const scope = call.param('scope')
  return findRoleAssignment(
    call.host.catalog,
    `${scope}/providers/Microsoft.Authorization/roleAssignments/${call.param('name')}`,
  )
}

async function show(call: ArmCall): Promise<ArmReply> {
  const assignment = await find(call)
  if (assignment === undefined)
    throw new ArmError('RoleAssignmentNotFound', `The role assignment '${call.param('name')}' is not found.`)
  return ok(assignmentView(assignment, call.host.subscriptionId))
}

/** A grant at what is not there would wait for whatever gets that id later. */
async function checkScopeExists({ host }: ArmCall, scope: string): Promise<void> {
  const { subscription, parent } = scope === '/' ? {} : parseResourceId(scope, 'scope')
  if (scope === '/' || (subscription?.toLowerCase() === host.subscriptionId && parent === undefined)) return
  if ((await findResource(host.catalog, scope)) === undefined)
    throw new ArmError('ResourceNotFound', `The scope '${scope}' was not found.`, { target: 'scope' })
}

type Wanted = Readonly<{
  role: RoleDefinition
  principal: string
  principalType: string
  description: string | undefined
}>

/** Clients before 2018 send the fields without `properties`; all are read. */
async function readWanted(call: ArmCall): Promise<Wanted> {
  const body = objectBody(call.body)
  const { roleDefinitionId, principalId, principalType, description } = objectBody(body['properties'] ?? body)
  const role = typeof roleDefinitionId === 'string' ? findRole(roleDefinitionId) : undefined
  if (role === undefined)
    throw new ArmError(
      'RoleDefinitionDoesNotExist',
      `The specified role definition '${String(roleDefinitionId)}' does not exist.`,
      {
        target: 'properties.roleDefinitionId',
      },
    )
  const principal = typeof principalId === 'string' ? await findPrincipal(call.host.catalog, principalId) : undefined
  if (principal === undefined || principal.id !== String(principalId).toLowerCase())
    throw new ArmError('InvalidPrincipalId', `There is no principal with the object id '${String(principalId)}'.`, {
      target: 'properties.principalId',
    })
  if (principalType !== undefined && principalType !== null && principalType !== 'ServicePrincipal')
    throw new ArmError('InvalidParameter', 'Holdfast has service principals only.', {
      target: 'properties.principalType',
    })
  if (
    description !== undefined &&
    description !== null &&
    (typeof description !== 'string' || description.length > DESCRIPTION_LENGTH_MAX)
  )
    throw new ArmError('InvalidParameter', 'The description is not text of a reasonable length.', {
      target: 'properties.description',
    })
  for (const field of ['condition', 'delegatedManagedIdentityResourceId'] as const) {
    const value = objectBody(body['properties'] ?? body)[field]
    // A condition that is not heeded would give more than was meant.
    if (value !== undefined && value !== null)
      throw new ArmError('UnsupportedField', `Holdfast does not support '${field}' on role assignments.`, {
        target: `properties.${field}`,
      })
  }
  return { role, principal: principal.id, principalType: 'ServicePrincipal', description: description ?? undefined }
}

async function put(call: ArmCall): Promise<ArmReply> {
  const name = call.param('name').toLowerCase()
  if (!GUID.test(name))
    throw new ArmError('InvalidResourceName', 'The name of a role assignment must be a GUID.', { target: 'name' })
  const scope = scopeOf(call)
  await checkScopeExists(call, scope)
  const wanted = await readWanted(call)
  const existing = await find(call)
  if (existing !== undefined) {
    const same = existing.role === wanted.role.id && existing.principal === wanted.principal
    if (!same)
      throw new ArmError(
        'PropertyChangeNotAllowed',
        'Role and principal of an assignment cannot be changed: delete it and make another.',
      )
    return ok(assignmentView(existing, call.host.subscriptionId))
  }
  const { catalog, clock, subscriptionId } = call.host
  const others = await listRoleAssignments(catalog, { principal: wanted.principal, scope })
  if (others.some(({ role }) => role === wanted.role.id))
    throw new ArmError('RoleAssignmentExists', 'The role assignment already exists.')
  const assignment: RoleAssignment = {
    key: `${scope === '/' ? '' : scope}/providers/Microsoft.Authorization/roleAssignments/${name}`.toLowerCase(),
    name,
    scope,
    role: wanted.role.id,
    principal: wanted.principal,
    principalType: wanted.principalType,
    description: wanted.description,
    createdMs: clock.nowMs(),
    createdBy: call.caller.principal.id,
  }
  await catalog.write((trx) => insertRoleAssignment(trx, assignment))
  return { status: 201, body: assignmentView(assignment, subscriptionId) }
}

/** The last Owner of everything stays: nobody could give a role any more. */
async function checkNotLast(call: ArmCall, assignment: RoleAssignment): Promise<void> {
  const owner = (role: string): boolean => findRole(role)?.name === 'Owner'
  if (assignment.scope !== '/' || !owner(assignment.role)) return
  const others = (await listRoleAssignments(call.host.catalog, { scope: '/' })).filter(
    ({ key, role }) => key !== assignment.key && owner(role),
  )
  if (others.length === 0)
    throw new ArmError(
      'OperationNotAllowed',
      'This is the last Owner of everything: give the role to another principal first.',
    )
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const assignment = await find(call)
  if (assignment === undefined) return noContent
  await checkNotLast(call, assignment)
  await call.host.catalog.write((trx) => deleteRoleAssignment(trx, assignment.key))
  return ok(assignmentView(assignment, call.host.subscriptionId))
}

function listDefinitions(call: ArmCall): ArmReply {
  const terms = filterOf(call)
  const [name, type] = [equalTo(terms, 'roleName'), equalTo(terms, 'type')]
  const roles = BUILT_IN_ROLES.filter((role) => name === undefined || role.name.toLowerCase() === name.toLowerCase())
  const shown = type === undefined || type.toLowerCase() === 'builtinrole' ? roles : []
  return ok({ value: shown.map((role) => definitionView(role, call.param('scope'))) })
}

function showDefinition(call: ArmCall): ArmReply {
  const role = findRole(call.param('name'))
  if (role === undefined)
    throw new ArmError('RoleDefinitionDoesNotExist', `The role definition '${call.param('name')}' does not exist.`, {
      status: 404,
    })
  return ok(definitionView(role, call.param('scope')))
}

function refuseDefinition(): never {
  throw new ArmError('NotSupported', 'Holdfast has Azure’s built-in roles; custom roles are not supported.')
}

const ACTION = 'Microsoft.Authorization/roleAssignments'
const DEFINITION_ACTION = 'Microsoft.Authorization/roleDefinitions'

export const roleRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: ASSIGNMENTS, action: `${ACTION}/read`, handle: list },
  { method: 'GET', path: `${ASSIGNMENTS}/{name}`, action: `${ACTION}/read`, handle: show },
  { method: 'PUT', path: `${ASSIGNMENTS}/{name}`, action: `${ACTION}/write`, handle: put },
  { method: 'DELETE', path: `${ASSIGNMENTS}/{name}`, action: `${ACTION}/delete`, handle: remove },
  {
    method: 'GET',
    path: DEFINITIONS,
    action: `${DEFINITION_ACTION}/read`,
    access: 'signed-in',
    handle: listDefinitions,
  },
  {
    method: 'GET',
    path: `${DEFINITIONS}/{name}`,
    action: `${DEFINITION_ACTION}/read`,
    access: 'signed-in',
    handle: showDefinition,
  },
  { method: 'PUT', path: `${DEFINITIONS}/{name}`, action: `${DEFINITION_ACTION}/write`, handle: refuseDefinition },
  { method: 'DELETE', path: `${DEFINITIONS}/{name}`, action: `${DEFINITION_ACTION}/delete`, handle: refuseDefinition },
]
