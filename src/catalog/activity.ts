/** The audit log: one event for every change that was asked for, done or refused; never edited. */
import type { Catalog } from './catalog.ts'

export type ActivityEvent = Readonly<{
  sequence: number
  id: string
  atMs: number
  correlation: string
  /** Client id of the principal. */
  caller: string
  action: string
  resource: string
  status: 'Accepted' | 'Succeeded' | 'Failed'
  httpStatus: number
  operation: string | undefined
  facts: Readonly<Record<string, unknown>>
}>

export async function recordActivity(catalog: Catalog, event: Omit<ActivityEvent, 'sequence'>): Promise<void> {
  const { atMs, httpStatus, operation, facts, resource, ...rest } = event
  await catalog.write((trx) =>
    trx
      .insertInto('activity')
      .values({
        ...rest,
        at_ms: atMs,
        resource,
        resource_key: resource.toLowerCase(),
        http_status: httpStatus,
        operation: operation ?? null,
        facts: JSON.stringify(facts),
      })
      .execute(),
  )
}

export type ActivityFilter = Readonly<{ fromMs?: number; toMs?: number; resourcePrefix?: string; limit: number }>

/** Newest first. */
export async function listActivity(catalog: Catalog, filter: ActivityFilter): Promise<ActivityEvent[]> {
  let query = catalog.db.selectFrom('activity').selectAll()
  if (filter.fromMs !== undefined) query = query.where('at_ms', '>=', filter.fromMs)
  if (filter.toMs !== undefined) query = query.where('at_ms', '<=', filter.toMs)
  if (filter.resourcePrefix !== undefined) {
    const prefix = filter.resourcePrefix.toLowerCase()
    query = query.where((where) =>
      where.or([where('resource_key', '=', prefix), where('resource_key', 'like', `${prefix.replace(/[%_]/g, '')}/%`)]),
    )
  }
  const rows = await query.orderBy('sequence', 'desc').limit(filter.limit).execute()
  return rows.map((row) => ({
    sequence: row.sequence,
    id: row.id,
    atMs: row.at_ms,
    correlation: row.correlation,
    caller: row.caller,
    action: row.action,
    resource: row.resource,
    status: row.status as ActivityEvent['status'],
    httpStatus: row.http_status,
    operation: row.operation ?? undefined,
    facts: JSON.parse(row.facts) as Record<string, unknown>,
  }))
}

/** Azure keeps 90 days. */
export async function forgetActivity(catalog: Catalog, beforeMs: number): Promise<void> {
  await catalog.write((trx) => trx.deleteFrom('activity').where('at_ms', '<', beforeMs).execute())
}
