/**
 * What a server forgets, copies and tidies by itself, once at its start and then every hour. Everything may be done twice, and what
 * fails is done an hour later.
 *
 * The order matters: an operation is forgotten before its job is. An operation without a job counts as one that a crash kept
 * from being started, and would be started again. So jobs are kept at least as long as operations (the configuration is
 * refused otherwise), and a start sweeps before anything is resumed.
 */
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, errnoOf, messageOf } from '#base'
import {
  type Catalog,
  forgetActivity,
  forgetBackupJobs,
  forgetBackupWork,
  forgetCredentials,
  forgetOperations,
} from '#catalog'
import type { JobEngine } from '#jobs'
import type { Logger } from '#runtime'
import { keepCatalogCopies } from './catalog-copies.ts'
import type { Config } from './config/schema.ts'
import type { Home } from './home.ts'

export const DAY_MS = 24 * 3_600_000
const EVERY_MS = 3_600_000
/** Whose secret ended learns that it ended, not that it is wrong, for this long. */
const ENDED_CREDENTIAL_DAYS = 30
/** A vault's job is shown by its record; what did the work of thousands a day need not be kept as long. */
const BACKUP_WORK_DAYS = 3
/** What a dead writer left is nobody's after this. */
const TEMPORARY_AGE_MS = DAY_MS
const FOLDERS = ['.', 'run', 'keys', 'tls', 'instants']

export type MaintenanceParts = Readonly<{
  home: Home
  catalog: Catalog
  engine: Pick<JobEngine, 'forgetHistory'>
  clock: Clock
  logger: Logger
  retention: Config['retention']
  /** Takes over a renewed certificate. */
  renewCertificate?: () => Promise<void> | undefined
}>

async function sweepTemporaries(folder: string, beforeMs: number): Promise<number> {
  let swept = 0
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0
    throw error
  }
  for (const name of names.filter((name) => name.startsWith('.tmp-'))) {
    const path = join(folder, name)
    const info = await stat(path).catch(() => undefined) // Gone meanwhile: its writer lives.
    if (info === undefined || info.mtimeMs > beforeMs) continue
    await rm(path, { force: true })
    swept += 1
  }
  return swept
}

export class Maintenance {
  readonly #parts: MaintenanceParts
  readonly #over = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(parts: MaintenanceParts) {
    this.#parts = parts
  }

  /** One sweep. @throws CatalogError; what is only for safety or tidiness is told in the log and left for the next one */
  async sweep(): Promise<void> {
    const { home, catalog, engine, clock, logger, retention, renewCertificate } = this.#parts
    const nowMs = clock.nowMs()
    const before = (days: number): number => nowMs - days * DAY_MS
    await forgetOperations(catalog, before(retention.operationDays))
    await engine.forgetHistory(before(retention.jobDays))
    await forgetActivity(catalog, before(retention.activityDays))
    await forgetBackupWork(catalog, before(Math.min(retention.operationDays, BACKUP_WORK_DAYS)))
    await forgetBackupJobs(catalog, before(retention.jobDays))
    await forgetCredentials(catalog, before(ENDED_CREDENTIAL_DAYS))
    try {
      await keepCatalogCopies(home, catalog, clock)
      for (const folder of FOLDERS) await sweepTemporaries(join(home.folder, folder), nowMs - TEMPORARY_AGE_MS)
      await renewCertificate?.()
    } catch (error) {
      // A full disk must not keep a server from starting.
      logger.warn({ error: messageOf(error) }, 'not done: the copy of the catalog, temporary files, or the certificate')
    }
  }

  begin(): void {
    this.#running = this.#loop()
  }

  async leave(): Promise<void> {
    this.#over.abort()
    await this.#running
  }

  async #loop(): Promise<void> {
    const { clock, logger } = this.#parts
    for (;;) {
      try {
        await clock.sleep(EVERY_MS, this.#over.signal)
      } catch {
        return // The sleep only ends early because we leave.
      }
      try {
        await this.sweep()
      } catch (error) {
        logger.warn({ error: messageOf(error) }, 'maintenance failed; it is tried again in an hour')
      }
    }
  }
}
