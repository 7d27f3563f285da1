/**
 * Kysely on node:sqlite, with two differences from its own dialect.
 *
 * A transaction begins with `begin immediate`: a deferred one that reads first and writes later fails with SQLITE_BUSY_SNAPSHOT at
 * once, whatever the busy timeout, when another process wrote in between. Taking the write lock first makes the timeout count.
 *
 * A transaction that SQLite has given up itself, as it does when the disk is full, is not rolled back again: that would fail, and hide
 * what happened.
 *
 * Bounds: there is one connection, and Kysely's mutex serialises its users. Inside a transaction use the transaction's own
 * handle: asking the database's would wait for a connection that is never given back.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Driver,
  SqliteDialect,
  SqliteDriver,
  type SqliteDatabase,
} from 'kysely'

class ImmediateDriver extends SqliteDriver {
  readonly #db: DatabaseSync

  constructor(database: SqliteDatabase, db: DatabaseSync) {
    super({ database })
    this.#db = db
  }

  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#db.isTransaction) await super.rollbackTransaction(connection)
  }

  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }
}

/** Prepared statements kept; the program's queries are some dozens. */
const STATEMENTS_KEPT_MAX = 256

type Translate = (error: unknown) => unknown

function adapt(db: DatabaseSync, translate: Translate): SqliteDatabase {
  const kept = new Map<string, StatementSync>()
  const guarded = <T>(run: () => T): T => {
    try {
      return run()
    } catch (error) {
      throw translate(error)
    }
  }
  const statementOf = (text: string): StatementSync => {
    const known = kept.get(text)
    if (known !== undefined) return known
    const statement = db.prepare(text)
    if (kept.size >= STATEMENTS_KEPT_MAX) kept.clear()
    kept.set(text, statement)
    return statement
  }
  return {
    close: () => {
      db.close()
    },
    prepare: (text) => {
      const statement = guarded(() => statementOf(text))
      const values = (parameters: readonly unknown[]) => parameters as SQLInputValue[]
      return {
        reader: statement.columns().length > 0,
        all: (parameters) => guarded(() => statement.all(...values(parameters))),
        run: (parameters) => guarded(() => statement.run(...values(parameters))),
        iterate: (parameters) => guarded(() => statement.iterate(...values(parameters))),
      }
    },
  }
}

export class ImmediateSqliteDialect extends SqliteDialect {
  readonly #database: SqliteDatabase
  readonly #db: DatabaseSync

  constructor(db: DatabaseSync, translate: Translate) {
    const database = adapt(db, translate)
    super({ database })
    this.#database = database
    this.#db = db
  }

  override createDriver(): Driver {
    return new ImmediateDriver(this.#database, this.#db)
  }
}
