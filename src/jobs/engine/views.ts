/** Reads jobs, steps and events for those who look at them, and forgets old ones. */
import type { Selectable } from 'kysely'
import type { Progress } from '#base'
import type { Catalog, JobEventTable, JobTable } from '#catalog'
import { FINAL_STATUSES } from '#domain'
import { EVENTS_PAGE_MAX } from '../limits.ts'
import type { JobEvent, JobFilter, JobView, StepView } from '../port.ts'
import { openError, openValue } from '../stored-value.ts'

const LIST_LIMIT_DEFAULT = 100
const LIST_LIMIT_MAX = 1000

export function viewOf(row: Selectable<JobTable>): JobView {
  return {
    id: row.id,
    sequence: row.sequence,
    name: row.name,
    version: row.version,
    queue: row.queue,
    key: row.key ?? undefined,
    priority: row.priority,
    parent: row.parent ?? undefined,
    status: row.status,
    input: openValue(row.input),
    output: openValue(row.output),
    error: row.error === null ? undefined : openError(row.error),
    progress: row.progress === null ? undefined : (JSON.parse(row.progress) as Progress),
    epoch: row.epoch,
    owner: row.owner ?? undefined,
    dueMs: row.due_ms ?? undefined,
    cancelRequested: row.cancel_ms !== null,
    createdMs: row.created_ms,
    startedMs: row.started_ms ?? undefined,
    finishedMs: row.finished_ms ?? undefined,
  }
}

export async function getJob(catalog: Catalog, id: string): Promise<JobView | undefined> {
  const row = await catalog.db.selectFrom('job').selectAll().where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : viewOf(row)
}

export async function listJobs(catalog: Catalog, filter: JobFilter): Promise<JobView[]> {
  let query = catalog.db.selectFrom('job').selectAll()
  if (filter.status !== undefined) query = query.where('status', 'in', filter.status)
  if (filter.name !== undefined) query = query.where('name', '=', filter.name)
  if (filter.key !== undefined) query = query.where('key', '=', filter.key)
  if (filter.parent !== undefined) query = query.where('parent', '=', filter.parent)
  const limit = Math.min(filter.limit ?? LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)
  const rows = await query.orderBy('sequence', 'desc').limit(limit).execute()
  return rows.map(viewOf)
}

export async function listSteps(catalog: Catalog, id: string): Promise<StepView[]> {
  const rows = await catalog.db
    .selectFrom('job_step')
    .selectAll()
    .where('job_id', '=', id)
    .orderBy('position')
    .orderBy('name')
    .execute()
  return rows.map((row) => ({
    name: row.name,
    kind: row.kind,
    status: row.status,
    attempts: row.attempts,
    epoch: row.epoch,
    error: row.error === null ? undefined : openError(row.error),
    startedMs: row.started_ms,
    finishedMs: row.finished_ms ?? undefined,
  }))
}

function eventOf(row: Selectable<JobEventTable>): JobEvent {
  const facts = JSON.parse(row.facts) as JobEvent['facts']
  return { sequence: row.sequence, jobId: row.job_id, atMs: row.at_ms, kind: row.kind, facts }
}

export async function listEvents(catalog: Catalog, afterSequence: number, id?: string): Promise<JobEvent[]> {
  let query = catalog.db.selectFrom('job_event').selectAll().where('sequence', '>', afterSequence)
  if (id !== undefined) query = query.where('job_id', '=', id)
  const rows = await query.orderBy('sequence').limit(EVENTS_PAGE_MAX).execute()
  return rows.map(eventOf)
}

/** How many jobs one transaction forgets: it holds the write lock meanwhile. */
const FORGET_BATCH = 500

/**
 * Forgets jobs that were over before the time given, with their steps, signals and events. A child stays while its parent
 * is not over: the parent may not have taken its result yet.
 */
export async function forgetHistory(catalog: Catalog, finishedBeforeMs: number): Promise<number> {
  let total = 0
  for (;;) {
    const removed = await catalog.write((trx) =>
      trx
        .deleteFrom('job')
        .where('id', 'in', (query) =>
          query
            .selectFrom('job as old')
            .select('old.id')
            .where('old.finished_ms', '<', finishedBeforeMs)
            .where('old.status', 'in', FINAL_STATUSES)
            .where((where) =>
              where.not(
                where.exists(
                  where
                    .selectFrom('job as parent')
                    .select('parent.id')
                    .whereRef('parent.id', '=', 'old.parent')
                    .where('parent.status', 'not in', FINAL_STATUSES),
                ),
              ),
            )
            .limit(FORGET_BATCH),
        )
        .executeTakeFirst(),
    )
    const count = Number(removed.numDeletedRows)
    total += count
    if (count < FORGET_BATCH) return total
  }
}
