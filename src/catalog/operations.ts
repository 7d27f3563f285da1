/**
 * Long-running operations of the API. The record says what was asked for and how its end is answered; how it goes is the
 * job's to say, which carries the same id. It is written in the same transaction as the change that it announces, and before
 * its job is started: `listOperationsWithoutJob` finds those that a crash kept from being started.
 */
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { OperationTable } from './schema.ts'

/**
 * How the `Location` URL answers a success: with the job's output, with the resource as it is then, with nothing, or with a
 * signed URL to its bytes, which is made when it is asked for and kept nowhere.
 */
export type OperationReply = Readonly<{ kind: 'output' | 'resource' | 'empty' | 'access' }>

export type OperationRecord = Readonly<{
  id: string
  kind: string
  subscription: string
  location: string
  resourceKey: string
  action: string
  principal: string
  request: string
  reply: OperationReply
  job: string
  jobInput: unknown
  queue: string
  jobKey: string | undefined
  createdMs: number
}>

function read(row: OperationTable): OperationRecord {
  return {
    id: row.id,
    kind: row.kind,
    subscription: row.subscription,
    location: row.location,
    resourceKey: row.resource_key,
    action: row.action,
    principal: row.principal,
    request: row.request,
    reply: JSON.parse(row.reply) as OperationReply,
    job: row.job,
    jobInput: JSON.parse(row.job_input) as unknown,
    queue: row.queue,
    jobKey: row.job_key ?? undefined,
    createdMs: row.created_ms,
  }
}

export async function insertOperation(trx: CatalogTransaction, operation: OperationRecord): Promise<void> {
  await trx
    .insertInto('operation')
    .values({
      id: operation.id,
      kind: operation.kind,
      subscription: operation.subscription.toLowerCase(),
      location: operation.location,
      resource_key: operation.resourceKey,
      action: operation.action,
      principal: operation.principal,
      request: operation.request,
      reply: JSON.stringify(operation.reply),
      job: operation.job,
      job_input: JSON.stringify(operation.jobInput ?? null),
      queue: operation.queue,
      job_key: operation.jobKey ?? null,
      created_ms: operation.createdMs,
    })
    .execute()
}

export async function findOperation(catalog: Catalog, id: string): Promise<OperationRecord | undefined> {
  const row = await catalog.db.selectFrom('operation').selectAll().where('id', '=', id.toLowerCase()).executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

/** The newest operation on the resource. */
export async function newestOperationOf(
  from: Catalog | CatalogTransaction,
  resourceKey: string,
): Promise<OperationRecord | undefined> {
  const reader: Pick<CatalogTransaction, 'selectFrom'> = 'db' in from ? from.db : from
  const row = await reader
    .selectFrom('operation')
    .selectAll()
    .where('resource_key', '=', resourceKey)
    .orderBy('created_ms', 'desc')
    .orderBy('id', 'desc')
    .executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

export async function listOperationsWithoutJob(catalog: Catalog): Promise<OperationRecord[]> {
  const rows = await catalog.db
    .selectFrom('operation')
    .selectAll('operation')
    .leftJoin('job', 'job.id', 'operation.id')
    .where('job.id', 'is', null)
    .orderBy('operation.created_ms')
    .execute()
  return rows.map(read)
}

/** Forgets operations that began before that time. Call it before their jobs are forgotten, or they would begin again. */
export async function forgetOperations(catalog: Catalog, beforeMs: number): Promise<void> {
  await catalog.write((trx) =>
    trx
      .deleteFrom('operation')
      .where('created_ms', '<', beforeMs)
      .where((where) =>
        where.exists(
          where
            .selectFrom('job')
            .select('job.id')
            .whereRef('job.id', '=', 'operation.id')
            .where('job.status', 'in', ['succeeded', 'failed', 'cancelled']),
        ),
      )
      .execute(),
  )
}
