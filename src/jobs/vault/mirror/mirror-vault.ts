/**
 * The job `mirror-vault`: one pass of a vault's mirror, or a check of both sides that heals either from the other. Which points are
 * mirrored then stands in their records.
 *
 *   dies                          what is left                         what goes on
 *   serve                         the worker's task                    the next serve attaches to it
 *   the worker, in mid-pass       a mirror some entries further on     the task begins again and goes on from there
 *   after the pass                a mirror; records that say less      the step that records; else the next pass
 *
 * A log that has rotted stops a pass. So a pass that meets one is followed by a check, which mends it from the mirror, and another pass.
 * What cannot be gone on with by itself (the two histories have parted) fails the job, stays in the status and raises an alert.
 */
import { errorShapeOf, isHoldfastError } from '#base'
import { changeVaultPoint, listUnmirroredPoints } from '#catalog'
import type { JobContext, JobDefinition, StepContext } from '../../port.ts'
import { inputInvalid, recordOf, withRepository } from '../../repository-access.ts'
import type { TaskRunner } from '../../tasks.ts'
import { regionRepository, type RegionRepositoryParts } from '../../compute/region-repository.ts'
import { ALERTS, type AlertSource, closeAlert, openAlert } from '../alerts.ts'
import { vaultBackingOf, vaultRow } from '../vault-rows.ts'
import { vaultRepository } from '../vault-repository.ts'
import { changeMirrorStatus, readMirrorStatus } from './mirror-status.ts'
import {
  CHECK_MIRROR_TASK,
  type CheckTaskOutput,
  MIRROR_TASK,
  type MirrorTaskInput,
  type MirrorTaskOutput,
} from './mirror-tasks.ts'

export const MIRROR_VAULT_JOB = 'mirror-vault'
export const MIRROR_QUEUE = 'mirror'
/** Passes beside each other; each holds a few packs in memory. */
export const MIRRORS_AT_ONCE = 2

export type MirrorVaultInput = Readonly<{ vault: string; check?: boolean }>
export type MirrorVaultOutput = Readonly<{ pass?: MirrorTaskOutput; check?: CheckTaskOutput }>

export type MirrorJobParts = Readonly<{
  tasks: TaskRunner
  repositories: RegionRepositoryParts
  alerts: AlertSource
}>

const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 30_000 }
/** Points whose records are brought up to date by one job; more wait for the next. */
const POINTS_MAX = 20_000

type Look = Readonly<{
  uid: string
  key: string
  wanted: MirrorTaskInput
  pending: readonly (readonly [string, string, string])[]
}>

export function mirrorVaultJob(parts: MirrorJobParts): JobDefinition<MirrorVaultInput, MirrorVaultOutput | null> {
  return {
    name: MIRROR_VAULT_JOB,
    version: 1,
    parse: (given) => {
      const { vault, check } = recordOf(given, 'fields')
      if (typeof vault !== 'string') throw inputInvalid('vault')
      return { vault, check: check === true }
    },
    run: async (job, { vault, check = false }) => {
      const look = await job.step('look', () => lookAt(parts, vault))
      if (look === null) return null
      const end: { error: unknown } = { error: undefined }
      job.cleanup('say why', () => noteFailure(parts, look, end.error, check))
      try {
        return check ? await checkAndRecord(job, parts, look) : await passAndRecord(job, parts, look)
      } catch (error) {
        end.error = error
        throw error
      }
    },
  }
}

/** Null when the vault has no mirror, or is gone. */
async function lookAt({ repositories }: MirrorJobParts, vault: string): Promise<Look | null> {
  const { catalog, host } = repositories
  const row = await vaultRow(catalog, vault)
  const { uid, mirror } = vaultBackingOf(row)
  if (mirror === undefined) return null
  const { access } = await vaultRepository(repositories, vault)
  const isFirst = (await readMirrorStatus(catalog, uid)).head === undefined
  // Nothing is made in the empty folder that a file system is mounted on: the region's own repository must be there.
  if (isFirst) await withRepository((await regionRepository(repositories, mirror.region)).access, host, async () => {})
  const pending = await listUnmirroredPoints(catalog, row.key, POINTS_MAX)
  return {
    uid,
    key: row.key,
    wanted: { source: access, target: mirror.location, isFirst },
    pending: pending.map(({ itemKey, name, pointId }) => [itemKey, name, pointId] as const),
  }
}

async function passAndRecord(job: JobContext, parts: MirrorJobParts, look: Look): Promise<MirrorVaultOutput> {
  const run = (step: StepContext): Promise<unknown> => parts.tasks.run(step, MIRROR_TASK, look.wanted)
  try {
    const pass = (await job.step('mirror', run, { retry: WORKER_RETRY })) as MirrorTaskOutput
    await job.step('record', () => recordPass(parts, look, pass))
    return { pass }
  } catch (error) {
    if (!isHoldfastError(error, 'log_damaged') || look.wanted.isFirst) throw error
    const { check } = await checkAndRecord(job, parts, look)
    const pass = (await job.step('mirror again', run, { retry: WORKER_RETRY })) as MirrorTaskOutput
    await job.step('record', () => recordPass(parts, look, pass))
    return { pass, ...(check !== undefined && { check }) }
  }
}

async function recordPass({ repositories, alerts }: MirrorJobParts, look: Look, pass: MirrorTaskOutput): Promise<null> {
  const { catalog, host } = repositories
  const nowMs = host.clock.nowMs()
  const behind = new Set(pass.behind)
  const mirrored = pass.behind === undefined ? [] : look.pending.filter(([, , pointId]) => !behind.has(pointId))
  await catalog.write(async (trx) => {
    for (const [itemKey, name] of mirrored) await changeVaultPoint(trx, itemKey, name, { mirroredMs: nowMs })
    const { head, owed } = pass
    await changeMirrorStatus(trx, look.uid, { passedMs: nowMs, head, owed })
    // That checks break off is not over because a pass did not.
    if ((await readMirrorStatus(trx, look.uid)).checkFailedMs !== undefined) return
    await changeMirrorStatus(trx, look.uid, { failed: undefined })
    await closeAlert(trx, { vaultKey: look.key, kind: ALERTS.mirrorFailed }, alerts)
  })
  return null
}

async function checkAndRecord(job: JobContext, parts: MirrorJobParts, look: Look): Promise<MirrorVaultOutput> {
  const { tasks, repositories, alerts } = parts
  const check = (await job.step('check', (step) => tasks.run(step, CHECK_MIRROR_TASK, look.wanted), {
    retry: WORKER_RETRY,
  })) as CheckTaskOutput
  await job.step('record check', async () => {
    const vaultKey = look.key
    await repositories.catalog.write(async (trx) => {
      const atMs = repositories.host.clock.nowMs()
      await changeMirrorStatus(trx, look.uid, {
        checked: { atMs, ...check },
        failed: undefined,
        checkFailedMs: undefined,
      })
      if (check.ok) await closeAlert(trx, { vaultKey, kind: ALERTS.verifyFailed }, alerts)
      else await openAlert(trx, { vaultKey, ...verifyFailed(check) }, alerts)
      const healed = [...check.source.healed, ...check.target.healed]
      if (healed.length > 0) await openAlert(trx, { vaultKey, ...wasHealed(check, healed), isOver: true }, alerts)
    })
    return null
  })
  return { check }
}

function verifyFailed({ source, target }: CheckTaskOutput) {
  return {
    kind: ALERTS.verifyFailed,
    severity: 'Critical' as const,
    message: `The check of the vault found damage that could not be healed: ${source.lost} objects of the vault, ${target.lost} of its mirror.`,
    facts: { hurt: source.hurt, hurtInMirror: target.hurt },
  }
}

function wasHealed({ source, target }: CheckTaskOutput, healed: readonly string[]) {
  return {
    kind: ALERTS.damageHealed,
    severity: 'Warning' as const,
    message: `The check of the vault found damage and healed it: ${source.healed.length} objects of the vault, ${target.healed.length} of its mirror. A disk below one of the stores may be failing.`,
    facts: { objects: healed.slice(0, 50) },
  }
}

async function noteFailure(
  { repositories, alerts }: MirrorJobParts,
  look: Look,
  error: unknown,
  isCheck: boolean,
): Promise<void> {
  if (error === undefined || isHoldfastError(error, 'cancelled')) return
  const { code, message, hint } = errorShapeOf(error, 'job_failed')
  const { catalog, host } = repositories
  await catalog.write(async (trx) => {
    const atMs = host.clock.nowMs()
    const failed = { atMs, code, message, hint }
    await changeMirrorStatus(trx, look.uid, { failed, ...(isCheck && { checkFailedMs: atMs }) })
    const severity = code === 'mirror_diverged' || code === 'mirror_promoted' ? 'Critical' : 'Warning'
    const facts = { code, ...(hint !== undefined && { hint }) }
    await openAlert(trx, { vaultKey: look.key, kind: ALERTS.mirrorFailed, severity, message, facts }, alerts)
  })
}
