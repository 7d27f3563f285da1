/**
 * Service principals over the server's socket. A secret is in the answer that made it and nowhere else, but for the
 * administrator's, which `client-env` names as a file.
 *
 *   principal.add {name, days?}                        → Principal with its secret
 *   principal.list                                     → Principal[]
 *   principal.show {principal}                         → Principal with its credentials and roles
 *   principal.remove {principal}
 *   principal.reset-secret {principal, overlapHours, days?}   → as add; older secrets end after the overlap
 *
 * `principal` is a name, an object id or a client id.
 */
import { isoTime, randomUuid } from '#base'
import { makeSecret } from '#api'
import {
  type Credential,
  deletePrincipal,
  endSecretsAt,
  insertCredential,
  insertPrincipal,
  listCredentials,
  listPrincipals,
  listRoleAssignments,
  type Principal,
  type RoleAssignment,
} from '#catalog'
import { findRole, OWNER_ROLE } from '#domain'
import { replaceFile, type RpcMethods } from '#runtime'
import { ServerError } from '../errors.ts'
import { ADMINISTRATOR, administratorSecretPath } from '../face/first-start.ts'
import { type AdminParts, fieldsOf, numberOf, optionalNumber, recordChange, textOf } from './admin-call.ts'

export type PrincipalView = Readonly<{ id: string; clientId: string; name: string; createdAt: string }>
export type CredentialView = Readonly<{
  id: string
  kind: string
  hint: string
  createdAt: string
  expiresAt: string | undefined
}>
export type AssignmentView = Readonly<{
  role: string
  roleId: string
  scope: string
  principal: string
  createdAt: string
}>
export type PrincipalDetail = PrincipalView &
  Readonly<{ credentials: readonly CredentialView[]; roles: readonly AssignmentView[] }>
export type NewPrincipal = PrincipalView & Readonly<{ secret: string; expiresAt: string | undefined }>

const NAME = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const DAY_MS = 24 * 3_600_000
const DAYS_MAX = 3650
const OVERLAP_HOURS_MAX = 24 * 365
const ACTION = 'Microsoft.Graph/servicePrincipals'

export function principalView({ id, clientId, name, createdMs }: Principal): PrincipalView {
  return { id, clientId, name, createdAt: isoTime(createdMs) }
}

export function credentialView({ id, kind, hint, createdMs, expiresMs }: Credential): CredentialView {
  const expiresAt = expiresMs === undefined ? undefined : isoTime(expiresMs)
  return { id, kind, hint, createdAt: isoTime(createdMs), expiresAt }
}

export function assignmentView(assignment: RoleAssignment, principals: readonly Principal[]): AssignmentView {
  const { role, scope, principal, createdMs } = assignment
  const name = principals.find(({ id }) => id === principal)?.name ?? principal
  return { role: findRole(role)?.name ?? role, roleId: role, scope, principal: name, createdAt: isoTime(createdMs) }
}

/** @throws ServerError `principal_not_found` */
export function principalNamed(principals: readonly Principal[], given: string): Principal {
  const key = given.toLowerCase()
  const found = principals.find(({ id, clientId, name }) => id === key || clientId === key || name === given)
  if (found !== undefined) return found
  throw new ServerError('principal_not_found', `There is no principal "${given}".`, {
    facts: { principal: given },
    hint: 'See "holdfast principal list".',
  })
}

/** @throws ServerError `principal_last_owner` when nobody else could give roles any more */
export function checkOwnerLeft(assignments: readonly RoleAssignment[], leaves: (one: RoleAssignment) => boolean): void {
  const owners = assignments.filter(({ scope, role }) => scope === '/' && findRole(role)?.id === OWNER_ROLE)
  if (!owners.some(leaves) || owners.some((one) => !leaves(one))) return
  throw new ServerError(
    'principal_last_owner',
    'This is the last Owner of everything: nobody could give roles any more.',
    {
      hint: 'Give another principal the role first: holdfast role assign Owner NAME --scope /',
    },
  )
}

function newSecret({ random, clock }: AdminParts, principal: string, days: number | undefined) {
  const nowMs = clock.nowMs()
  return makeSecret(principal, { random, nowMs, ...(days !== undefined && { expiresMs: nowMs + days * DAY_MS }) })
}

function shown(principal: Principal, secret: string, { expiresMs }: Credential): NewPrincipal {
  return { ...principalView(principal), secret, expiresAt: expiresMs === undefined ? undefined : isoTime(expiresMs) }
}

async function add(parts: AdminParts, params: unknown): Promise<NewPrincipal> {
  const fields = fieldsOf(params)
  const name = textOf(fields, 'name')
  const days = optionalNumber(fields, 'days', DAYS_MAX)
  if (!NAME.test(name) || GUID.test(name))
    throw new ServerError('principal_invalid', `A principal cannot be called "${name}".`, {
      facts: { name },
      hint: 'A letter, then up to 63 letters, digits, dots, underlines and hyphens.',
    })
  const { catalog, clock, random } = parts
  const principal = { id: randomUuid(random), clientId: randomUuid(random), name, createdMs: clock.nowMs() }
  const { secret, credential } = newSecret(parts, principal.id, days)
  const taken = await catalog.write(async (trx) => {
    const existing = await trx.selectFrom('principal').select('name').where('name', '=', name).executeTakeFirst()
    if (existing !== undefined) return true
    await insertPrincipal(trx, principal)
    await insertCredential(trx, credential)
    return false
  })
  if (taken) throw new ServerError('principal_exists', `There is a principal "${name}" already.`, { facts: { name } })
  await recordChange(parts, `${ACTION}/write`, `/servicePrincipals/${principal.id}`)
  return shown(principal, secret, credential)
}

async function show({ catalog }: AdminParts, params: unknown): Promise<PrincipalDetail> {
  const principals = await listPrincipals(catalog)
  const principal = principalNamed(principals, textOf(fieldsOf(params), 'principal'))
  const credentials = await listCredentials(catalog, principal.id)
  const roles = await listRoleAssignments(catalog, { principal: principal.id })
  return {
    ...principalView(principal),
    credentials: credentials.map(credentialView),
    roles: roles.map((role) => assignmentView(role, principals)),
  }
}

async function remove(parts: AdminParts, params: unknown): Promise<PrincipalView> {
  const { catalog } = parts
  const principal = principalNamed(await listPrincipals(catalog), textOf(fieldsOf(params), 'principal'))
  await catalog.write(async (trx) => {
    checkOwnerLeft(await listRoleAssignments(trx), (one) => one.principal === principal.id)
    await deletePrincipal(trx, principal.id)
  })
  await recordChange(parts, `${ACTION}/delete`, `/servicePrincipals/${principal.id}`)
  return principalView(principal)
}

async function resetSecret(parts: AdminParts, params: unknown): Promise<NewPrincipal> {
  const fields = fieldsOf(params)
  const { catalog, clock, home } = parts
  const principal = principalNamed(await listPrincipals(catalog), textOf(fields, 'principal'))
  const days = optionalNumber(fields, 'days', DAYS_MAX)
  const overlapHours = numberOf(fields, 'overlapHours', OVERLAP_HOURS_MAX)
  const { secret, credential } = newSecret(parts, principal.id, days)
  await catalog.write(async (trx) => {
    await endSecretsAt(trx, principal.id, clock.nowMs() + overlapHours * 3_600_000)
    await insertCredential(trx, credential)
  })
  // A crash in between leaves the file with the older secret, good for the overlap; resetting again mends it.
  if (principal.name === ADMINISTRATOR)
    await replaceFile(administratorSecretPath(home), [new TextEncoder().encode(`${secret}\n`)])
  await recordChange(parts, `${ACTION}/addPassword/action`, `/servicePrincipals/${principal.id}`)
  return shown(principal, secret, credential)
}

export function principalMethods(parts: AdminParts): RpcMethods {
  return {
    'principal.add': (params) => add(parts, params),
    'principal.list': async () => (await listPrincipals(parts.catalog)).map(principalView),
    'principal.show': (params) => show(parts, params),
    'principal.remove': (params) => remove(parts, params),
    'principal.reset-secret': (params) => resetSecret(parts, params),
  }
}
