/**
 * Taking jobs, keeping them, giving them back.
 *
 *   state of a running job's owner          who may take it
 *   alive, lease renewed                    nobody
 *   provably dead on this host              anybody, at once
 *   silent until the lease ran out          anybody (it may still live: its epoch is then old, and it drops out)
 *
 * A claim is one transaction that begins with the write lock, so limits hold over all processes of one catalog.
 */
import { type Selectable, sql } from 'kysely'
import type { CatalogTransaction, JobTable } from '#catalog'
import { CLAIMABLE_STATUSES } from '#domain'
import { processState } from '#runtime'
import type { QueueLimits } from '../port.ts'
import { addEvent } from './fence.ts'
import type { EngineSettings } from './settings.ts'

export type ClaimedJob = Readonly<Selectable<JobTable>>

export type Ownership = Readonly<{
  settings: EngineSettings
  /** This engine, among all that ever ran. */
  owner: string
  leaseMs: number
}>

/** Records who we are, so that others can tell whether we are dead. */
export async function announce({ settings, owner }: Ownership): Promise<void> {
  const { bootId, pidNamespace, pid, startTicks } = settings.process
  const row = { boot_id: bootId, pid_namespace: pidNamespace, pid, start_ticks: startTicks }
  const seen = { seen_ms: settings.clock.nowMs() }
  await settings.catalog.write((trx) =>
    trx
      .insertInto('job_owner')
      .values({ id: owner, ...row, ...seen })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(seen))
      .execute(),
  )
}

/** Owners of running jobs that are provably dead on this host. */
export async function deadOwners({ settings, owner }: Ownership): Promise<string[]> {
  const rows = await settings.catalog.db
    .selectFrom('job_owner')
    .selectAll()
    .where('id', '!=', owner)
    .where('id', 'in', (query) =>
      query
        .selectFrom('job')
        .select('owner')
        .where('status', '=', 'running')
        .where('owner', 'is not', null)
        .$castTo<{ owner: string }>(),
    )
    .execute()
  return rows
    .filter((row) => {
      const identity = {
        bootId: row.boot_id,
        pidNamespace: row.pid_namespace,
        pid: row.pid,
        startTicks: row.start_ticks,
      }
      return processState(identity) === 'dead'
    })
    .map((row) => row.id)
}

export type QueueClaim = Readonly<{
  queue: string
  limits: QueueLimits
  /** `name` and `version` of every definition that this process knows. */
  known: readonly (readonly [name: string, version: number])[]
  dead: readonly string[]
}>

/** Anything but an unlimited bind: SQLite takes 32,766 parameters. */
const NO_LIMIT = 1_000_000

function listOf(values: readonly string[]) {
  return values.length === 0 ? sql`(null)` : sql`(${sql.join(values)})`
}

async function findClaimable(
  trx: CatalogTransaction,
  claim: QueueClaim,
  owner: string,
  nowMs: number,
): Promise<Readonly<{ id: string; status: string; owner: string | null }> | undefined> {
  const dead = listOf(claim.dead)
  const live = sql`r.status = 'running' and r.lease_ms >= ${nowMs} and r.owner not in ${
    claim.dead.length === 0 ? sql`('')` : dead
  }`
  const known = sql.join(claim.known.map(([name, version]) => sql`(${name}, ${version})`))
  const result = await sql<{ id: string; status: string; owner: string | null }>`
    select j.id, j.status, j.owner from job j
    where j.queue = ${claim.queue} and (j.name, j.version) in (values ${known})
      and ((j.status in ${listOf(CLAIMABLE_STATUSES)} and j.due_ms <= ${nowMs})
        or (j.status = 'running' and j.owner <> ${owner} and (j.lease_ms < ${nowMs} or j.owner in ${dead})))
      and (select count(*) from job r where r.queue = j.queue and ${live}) < ${claim.limits.concurrency}
      and (j.key is null or (select count(*) from job r where r.queue = j.queue and r.key = j.key and ${live})
        < ${claim.limits.perKeyConcurrency ?? NO_LIMIT})
    order by j.priority, j.due_ms, j.sequence limit 1`.execute(trx)
  return result.rows[0]
}

/** Takes the next job of a queue, if there is one and the limits leave room. */
export function claimNext(ownership: Ownership, claim: QueueClaim): Promise<ClaimedJob | undefined> {
  const { settings, owner, leaseMs } = ownership
  return settings.catalog.write(async (trx) => {
    const nowMs = settings.clock.nowMs()
    const found = await findClaimable(trx, claim, owner, nowMs)
    if (found === undefined) return undefined
    const row = await trx
      .updateTable('job')
      .set((update) => ({
        status: 'running' as const,
        owner,
        lease_ms: nowMs + leaseMs,
        epoch: update('epoch', '+', 1),
        started_ms: sql<number>`coalesce(started_ms, ${nowMs})`,
      }))
      .where('id', '=', found.id)
      .returningAll()
      .executeTakeFirstOrThrow()
    const kind = found.status === 'running' ? 'taken_over' : 'claimed'
    await addEvent(trx, row.id, nowMs, kind, { owner, epoch: row.epoch, before: found.owner })
    return row
  })
}

/** Prolongs all our leases; gives id and epoch of the jobs that are still ours. */
export async function renewLeases(ownership: Ownership): Promise<Map<string, number>> {
  const { settings, owner, leaseMs } = ownership
  const rows = await settings.catalog.write((trx) =>
    trx
      .updateTable('job')
      .set({ lease_ms: settings.clock.nowMs() + leaseMs })
      .where('owner', '=', owner)
      .where('status', '=', 'running')
      .returning(['id', 'epoch'])
      .execute(),
  )
  return new Map(rows.map((row) => [row.id, row.epoch]))
}

/** Of our running jobs those that someone asked to stop, with the reason given. */
export async function cancelRequests({ settings, owner }: Ownership): Promise<Map<string, string>> {
  const rows = await settings.catalog.db
    .selectFrom('job')
    .select(['id', 'cancel_reason'])
    .where('owner', '=', owner)
    .where('status', '=', 'running')
    .where('cancel_ms', 'is not', null)
    .execute()
  return new Map(rows.map((row) => [row.id, row.cancel_reason ?? '']))
}

/** Forgets owners that own nothing and were not seen for ten leases. */
export async function forgetOwners({ settings, owner, leaseMs }: Ownership): Promise<void> {
  await settings.catalog.write((trx) =>
    trx
      .deleteFrom('job_owner')
      .where('id', '!=', owner)
      .where('seen_ms', '<', settings.clock.nowMs() - 10 * leaseMs)
      .where((where) =>
        where.not(
          where.exists(
            where
              .selectFrom('job')
              .select('job.id')
              .whereRef('job.owner', '=', 'job_owner.id')
              .where('status', '=', 'running'),
          ),
        ),
      )
      .execute(),
  )
}
