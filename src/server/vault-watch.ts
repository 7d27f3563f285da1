/**
 * Looks after vaults: starts passes of their mirrors (as soon as a point waits, and now and then), checks of both sides, copies of the
 * catalog, makes their repositories as immutable as their records say, raises and resolves alerts, and has the webhook told.
 *
 * It only starts jobs and writes records, all of which may be done twice. At most one job of a kind is under way for a vault, known by the
 * job's key, so a restart finds what goes on. What is missed while the server is down is due at the next look.
 */
import { createHash } from 'node:crypto'
import { type Clock, messageOf, type Random } from '#base'
import {
  type Catalog,
  countUnmirroredPoints,
  findSetting,
  listAlerts,
  listResources,
  putSetting,
  type ResourceRecord,
} from '#catalog'
import { type Care, careOf, type CareTimes, isFinal } from '#domain'
import {
  ALERT_QUEUE,
  ALERTS,
  appliedImmutability,
  closeAlert,
  COPY_CATALOG_JOB,
  isSamePolicy,
  type JobEngine,
  MIRROR_QUEUE,
  MIRROR_VAULT_JOB,
  type MirrorStatus,
  openAlert,
  policyFor,
  readMirrorStatus,
  SET_IMMUTABILITY_JOB,
  TELL_ALERT_JOB,
  VAULT_TYPE,
  vaultBackingOf,
} from '#jobs'
import type { Logger } from '#runtime'
import type { Config } from './config/schema.ts'
import { alertsOfRecords } from './vault-alert-rules.ts'

const EVERY_MS = 5000
/** Alerts that changed within this are told to the webhook; less than jobs are kept, so that none is told anew. */
const TOLD_WITHIN_MS = 24 * 3_600_000
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000

export type VaultWatchParts = Readonly<{
  catalog: Catalog
  engine: JobEngine
  clock: Clock
  random: Random
  logger: Logger
  config: Pick<Config, 'vaults' | 'alerts'>
  everyMs?: number
}>

function timesOf({ vaults }: VaultWatchParts['config']): CareTimes {
  return {
    mirrorEveryMs: vaults.mirrorMinutes * MINUTE_MS,
    lagAlertMs: vaults.lagAlertMinutes * MINUTE_MS,
    checkEveryMs: vaults.checkDays * 24 * HOUR_MS,
    copyEveryMs: vaults.catalogHours * HOUR_MS,
  }
}

export class VaultWatch {
  readonly #parts: VaultWatchParts
  readonly #over = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(parts: VaultWatchParts) {
    this.#parts = parts
  }

  begin(): void {
    this.#running = this.#loop()
  }

  async leave(): Promise<void> {
    this.#over.abort()
    await this.#running
  }

  /** Looks at every vault once. @throws CatalogError */
  async look(): Promise<void> {
    const { catalog, logger } = this.#parts
    const vaults = await listResources(catalog, { type: VAULT_TYPE })
    for (const vault of vaults) {
      const { repositoryId } = vaultBackingOf(vault)
      if (vault.state !== 'Succeeded' || repositoryId === undefined) continue
      try {
        await this.#lookAt(vault)
      } catch (error) {
        logger.warn({ vault: vault.id, error: messageOf(error) }, 'a vault was not looked after')
      }
    }
    await this.#tellAlerts()
  }

  async #lookAt(vault: ResourceRecord): Promise<void> {
    const { catalog, clock, config } = this.#parts
    const { uid, mirror, settings } = vaultBackingOf(vault)
    const applied = await appliedImmutability(catalog, uid)
    if (!isSamePolicy(applied, policyFor(settings.immutability)))
      await this.#start(SET_IMMUTABILITY_JOB, vault, `vault-immutability:${uid}`)
    const status = await readMirrorStatus(catalog, uid)
    const waiting = mirror === undefined ? { points: 0 } : await countUnmirroredPoints(catalog, vault.key)
    const state = {
      isMirrored: mirror !== undefined,
      waitingSinceMs: waiting.oldestMs,
      passedMs: status.passedMs,
      failedMs: status.failed?.atMs,
      checkedMs: status.checked?.atMs,
      checkFailedMs: status.checkFailedMs,
      copiedMs: await this.#copiedMs(uid),
      madeMs: vault.createdMs,
    }
    const care = careOf(state, timesOf(config), clock.nowMs())
    await this.#careFor(vault, uid, care)
    await this.#alertLag(vault, care, waiting, status)
    await alertsOfRecords(this.#parts, vault)
  }

  async #careFor(vault: ResourceRecord, uid: string, care: Care): Promise<void> {
    const { catalog, clock } = this.#parts
    const key = `vault-mirror:${uid}`
    if (care.check) await this.#start(MIRROR_VAULT_JOB, vault, key, { check: true })
    else if (care.pass) await this.#start(MIRROR_VAULT_JOB, vault, key)
    if (!care.copy || !(await this.#start(COPY_CATALOG_JOB, vault, `vault-catalog:${uid}`))) return
    await catalog.write((trx) => putSetting(trx, `vault-catalog/${uid}`, String(clock.nowMs())))
  }

  /** When the last copy of the catalog into the vault was begun. */
  async #copiedMs(uid: string): Promise<number | undefined> {
    const text = await findSetting(this.#parts.catalog, `vault-catalog/${uid}`)
    return text === undefined ? undefined : Number(text)
  }

  /** Starts the job unless one of that key is under way, or the last one failed a moment ago. @returns whether it was started */
  async #start(job: string, vault: ResourceRecord, key: string, more: Record<string, unknown> = {}): Promise<boolean> {
    const { engine, clock } = this.#parts
    const [last] = await engine.list({ name: job, key, limit: 1 })
    if (last !== undefined && !isFinal(last.status)) return false
    const failedMs = last?.status === 'failed' ? last.finishedMs : undefined
    if (failedMs !== undefined && Math.abs(clock.nowMs() - failedMs) < MINUTE_MS) return false
    await engine.start(job, { vault: vault.id, ...more }, { queue: MIRROR_QUEUE, key })
    return true
  }

  async #alertLag(
    vault: ResourceRecord,
    { isLate }: Care,
    { points, oldestMs }: Readonly<{ points: number; oldestMs?: number }>,
    { failed }: MirrorStatus,
  ): Promise<void> {
    const { catalog, clock, random } = this.#parts
    const alert = { vaultKey: vault.key, kind: ALERTS.mirrorLag }
    const [open] = await listAlerts(catalog, { ...alert, onlyOpen: true, limit: 1 })
    if (isLate === (open !== undefined)) return
    const behindMs = oldestMs === undefined ? 0 : clock.nowMs() - oldestMs
    const minutes = Math.floor(behindMs / MINUTE_MS)
    await catalog.write(async (trx) => {
      if (!isLate) return closeAlert(trx, alert, { clock })
      const why = failed === undefined ? '' : ` ${failed.message}`
      await openAlert(
        trx,
        {
          ...alert,
          severity: 'Critical',
          message: `The mirror of the vault ${vault.name} lacks ${points} points, the oldest for ${minutes} minutes.${why}`,
          facts: { points, behindSeconds: Math.floor(behindMs / 1000), ...(failed !== undefined && { failed }) },
        },
        { clock, random },
      )
    })
  }

  /** Has the webhook told of what was raised or resolved; a job of the same id is started once. */
  async #tellAlerts(): Promise<void> {
    const { catalog, engine, clock, config } = this.#parts
    if (config.alerts.webhook === null) return
    const sinceMs = clock.nowMs() - TOLD_WITHIN_MS
    for (const alert of await listAlerts(catalog, { changedMs: sinceMs })) {
      const conditions = ['Fired', ...(alert.resolvedMs === undefined ? [] : ['Resolved'])]
      for (const condition of conditions) {
        const id = tellingId(alert.id, condition)
        if ((await engine.get(id)) === undefined)
          await engine.start(TELL_ALERT_JOB, { alert: alert.id, condition }, { id, queue: ALERT_QUEUE })
      }
    }
  }

  async #loop(): Promise<void> {
    const { clock, logger, everyMs = EVERY_MS } = this.#parts
    for (;;) {
      try {
        await this.look()
      } catch (error) {
        logger.warn({ error: messageOf(error) }, 'vaults were not looked after')
      }
      try {
        await clock.sleep(everyMs, this.#over.signal)
      } catch {
        return // The sleep only ends early because we leave.
      }
    }
  }
}

/** The id of the job that tells the webhook of it: the same whoever asks. */
function tellingId(alert: string, condition: string): string {
  const digits = createHash('sha256').update(`holdfast alert\0${alert}\0${condition}`).digest('hex')
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    digits.slice(12, 16),
    digits.slice(16, 20),
    digits.slice(20, 32),
  ].join('-')
}
