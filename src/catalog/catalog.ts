/**
 * The catalog: the control plane's records, in one SQLite file (WAL, synchronous=FULL, mode 0600).
 *
 * Promises: a transaction that resolved is on disk; one that rejected left nothing. Several processes of one host may open
 * the same file. What a repository holds is only cached here; machines, schedules and job history are not elsewhere.
 * Limits: a process that is stopped (SIGSTOP) inside a transaction keeps the write lock until it goes on or dies. A thread
 * opens a file once: a second connection of its own would block it while it waits for the first one's transaction. Never
 * read the open file by other means in this process (to copy it, say): closing that descriptor drops SQLite's locks.
 */
import { chmod, rename, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { backup, type DatabaseSync } from 'node:sqlite'
import { Kysely, type Transaction } from 'kysely'
import { assert, type Clock, withRetry } from '#base'
import { CatalogError, translateSqliteError } from './errors.ts'
import { GroupCommit } from './group-commit.ts'
import { ImmediateSqliteDialect } from './immediate-dialect.ts'
import { MIGRATIONS } from './migrations/list.ts'
import { openFile } from './open-file.ts'
import type { CatalogSchema } from './schema.ts'

export type CatalogTransaction = Transaction<CatalogSchema>

/** With a busy timeout of 5 s each, an attempt fails only when another process holds the lock for long. */
const BUSY_RETRY = { attemptsMax: 4, delayMs: 50, delayMsMax: 500 }

/** 64 MiB: others of this process go on in between. */
const BACKUP_PAGES_AT_ONCE = 16_384

const openHere = new Set<string>()

export class Catalog {
  readonly path: string
  /** For reads outside a transaction. Never use it inside `write`: it would wait for itself. */
  readonly db: Kysely<CatalogSchema>
  readonly #sqlite: DatabaseSync
  readonly #group: GroupCommit
  readonly #clock: Clock

  private constructor(path: string, sqlite: DatabaseSync, clock: Clock) {
    this.path = path
    this.#sqlite = sqlite
    this.#clock = clock
    this.db = new Kysely<CatalogSchema>({
      dialect: new ImmediateSqliteDialect(sqlite, (error) => translateSqliteError(error, path)),
    })
    this.#group = new GroupCommit(this.db)
  }

  /** Opens or creates the file and migrates it. @throws CatalogError */
  static async open(path: string, clock: Clock): Promise<Catalog> {
    const absolute = resolve(path)
    assert(!openHere.has(absolute), 'A thread opens a catalog once')
    openHere.add(absolute)
    try {
      return new Catalog(absolute, await openFile(absolute, MIGRATIONS), clock)
    } catch (error) {
      openHere.delete(absolute)
      throw error
    }
  }

  /**
   * Runs `change` whole or not at all, in a transaction that holds the write lock from its beginning, which others that wait may share
   * (group-commit.ts); tries again when the catalog is busy. `change` may therefore run more than once: it touches nothing but the
   * transaction, and awaits nothing else.
   */
  write<T>(change: (transaction: CatalogTransaction) => Promise<T>): Promise<T> {
    return withRetry(this.#clock, BUSY_RETRY, () => this.#group.write(change))
  }

  /** @throws CatalogError `catalog_damaged` with SQLite's findings. */
  checkIntegrity(): void {
    const rows = this.#sqlite.prepare('pragma integrity_check(20)').all()
    const findings = rows.map((row) => String(Object.values(row)[0])).filter((text) => text !== 'ok')
    const orphans = this.#sqlite.prepare('pragma foreign_key_check').all()
    if (orphans.length > 0) findings.push(`${orphans.length} rows refer to missing ones`)
    if (findings.length === 0) return
    throw new CatalogError('catalog_damaged', `The catalog ${this.path} is damaged: ${findings[0] ?? ''}.`, {
      facts: { path: this.path, findings },
      hint: 'Put it aside and restore its newest backup, or begin a new one: recovery points are refilled from the repositories.',
    })
  }

  /**
   * Copies the catalog; the target is whole or absent. The connection is held meanwhile, since a copy fails where a transaction of its own
   * connection is open: whoever wants the catalog waits, about as long as its bytes take to be written.
   */
  async backupTo(target: string): Promise<void> {
    const temporary = `${target}.tmp-${process.pid}`
    try {
      await this.db.connection().execute(() => backup(this.#sqlite, temporary, { rate: BACKUP_PAGES_AT_ONCE }))
      await chmod(temporary, 0o600)
      await rename(temporary, target)
    } catch (error) {
      await rm(temporary, { force: true })
      throw translateSqliteError(error, target)
    }
  }

  async close(): Promise<void> {
    await this.db.destroy()
    openHere.delete(this.path)
  }
}
