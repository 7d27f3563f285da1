/**
 * As much of Microsoft Graph v1.0 as `az role assignment create --assignee` and `list` ask for: service principals, found by
 * client id, name or object id. Read only, for whoever has a token: ids and names, never credentials. There are no users or
 * groups: their lists are empty.
 * Source: Microsoft Graph "List servicePrincipals", "directoryObject: getByIds", v1.0.
 */
import { findPrincipal, listPrincipals, type Catalog, type Principal } from '#catalog'
import { ArmError } from '#contract'

export type DirectoryAnswer = Readonly<{ status: number; body: unknown }>

type View = Readonly<Record<string, unknown>>

const IDS_MAX = 1000

function view({ id, clientId, name, createdMs }: Principal): View {
  return {
    '@odata.type': '#microsoft.graph.servicePrincipal',
    id,
    appId: clientId,
    displayName: name,
    appDisplayName: name,
    servicePrincipalNames: [clientId, name],
    servicePrincipalType: 'Application',
    accountEnabled: true,
    createdDateTime: new globalThis.Date(createdMs).toISOString(),
  }
}

type Test = (principal: Principal) => boolean

/** The filters that `az` sends, each with one text in single quotes (doubled inside). */
const FILTERS: readonly (readonly [RegExp, (text: string) => Test])[] = [
  [
    /^servicePrincipalNames\/any\((\w+):\s*\1\s+eq\s+'((?:[^']|'')*)'\)$/i,
    (text) => (one) => one.clientId === text.toLowerCase() || one.name === text,
  ],
  [/^()appId\s+eq\s+'((?:[^']|'')*)'$/i, (text) => (one) => one.clientId === text.toLowerCase()],
  [/^()id\s+eq\s+'((?:[^']|'')*)'$/i, (text) => (one) => one.id === text.toLowerCase()],
  [/^()displayName\s+eq\s+'((?:[^']|'')*)'$/i, (text) => (one) => one.name === text],
  [/^()startswith\(displayName,\s*'((?:[^']|'')*)'\)$/i, (text) => (one) => one.name.startsWith(text)],
]

/** @throws ArmError `InvalidFilterInQueryString` */
function testOf(filter: string | undefined): Test {
  if (filter === undefined || filter.trim() === '') return () => true
  const tests = filter.split(/\s+or\s+/i).map((term) => {
    for (const [pattern, make] of FILTERS) {
      const text = pattern.exec(term.trim())?.[2]
      if (text !== undefined) return make(text.replaceAll("''", "'"))
    }
    throw new ArmError('InvalidFilterInQueryString', `The filter '${term.slice(0, 100)}' is not supported here.`)
  })
  return (principal) => tests.some((test) => test(principal))
}

async function one(catalog: Catalog, id: string): Promise<DirectoryAnswer> {
  const appId = /^\(appId='([^']+)'\)$/i.exec(id)?.[1]
  const found = await findPrincipal(catalog, appId ?? id)
  if (found !== undefined && [found.id, found.clientId].includes((appId ?? id).toLowerCase()))
    return { status: 200, body: view(found) }
  return refusal(404, 'Request_ResourceNotFound', `Resource '${id.slice(0, 100)}' does not exist.`)
}

function refusal(status: number, code: string, message: string): DirectoryAnswer {
  return { status, body: { error: { code, message } } }
}

async function byIds(catalog: Catalog, body: unknown): Promise<DirectoryAnswer> {
  const { ids, types } = (body ?? {}) as Readonly<Record<string, unknown>>
  if (!Array.isArray(ids) || ids.length > IDS_MAX || ids.some((id) => typeof id !== 'string'))
    return refusal(400, 'Request_BadRequest', `'ids' must be an array of at most ${IDS_MAX} texts.`)
  const kinds = Array.isArray(types) ? types.map((kind) => String(kind).toLowerCase()) : ['serviceprincipal']
  const wanted = new Set(ids.map((id) => String(id).toLowerCase()))
  const isAsked = kinds.includes('serviceprincipal') || kinds.includes('directoryobject')
  const found = isAsked ? (await listPrincipals(catalog)).filter(({ id }) => wanted.has(id)) : []
  return { status: 200, body: { value: found.map(view) } }
}

export type DirectoryRequest = Readonly<{ method: string; path: string; filter: string | undefined; body: unknown }>

/** @param request `path` is what stands behind `/graph/v1.0` */
export async function askDirectory(catalog: Catalog, request: DirectoryRequest): Promise<DirectoryAnswer> {
  const { method, path, filter, body } = request
  const [kind = '', id, ...more] = path.split('/').filter((segment) => segment !== '')
  const name = kind.toLowerCase()
  if (more.length === 0 && method === 'POST' && name === 'directoryobjects' && id?.toLowerCase() === 'getbyids')
    return byIds(catalog, body)
  if (more.length === 0 && method === 'GET') {
    if (name === 'serviceprincipals' && id !== undefined) return one(catalog, id)
    if (name.startsWith('serviceprincipals(')) return one(catalog, kind.slice('servicePrincipals'.length))
    if (name === 'serviceprincipals') {
      const test = testOf(filter)
      return { status: 200, body: { value: (await listPrincipals(catalog)).filter(test).map(view) } }
    }
    if ((name === 'users' || name === 'groups') && id === undefined) return { status: 200, body: { value: [] } }
  }
  return refusal(
    404,
    'Request_ResourceNotFound',
    `Holdfast's directory does not provide ${method} ${path.slice(0, 100)}.`,
  )
}
