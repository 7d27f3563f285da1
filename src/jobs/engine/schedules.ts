/**
 * Schedules: each slot starts one job, once, whatever number of processes look.
 *
 * The job's id is made of the schedule and the slot, and the job, the slot and the next due time are written in one
 * transaction. After downtime the newest missed slot runs once (`catchUp: 'once'`) or none does; while the job of an
 * earlier slot is not over, slots are passed over and counted.
 */
import type { Selectable } from 'kysely'
import type { CatalogTransaction, JobScheduleTable } from '#catalog'
import { dueSlots, isFinal, nextSlotMs } from '#domain'
import type { ScheduleSpec, ScheduleView } from '../port.ts'
import { openValue, sealValue } from '../stored-value.ts'
import { insertJob, planJob, type Registry } from './create-job.ts'
import { addEvent } from './fence.ts'
import type { EngineSettings } from './settings.ts'

type ScheduleRow = Selectable<JobScheduleTable>

/** A slot that is found later than this counts as missed. */
const PUNCTUAL_MS = 60_000

/** Creates or changes a schedule. One whose times did not change keeps its place. @throws DomainError, JobsError */
export async function putSchedule(settings: EngineSettings, registry: Registry, spec: ScheduleSpec): Promise<void> {
  const nextMs = nextSlotMs(spec, settings.clock.nowMs()) ?? null
  const planned = planJob(registry, { id: 'none', job: spec.job, input: spec.input, options: spec }, 0)
  const row = {
    cron: spec.cron,
    time_zone: spec.timeZone,
    job_name: spec.job,
    input: sealValue(spec.input, `The input of schedule ${spec.name}`),
    queue: planned.queue,
    key: planned.key,
    catch_up: spec.catchUp ?? ('once' as const),
  }
  await settings.catalog.write(async (trx) => {
    const before = await trx.selectFrom('job_schedule').selectAll().where('name', '=', spec.name).executeTakeFirst()
    if (before === undefined) {
      const fresh = { next_ms: nextMs, last_slot_ms: null, last_job_id: null, skipped: 0 }
      await trx
        .insertInto('job_schedule')
        .values({ name: spec.name, ...row, ...fresh })
        .execute()
      return
    }
    const sameTimes = before.cron === spec.cron && before.time_zone === spec.timeZone
    const change = sameTimes ? row : { ...row, next_ms: nextMs }
    await trx.updateTable('job_schedule').set(change).where('name', '=', spec.name).execute()
  })
}

export async function listSchedules(settings: EngineSettings): Promise<ScheduleView[]> {
  const rows = await settings.catalog.db.selectFrom('job_schedule').selectAll().orderBy('name').execute()
  return rows.map((row) => ({
    name: row.name,
    cron: row.cron,
    timeZone: row.time_zone,
    job: row.job_name,
    input: openValue(row.input),
    queue: row.queue,
    ...(row.key === null ? {} : { key: row.key }),
    catchUp: row.catch_up,
    nextMs: row.next_ms ?? undefined,
    lastSlotMs: row.last_slot_ms ?? undefined,
    lastJobId: row.last_job_id ?? undefined,
    skipped: row.skipped,
  }))
}

export async function removeSchedule(settings: EngineSettings, name: string): Promise<void> {
  await settings.catalog.write((trx) => trx.deleteFrom('job_schedule').where('name', '=', name).execute())
}

async function stillRuns(trx: CatalogTransaction, id: string | null): Promise<boolean> {
  if (id === null) return false
  const row = await trx.selectFrom('job').select('status').where('id', '=', id).executeTakeFirst()
  return row !== undefined && !isFinal(row.status)
}

async function fireOne(
  trx: CatalogTransaction,
  registry: Registry,
  row: ScheduleRow & { next_ms: number },
  nowMs: number,
): Promise<string | undefined> {
  const due = dueSlots({ cron: row.cron, timeZone: row.time_zone }, row.next_ms, nowMs)
  if (due.latestMs === undefined) return undefined
  const late = nowMs - due.latestMs > PUNCTUAL_MS && row.catch_up === 'skip'
  const blocked = await stillRuns(trx, row.last_job_id)
  const runs = !late && !blocked
  const id = `${row.name}@${due.latestMs}`
  if (runs) {
    const options = { queue: row.queue, ...(row.key === null ? {} : { key: row.key }) }
    await insertJob(trx, planJob(registry, { id, job: row.job_name, input: openValue(row.input), options }, nowMs))
  } else if (blocked && row.last_job_id !== null) {
    await addEvent(trx, row.last_job_id, nowMs, 'slot_passed_over', { schedule: row.name, slotMs: due.latestMs })
  }
  await trx
    .updateTable('job_schedule')
    .set({
      next_ms: due.nextMs ?? null,
      last_slot_ms: due.latestMs,
      last_job_id: runs ? id : row.last_job_id,
      skipped: row.skipped + due.count - (runs ? 1 : 0),
    })
    .where('name', '=', row.name)
    .execute()
  return runs ? id : undefined
}

/** Starts what is due; gives the ids of the new jobs. A schedule whose job this process does not know is left to others. */
export async function fireDue(settings: EngineSettings, registry: Registry): Promise<string[]> {
  const nowMs = settings.clock.nowMs()
  const known = registry.known().map(([name]) => name)
  if (known.length === 0) return []
  const queues = Array.from(registry.queues.keys())
  const due = (db: Pick<CatalogTransaction, 'selectFrom'>) =>
    db
      .selectFrom('job_schedule')
      .selectAll()
      .where('next_ms', '<=', nowMs)
      .where('job_name', 'in', known)
      .where('queue', 'in', queues)
      .execute()
  if ((await due(settings.catalog.db)).length === 0) return []
  return settings.catalog.write(async (trx) => {
    const started: string[] = []
    for (const row of await due(trx)) {
      if (row.next_ms === null) continue
      const id = await fireOne(trx, registry, { ...row, next_ms: row.next_ms }, nowMs)
      if (id !== undefined) started.push(id)
    }
    return started
  })
}
