/**
 * `Microsoft.Authorization/locks` at any scope, as `az lock` and the SDK use them; who heeds them is the dispatcher
 * (src/api/arm/locks.ts). A lock is a record whose parent is what it locks, so that it goes with it.
 * Source: Azure "Management Locks" 2020-05-01.
 */
import {
  deleteResource,
  findResource,
  insertResource,
  listResources,
  type NewResource,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, checkFilterFields, groupId, type ResourceId, pageOf, parseFilter, parseResourceId } from '#contract'
import { isWithin } from '#domain'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { LOCK_LEVELS, LOCK_TYPE, type LockLevel, scopeOfLock } from '../../arm/locks.ts'

/** What the check and docs/api/locks.md are made from. */
export const LOCK_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'systemData', use: 'read-only' },
  { path: 'properties.level', use: 'honoured', note: 'CanNotDelete or ReadOnly' },
  { path: 'properties.notes', use: 'honoured', note: 'at most 512 characters' },
  { path: 'properties.owners', use: 'refused', note: 'Who may remove a lock is said by roles alone.' },
  { path: 'level', use: 'honoured', note: 'as old clients send it' },
  { path: 'notes', use: 'honoured', note: 'as old clients send it' },
]

const LIST = `/{scope}/providers/${LOCK_TYPE}`
const PATH = `${LIST}/{name}`
const NAME = /^[-\w.()]{1,260}$/
const NOTES_LENGTH_MAX = 512

function idOf(call: ArmCall): string {
  return `${call.param('scope')}/providers/${LOCK_TYPE}/${call.param('name')}`
}

function show({ id, name, type, body }: ResourceRecord): Readonly<Record<string, unknown>> {
  return { id, name, type, properties: body['properties'] }
}

async function find(call: ArmCall): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, idOf(call))
  if (record !== undefined) return record
  throw new ArmError('LockNotFound', `The lock '${call.param('name')}' is not found at '${call.param('scope')}'.`)
}

/** What the lock is put on must be there. */
async function scopeOf(call: ArmCall): Promise<ResourceId> {
  const scope = parseResourceId(call.param('scope'), 'scope')
  if (scope.subscription?.toLowerCase() !== call.host.subscriptionId)
    throw new ArmError('SubscriptionNotFound', `The subscription '${scope.subscription ?? ''}' could not be found.`)
  const isSubscription = scope.parent === undefined
  if (!isSubscription && (await findResource(call.host.catalog, scope.text)) === undefined)
    throw new ArmError('ResourceNotFound', `'${scope.text}' was not found.`)
  return scope
}

type Wanted = Readonly<{ level: LockLevel; notes: string | undefined }>

/** Old clients send the fields without `properties`. */
function readWanted(given: unknown): Wanted {
  const body = objectBody(given)
  checkFields(LOCK_FIELDS, body)
  const { level, notes } = objectBody(body['properties'] ?? body)
  const found = LOCK_LEVELS.find((known) => typeof level === 'string' && known.toLowerCase() === level.toLowerCase())
  if (found === undefined)
    throw new ArmError('InvalidParameter', `The level of a lock is one of ${LOCK_LEVELS.join(', ')}.`, {
      target: 'properties.level',
    })
  if (notes === undefined || notes === null) return { level: found, notes: undefined }
  if (typeof notes !== 'string' || notes.length > NOTES_LENGTH_MAX)
    throw new ArmError('InvalidParameter', `The notes of a lock are text of at most ${NOTES_LENGTH_MAX} characters.`, {
      target: 'properties.notes',
    })
  return { level: found, notes }
}

async function put(call: ArmCall): Promise<ArmReply> {
  const name = call.param('name')
  if (!NAME.test(name)) throw new ArmError('InvalidResourceName', `'${name}' cannot be the name of a lock.`)
  const scope = await scopeOf(call)
  const { level, notes } = readWanted(call.body)
  const { catalog, subscriptionId } = call.host
  const source = changeSourceOf(call.host)
  const body = { properties: { level, ...(notes !== undefined && { notes }) } }
  const lock: NewResource = {
    id: idOf(call),
    subscription: subscriptionId,
    group: scope.group === undefined ? undefined : groupId(subscriptionId, scope.group),
    parentId: scope.text,
    type: LOCK_TYPE,
    name,
    location: undefined,
    tags: {},
    state: 'Succeeded',
    body,
    backing: {},
  }
  const { record, isNew } = await catalog.write(async (trx) => {
    const changed = await updateResource(trx, lock.id, { body }, source)
    return { record: changed ?? (await insertResource(trx, lock, source)), isNew: changed === undefined }
  })
  return { status: isNew ? 201 : 200, body: show(record) }
}

/** Locks at the scope, below it, and above it where they hold too (unless `atScope()`). */
async function list(call: ArmCall): Promise<ArmReply> {
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, ['atScope'])
  const scope = call.param('scope')
  const { catalog, subscriptionId } = call.host
  const records = (await listResources(catalog, { subscription: subscriptionId, type: LOCK_TYPE })).filter(({ id }) => {
    const at = scopeOfLock(id)
    return isWithin(at, scope) || (terms.length === 0 && isWithin(scope, at))
  })
  return ok(pageOf(records.map(show), call.url, call.query('$skipToken')))
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const record = await findResource(call.host.catalog, idOf(call))
  if (record === undefined) return noContent
  await call.host.catalog.write((trx) => deleteResource(trx, record.id))
  return { status: 200 }
}

export const lockRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: LIST, action: `${LOCK_TYPE}/read`, handle: list },
  { method: 'GET', path: PATH, action: `${LOCK_TYPE}/read`, handle: async (call) => ok(show(await find(call))) },
  { method: 'PUT', path: PATH, action: `${LOCK_TYPE}/write`, handle: put },
  { method: 'DELETE', path: PATH, action: `${LOCK_TYPE}/delete`, handle: remove },
]
