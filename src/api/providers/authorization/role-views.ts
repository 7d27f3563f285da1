/** Role definitions and assignments as the API shows them. */
import { isoTime } from '#base'
import type { RoleAssignment } from '#catalog'
import type { RoleDefinition } from '#domain'

const PROVIDER = '/providers/Microsoft.Authorization'

/**
 * @param scope of the request: definitions are the same at every scope; their ids name the subscription that it is in, and
 * nothing below, so that they are those of the assignments
 */
export function definitionView(role: RoleDefinition, scope: string): Readonly<Record<string, unknown>> {
  const [subscription = ''] = /^\/subscriptions\/[^/]+/i.exec(scope) ?? []
  const { id, name, description, actions, notActions, dataActions, notDataActions } = role
  return {
    id: `${subscription}${PROVIDER}/roleDefinitions/${id}`,
    name: id,
    type: 'Microsoft.Authorization/roleDefinitions',
    properties: {
      roleName: name,
      type: 'BuiltInRole',
      description,
      assignableScopes: ['/'],
      permissions: [{ actions, notActions, dataActions, notDataActions }],
    },
  }
}

/** @param subscriptionId role definitions are named below it, as Azure does */
export function assignmentView(assignment: RoleAssignment, subscriptionId: string): Readonly<Record<string, unknown>> {
  const { name, scope, role, principal, principalType, description, createdMs, createdBy } = assignment
  const above = scope === '/' ? '' : scope
  const time = isoTime(createdMs)
  return {
    id: `${above}${PROVIDER}/roleAssignments/${name}`,
    name,
    type: 'Microsoft.Authorization/roleAssignments',
    properties: {
      roleDefinitionId: `/subscriptions/${subscriptionId}${PROVIDER}/roleDefinitions/${role}`,
      principalId: principal,
      principalType,
      scope,
      condition: null,
      conditionVersion: null,
      description: description ?? null,
      createdOn: time,
      updatedOn: time,
      createdBy,
      updatedBy: createdBy,
      delegatedManagedIdentityResourceId: null,
    },
  }
}
