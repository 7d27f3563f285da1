/**
 * Looks, as long as `serve` runs, for protected machines whose backup is due, and starts it (jobs, start-due.ts). It keeps nothing of
 * its own: what is due stands in the catalog, so a server that was away begins with what it missed.
 */
import { type Clock, messageOf, type Random } from '#base'
import type { Catalog } from '#catalog'
import { type JobEngine, startDue } from '#jobs'
import type { Logger } from '#runtime'

const EVERY_MS = 5_000

export type BackupClockParts = Readonly<{
  catalog: Catalog
  engine: JobEngine
  clock: Clock
  random: Random
  logger: Logger
  everyMs?: number
}>

export class BackupClock {
  readonly #parts: BackupClockParts
  readonly #over = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(parts: BackupClockParts) {
    this.#parts = parts
  }

  begin(): void {
    this.#running = this.#loop()
  }

  async leave(): Promise<void> {
    this.#over.abort()
    await this.#running
  }

  /** Looks once. @returns how many backups were started @throws CatalogError */
  look(): Promise<number> {
    const { catalog, engine: jobs, clock, random, logger } = this.#parts
    return startDue({ catalog, jobs, clock, random }, ({ id }, error) =>
      logger.warn({ item: id, error: messageOf(error) }, 'a backup that is due could not be started'),
    )
  }

  async #loop(): Promise<void> {
    const { clock, logger, everyMs = EVERY_MS } = this.#parts
    for (;;) {
      try {
        const started = await this.look()
        if (started > 0) logger.info({ started }, 'backups were started')
      } catch (error) {
        // The catalog is busy: what is due stays due.
        logger.warn({ error: messageOf(error) }, 'due backups could not be looked for')
      }
      try {
        await clock.sleep(everyMs, this.#over.signal)
      } catch {
        return // The sleep only ends early because we leave.
      }
    }
  }
}
