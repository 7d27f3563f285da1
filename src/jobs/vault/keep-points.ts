/**
 * What retention does by itself, as jobs:
 *
 *   keep-points     does each item's policy to the records of its points (keep-by-policy.ts): daily, and after an edit of a policy
 *   purge-points    gives up what is marked and due in the vaults' repositories, then removes the records: hourly, and when asked for
 *   prune-vaults    frees in each vault's repository what nothing needs any more: nightly
 *
 *   dies                                   what is left                        what goes on
 *   keep-points, between two batches       some items done                     the rest; doing one twice changes nothing
 *   purge-points, before the repository    marks                               they are read again
 *   purge-points, before the records       records of points that are gone     the task gives them as gone, the records go
 *   prune-vaults                           see engine/repository, prune        it decides anew
 *
 * A record goes only after its point: what the API lists can be restored, or is marked as deleted.
 */
import {
  type Catalog,
  changeVaultPoint,
  deleteProtectedItem,
  deleteVaultPoint,
  findProtectedItem,
  findVaultPoint,
  listProtectedItems,
  listResources,
  listVaultPoints,
  type VaultPoint,
} from '#catalog'
import { isHoldfastError } from '#base'
import type { JobContext, JobDefinition, JobEngine } from '../port.ts'
import { recordOf } from '../repository-access.ts'
import { PRUNE_TASK, type Pruned } from '../compute/version-tasks.ts'
import { FORGET_POINTS_TASK, type ForgottenPoints } from './forget-points.ts'
import { keepByPolicy } from './keep-by-policy.ts'
import { isHeld } from './restore/point-holds.ts'
import type { ProtectionParts } from './vault-backup.ts'
import { vaultRepository } from './vault-repository.ts'
import { DELETED_VAULT_TYPE, VAULT_TYPE, vaultBackingOf } from './vault-rows.ts'

export const KEEP_POINTS_JOB = 'keep-points'
export const PURGE_POINTS_JOB = 'purge-points'
export const PRUNE_VAULTS_JOB = 'prune-vaults'

const ITEMS_AT_ONCE = 50
const POINTS_AT_ONCE = 500
/** A lock holds by the time that the log has observed, which may be behind the clock: it is not asked for again at once. */
const ASK_AGAIN_MS = 3_600_000
const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 10_000 }

/** Which items; all of them without a word. */
export type KeepPointsInput = Readonly<{ policyKey?: string; vaultKey?: string }>

async function keepBatch({ catalog, clock }: ProtectionParts, filter: KeepPointsInput, afterKey: string | undefined) {
  const after = afterKey === undefined ? {} : { afterKey }
  const items = await listProtectedItems(catalog, { ...filter, ...after, limit: ITEMS_AT_ONCE })
  let changed = 0
  for (const { key } of items)
    changed += await catalog.write(async (trx) => {
      const item = await findProtectedItem(trx, key)
      return item === undefined ? 0 : keepByPolicy(trx, item, clock.nowMs())
    })
  return { changed, last: items.length < ITEMS_AT_ONCE ? null : (items.at(-1)?.key ?? null) }
}

export function keepPointsJob(parts: ProtectionParts): JobDefinition<KeepPointsInput, Readonly<{ changed: number }>> {
  return {
    name: KEEP_POINTS_JOB,
    version: 1,
    parse: (given) => recordOf(given ?? {}, 'fields'),
    run: async (job, filter) => {
      let changed = 0
      let after: string | undefined
      for (let n = 1; ; n += 1) {
        const from = after
        const done = await job.step(`items ${n}`, () => keepBatch(parts, filter, from))
        changed += done.changed
        if (done.last === null) return { changed }
        after = done.last
      }
    },
  }
}

/** Vaults that have a repository, deleted ones that are kept among them. */
async function vaultKeys(catalog: Catalog): Promise<string[]> {
  const rows = [
    ...(await listResources(catalog, { type: VAULT_TYPE })),
    ...(await listResources(catalog, { type: DELETED_VAULT_TYPE })),
  ]
  return rows.filter((row) => vaultBackingOf(row).repositoryId !== undefined).map(({ key }) => key)
}

/** Items whose own time has come: all that they have is due. */
async function markDueItems({ catalog, clock }: ProtectionParts, vaultKey: string): Promise<void> {
  const nowMs = clock.nowMs()
  for (const { key } of await listProtectedItems(catalog, { vaultKey, purgeBeforeMs: nowMs }))
    await catalog.write(async (trx) => {
      const item = await findProtectedItem(trx, key)
      if (item?.purgeAtMs === undefined || item.purgeAtMs > nowMs) return
      for (const { name, purgeAtMs, softDeletedMs = nowMs } of await listVaultPoints(trx, { itemKey: key }))
        if (purgeAtMs === undefined || purgeAtMs > nowMs)
          await changeVaultPoint(trx, key, name, { softDeletedMs, purgeAtMs: nowMs })
    })
}

export type Due = Pick<VaultPoint, 'itemKey' | 'name' | 'pointId'>

function isDue(point: VaultPoint, nowMs: number): boolean {
  const { softDeletedMs, purgeAtMs } = point
  return softDeletedMs !== undefined && purgeAtMs !== undefined && purgeAtMs <= nowMs && !isHeld(point, nowMs)
}

/** The list may be of before a restart: whom somebody reads or keeps by now is let be. */
export async function stillDue({ catalog, clock }: ProtectionParts, due: readonly Due[]): Promise<Due[]> {
  const rows = await Promise.all(due.map(({ itemKey, name }) => findVaultPoint(catalog, itemKey, name)))
  return rows.filter((row) => row !== undefined).filter((row) => isDue(row, clock.nowMs()))
}

async function duePoints({ catalog, clock }: ProtectionParts, vaultKey: string): Promise<Due[]> {
  const nowMs = clock.nowMs()
  const deleted = await listVaultPoints(catalog, { vaultKey, softDeleted: true })
  return (
    deleted
      // One that is being read goes the next time.
      .filter((point) => isDue(point, nowMs))
      .slice(0, POINTS_AT_ONCE)
      .map(({ itemKey, name, pointId }) => ({ itemKey, name, pointId }))
  )
}

/** The records of what is gone go; what is locked is asked for again when its lock has ended. */
export async function settle(
  { catalog, clock }: ProtectionParts,
  due: readonly Due[],
  { gone, locked }: ForgottenPoints,
) {
  const isGone = new Set(gone)
  const untils = new Map(locked.map(({ point, untilMs }) => [point, untilMs]))
  await catalog.write(async (trx) => {
    for (const { itemKey, name, pointId } of due) {
      const untilMs = untils.get(pointId)
      if (isGone.has(pointId)) await deleteVaultPoint(trx, itemKey, name)
      else if (untilMs !== undefined)
        await changeVaultPoint(trx, itemKey, name, { purgeAtMs: Math.max(untilMs, clock.nowMs() + ASK_AGAIN_MS) })
    }
  })
}

/** Items that were to go and have no point left. */
async function removeItems({ catalog, clock }: ProtectionParts, vaultKey: string): Promise<void> {
  const nowMs = clock.nowMs()
  for (const { key } of await listProtectedItems(catalog, { vaultKey, purgeBeforeMs: nowMs }))
    await catalog.write(async (trx) => {
      const item = await findProtectedItem(trx, key)
      if (item?.purgeAtMs === undefined || item.purgeAtMs > nowMs) return
      if ((await listVaultPoints(trx, { itemKey: key, limit: 1 })).length === 0) await deleteProtectedItem(trx, key)
    })
}

async function purgeVault(job: JobContext, parts: ProtectionParts, vaultKey: string): Promise<number> {
  await job.step(`items of ${vaultKey}`, () => markDueItems(parts, vaultKey))
  let purged = 0
  for (let n = 1; ; n += 1) {
    const due = await job.step(`due ${n} of ${vaultKey}`, () => duePoints(parts, vaultKey))
    if (due.length === 0) break
    const done = await job.step(
      `forget ${n} of ${vaultKey}`,
      async (step) => {
        const now = await stillDue(parts, due)
        if (now.length === 0) return { gone: [], locked: [] }
        const { access } = await vaultRepository(parts.repositories, vaultKey)
        const input = { ...access, points: now.map(({ pointId }) => pointId) }
        return (await parts.tasks.run(step, FORGET_POINTS_TASK, input)) as ForgottenPoints
      },
      { retry: WORKER_RETRY },
    )
    await job.step(`remove ${n} of ${vaultKey}`, () => settle(parts, due, done))
    purged += done.gone.length
  }
  await job.step(`remove items of ${vaultKey}`, () => removeItems(parts, vaultKey))
  return purged
}

/** One vault that is out of reach keeps no other from being done. */
async function eachVault<T>(
  job: JobContext,
  parts: ProtectionParts,
  only: string | undefined,
  run: (vaultKey: string) => Promise<T>,
): Promise<Readonly<{ done: T[]; failed: string[] }>> {
  const keys = await job.step('vaults', async () => (only === undefined ? vaultKeys(parts.catalog) : [only]))
  const [done, failed]: [T[], string[]] = [[], []]
  for (const key of keys) {
    try {
      done.push(await run(key))
    } catch (error) {
      if (!isHoldfastError(error) || error.code === 'cancelled') throw error
      failed.push(`${key}: ${error.code}`)
    }
  }
  return { done, failed }
}

export type OneVaultInput = Readonly<{ vaultKey?: string }>
type Done = Readonly<{ purged: number; failed: readonly string[] }>

export function purgePointsJob(parts: ProtectionParts): JobDefinition<OneVaultInput, Done> {
  return {
    name: PURGE_POINTS_JOB,
    version: 1,
    parse: (given) => recordOf(given ?? {}, 'fields'),
    run: async (job, { vaultKey: only }) => {
      const { done, failed } = await eachVault(job, parts, only, (key) => purgeVault(job, parts, key))
      return { purged: done.reduce((sum, one) => sum + one, 0), failed }
    },
  }
}

export function pruneVaultsJob(
  parts: ProtectionParts,
): JobDefinition<OneVaultInput, Readonly<{ freedBytes: number; failed: readonly string[] }>> {
  return {
    name: PRUNE_VAULTS_JOB,
    version: 1,
    parse: (given) => recordOf(given ?? {}, 'fields'),
    run: async (job, { vaultKey: only }) => {
      const prune = (key: string): Promise<Pruned> =>
        job.step(
          `prune ${key}`,
          async (step) => {
            const { access } = await vaultRepository(parts.repositories, key)
            return (await parts.tasks.run(step, PRUNE_TASK, access)) as Pruned
          },
          { retry: WORKER_RETRY },
        )
      const { done, failed } = await eachVault(job, parts, only, prune)
      return { freedBytes: done.reduce((sum, one) => sum + one.freedBytes, 0), failed }
    },
  }
}

/** Every day, hour and night; each in turn, so that none works beside the other on a vault. */
export async function scheduleKeeping(engine: JobEngine, queue: string): Promise<void> {
  const common = { timeZone: 'UTC', input: {}, queue, key: 'vaults' }
  await engine.schedule({ name: KEEP_POINTS_JOB, job: KEEP_POINTS_JOB, cron: '7 2 * * *', ...common })
  await engine.schedule({ name: PURGE_POINTS_JOB, job: PURGE_POINTS_JOB, cron: '23 * * * *', ...common })
  await engine.schedule({ name: PRUNE_VAULTS_JOB, job: PRUNE_VAULTS_JOB, cron: '17 4 * * *', ...common })
}
