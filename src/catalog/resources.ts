/**
 * Resources of the Azure face as records. What the API shows is id, type, name, location, tags and `body`; what stands behind
 * (files, points of a repository) is `backing`, which is never shown. Every change gives a new etag.
 */
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { ResourceTable } from './schema.ts'

export type ResourceRecord = Readonly<{
  id: string
  key: string
  subscription: string
  /** Key of the resource group; empty for what stands outside groups. */
  groupKey: string
  type: string
  name: string
  parentKey: string | undefined
  location: string | undefined
  tags: Readonly<Record<string, string>>
  state: string
  etag: string
  body: Readonly<Record<string, unknown>>
  backing: Readonly<Record<string, unknown>>
  createdMs: number
  changedMs: number
}>

export type NewResource = Omit<ResourceRecord, 'key' | 'groupKey' | 'etag' | 'createdMs' | 'changedMs' | 'parentKey'> &
  Readonly<{ group: string | undefined; parentId?: string | undefined }>

export type ResourceChange = Readonly<Partial<Pick<ResourceRecord, 'location' | 'tags' | 'state' | 'body' | 'backing'>>>

/** Where an etag and the time of a change come from. */
export type ChangeSource = Readonly<{ nowMs: () => number; newEtag: () => string }>

function read(row: ResourceTable): ResourceRecord {
  return {
    id: row.id,
    key: row.key,
    subscription: row.subscription,
    groupKey: row.group_key,
    type: row.type,
    name: row.name,
    parentKey: row.parent_key ?? undefined,
    location: row.location ?? undefined,
    tags: JSON.parse(row.tags) as Record<string, string>,
    state: row.state,
    etag: row.etag,
    body: JSON.parse(row.body) as Record<string, unknown>,
    backing: JSON.parse(row.backing) as Record<string, unknown>,
    createdMs: row.created_ms,
    changedMs: row.changed_ms,
  }
}

type Reader = Pick<CatalogTransaction, 'selectFrom'>

export async function findResource(
  from: Catalog | CatalogTransaction,
  id: string,
): Promise<ResourceRecord | undefined> {
  const reader: Reader = 'db' in from ? from.db : from
  const row = await reader.selectFrom('resource').selectAll().where('key', '=', id.toLowerCase()).executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

export type ResourceFilter = Readonly<{
  subscription?: string
  /** Id of a resource group. */
  group?: string
  type?: string
  /** Id of a parent resource. */
  parent?: string
}>

/** In the order of their ids. */
export async function listResources(
  from: Catalog | CatalogTransaction,
  filter: ResourceFilter,
): Promise<ResourceRecord[]> {
  const reader: Reader = 'db' in from ? from.db : from
  let query = reader.selectFrom('resource').selectAll()
  if (filter.subscription !== undefined) query = query.where('subscription', '=', filter.subscription.toLowerCase())
  if (filter.group !== undefined) query = query.where('group_key', '=', filter.group.toLowerCase())
  if (filter.type !== undefined) query = query.where('type_key', '=', filter.type.toLowerCase())
  if (filter.parent !== undefined) query = query.where('parent_key', '=', filter.parent.toLowerCase())
  const rows = await query.orderBy('key').execute()
  return rows.map(read)
}

/** The record must not exist yet. */
export async function insertResource(
  trx: CatalogTransaction,
  given: NewResource,
  source: ChangeSource,
): Promise<ResourceRecord> {
  const nowMs = source.nowMs()
  const row: ResourceTable = {
    key: given.id.toLowerCase(),
    id: given.id,
    subscription: given.subscription.toLowerCase(),
    group_key: given.group?.toLowerCase() ?? '',
    type_key: given.type.toLowerCase(),
    type: given.type,
    name: given.name,
    parent_key: given.parentId?.toLowerCase() ?? null,
    location: given.location ?? null,
    tags: JSON.stringify(given.tags),
    state: given.state,
    etag: source.newEtag(),
    body: JSON.stringify(given.body),
    backing: JSON.stringify(given.backing),
    created_ms: nowMs,
    changed_ms: nowMs,
  }
  await trx.insertInto('resource').values(row).execute()
  return read(row)
}

/** Replaces the parts that are given; undefined when there is no such resource. */
export async function updateResource(
  trx: CatalogTransaction,
  id: string,
  change: ResourceChange,
  source: ChangeSource,
): Promise<ResourceRecord | undefined> {
  const { location, tags, state, body, backing } = change
  await trx
    .updateTable('resource')
    .set({
      etag: source.newEtag(),
      changed_ms: source.nowMs(),
      ...(location !== undefined && { location }),
      ...(tags !== undefined && { tags: JSON.stringify(tags) }),
      ...(state !== undefined && { state }),
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(backing !== undefined && { backing: JSON.stringify(backing) }),
    })
    .where('key', '=', id.toLowerCase())
    .execute()
  return findResource(trx, id)
}

/** Removes the record and those of its children. */
export async function deleteResource(trx: CatalogTransaction, id: string): Promise<void> {
  const key = id.toLowerCase()
  await trx
    .deleteFrom('resource')
    .where((where) => where.or([where('key', '=', key), where('parent_key', '=', key)]))
    .execute()
}
