/** Service principals, what they log in with (as verifiers only), and the roles that they were given. */
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { PrincipalCredentialTable, RoleAssignmentTable } from './schema.ts'

export type Principal = Readonly<{ id: string; clientId: string; name: string; createdMs: number }>

export type Credential = Readonly<{
  id: string
  principal: string
  kind: 'secret' | 'certificate'
  verifier: string
  hint: string
  createdMs: number
  expiresMs: number | undefined
}>

export type RoleAssignment = Readonly<{
  /** Id of the assignment in lower case. */
  key: string
  name: string
  scope: string
  role: string
  principal: string
  principalType: string
  description: string | undefined
  createdMs: number
  createdBy: string
}>

type PrincipalRow = Readonly<{ id: string; client_id: string; name: string; created_ms: number }>

function readPrincipal(row: PrincipalRow): Principal {
  return { id: row.id, clientId: row.client_id, name: row.name, createdMs: row.created_ms }
}

function readCredential(row: PrincipalCredentialTable): Credential {
  const { id, principal, kind, verifier, hint, created_ms, expires_ms } = row
  return { id, principal, kind, verifier, hint, createdMs: created_ms, expiresMs: expires_ms ?? undefined }
}

function readAssignment(row: RoleAssignmentTable): RoleAssignment {
  return {
    key: row.key,
    name: row.name,
    scope: row.scope,
    role: row.role,
    principal: row.principal,
    principalType: row.principal_type,
    description: row.description ?? undefined,
    createdMs: row.created_ms,
    createdBy: row.created_by,
  }
}

export async function insertPrincipal(trx: CatalogTransaction, principal: Principal): Promise<void> {
  const { id, clientId, name, createdMs } = principal
  await trx.insertInto('principal').values({ id, client_id: clientId, name, created_ms: createdMs }).execute()
}

/** By object id, client id or name. */
export async function findPrincipal(catalog: Catalog, text: string): Promise<Principal | undefined> {
  const row = await catalog.db
    .selectFrom('principal')
    .selectAll()
    .where((where) =>
      where.or([
        where('id', '=', text.toLowerCase()),
        where('client_id', '=', text.toLowerCase()),
        where('name', '=', text),
      ]),
    )
    .executeTakeFirst()
  return row === undefined ? undefined : readPrincipal(row)
}

export async function listPrincipals(catalog: Catalog): Promise<Principal[]> {
  return (await catalog.db.selectFrom('principal').selectAll().orderBy('name').execute()).map(readPrincipal)
}

/** Removes the principal, its credentials and its role assignments. */
export async function deletePrincipal(trx: CatalogTransaction, id: string): Promise<void> {
  await trx.deleteFrom('role_assignment').where('principal', '=', id).execute()
  await trx.deleteFrom('principal').where('id', '=', id).execute()
}

export async function insertCredential(trx: CatalogTransaction, credential: Credential): Promise<void> {
  const { createdMs, expiresMs, ...rest } = credential
  await trx
    .insertInto('principal_credential')
    .values({ ...rest, created_ms: createdMs, expires_ms: expiresMs ?? null })
    .execute()
}

export async function listCredentials(catalog: Catalog, principal: string): Promise<Credential[]> {
  const query = catalog.db.selectFrom('principal_credential').selectAll().where('principal', '=', principal)
  return (await query.orderBy('created_ms').orderBy('id').execute()).map(readCredential)
}

/** Lets the principal's present secrets end at that time, unless they end before. */
export async function endSecretsAt(trx: CatalogTransaction, principal: string, atMs: number): Promise<void> {
  await trx
    .updateTable('principal_credential')
    .set({ expires_ms: atMs })
    .where('principal', '=', principal)
    .where('kind', '=', 'secret')
    .where((where) => where.or([where('expires_ms', 'is', null), where('expires_ms', '>', atMs)]))
    .execute()
}

/** Forgets credentials that ended before that time: until then their owners are told that they ended. Gives their number. */
export async function forgetCredentials(catalog: Catalog, beforeMs: number): Promise<number> {
  const gone = await catalog.write((trx) =>
    trx.deleteFrom('principal_credential').where('expires_ms', '<', beforeMs).executeTakeFirst(),
  )
  return Number(gone.numDeletedRows)
}

export async function deleteCredential(trx: CatalogTransaction, id: string): Promise<void> {
  await trx.deleteFrom('principal_credential').where('id', '=', id).execute()
}

export async function insertRoleAssignment(trx: CatalogTransaction, assignment: RoleAssignment): Promise<void> {
  const { principalType, createdMs, createdBy, description, ...rest } = assignment
  await trx
    .insertInto('role_assignment')
    .values({
      ...rest,
      scope_key: assignment.scope.toLowerCase(),
      principal_type: principalType,
      description: description ?? null,
      created_ms: createdMs,
      created_by: createdBy,
    })
    .execute()
}

export async function findRoleAssignment(catalog: Catalog, id: string): Promise<RoleAssignment | undefined> {
  const row = await catalog.db
    .selectFrom('role_assignment')
    .selectAll()
    .where('key', '=', id.toLowerCase())
    .executeTakeFirst()
  return row === undefined ? undefined : readAssignment(row)
}

export type AssignmentFilter = Readonly<{ principal?: string; scope?: string }>

export async function listRoleAssignments(
  from: Catalog | CatalogTransaction,
  filter: AssignmentFilter = {},
): Promise<RoleAssignment[]> {
  const reader: Pick<CatalogTransaction, 'selectFrom'> = 'db' in from ? from.db : from
  let query = reader.selectFrom('role_assignment').selectAll()
  if (filter.principal !== undefined) query = query.where('principal', '=', filter.principal)
  if (filter.scope !== undefined) query = query.where('scope_key', '=', filter.scope.toLowerCase())
  return (await query.orderBy('created_ms').orderBy('key').execute()).map(readAssignment)
}

export async function deleteRoleAssignment(trx: CatalogTransaction, id: string): Promise<void> {
  await trx.deleteFrom('role_assignment').where('key', '=', id.toLowerCase()).execute()
}
