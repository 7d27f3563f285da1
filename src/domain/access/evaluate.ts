/**
 * Whether an assignment of roles allows an action at a scope. Source: Azure "Understand Azure role assignments" and "role
 * definitions": an assignment holds at its scope and below; a role allows what matches one of its actions and none of its
 * notActions; several assignments add up; nothing is allowed by default.
 */
import { findRole, type RoleDefinition } from './role-definitions.ts'

export type Grant = Readonly<{ /** A resource id; empty or "/" is everything. */ scope: string; roleId: string }>

/** `*` stands for any text, slashes included; compared without case. */
export function actionMatches(pattern: string, action: string): boolean {
  const [text, parts] = [action.toLowerCase(), pattern.toLowerCase().split('*')]
  const [first = '', ...others] = parts
  if (!text.startsWith(first)) return false
  const last = others.pop()
  if (last === undefined) return text === first
  let at = first.length
  for (const part of others) {
    const found = text.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return text.length - last.length >= at && text.endsWith(last)
}

/** Whether `scope` is the thing itself or holds it: by whole segments, without case. */
export function isWithin(scope: string, id: string): boolean {
  const [outer, inner] = [scope.toLowerCase().replace(/\/+$/, ''), id.toLowerCase()]
  return outer === '' || inner === outer || inner.startsWith(`${outer}/`)
}

function roleAllows(role: RoleDefinition, action: string, isData: boolean): boolean {
  const [allowed, taken] = isData ? [role.dataActions, role.notDataActions] : [role.actions, role.notActions]
  return (
    allowed.some((pattern) => actionMatches(pattern, action)) &&
    !taken.some((pattern) => actionMatches(pattern, action))
  )
}

/** @param id of the thing that the action is about; for a creation, of the thing to be */
export function isAllowed(grants: readonly Grant[], action: string, id: string, isData = false): boolean {
  return grants.some((grant) => {
    const role = isWithin(grant.scope, id) ? findRole(grant.roleId) : undefined
    return role !== undefined && roleAllows(role, action, isData)
  })
}

/**
 * Whether anything at or below `id` may be read: who was given one disk sees its subscription and group in lists, as on
 * Azure, but not their other contents.
 */
export function mayEnter(grants: readonly Grant[], id: string): boolean {
  return grants.some(({ scope }) => isWithin(scope, id) || isWithin(id, scope))
}
