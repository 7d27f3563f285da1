/**
 * Opens the catalog's file, ours and of a schema that we know, and brings it to the newest one.
 *
 * A migration runs in one `begin immediate` transaction with its new number: a crash leaves the old schema or the new one.
 * Two processes that open at once are serialised by that lock, and the second finds nothing left to do.
 * Before an existing catalog is changed, a copy of it is kept beside it (`<file>.schema-<n>`), whole before we begin.
 */
import { chmodSync, closeSync, existsSync, openSync, renameSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'
import { messageOf } from '#base'
import { CatalogError, translateSqliteError } from './errors.ts'
import type { Migration } from './migrations/migration.ts'

/** "HFct" in SQLite's application_id: says that the file is a Holdfast catalog. */
const APPLICATION_ID = 0x48_46_63_74
const BUSY_TIMEOUT_MS = 5000

function integerOf(db: DatabaseSync, pragma: string): number {
  const row = db.prepare(`pragma ${pragma}`).get()
  return Number(Object.values(row ?? {})[0] ?? 0)
}

function isEmpty(db: DatabaseSync): boolean {
  return db.prepare('select 1 from sqlite_schema limit 1').get() === undefined
}

/** The schema's number; 0 for a file that is still empty. @throws CatalogError */
function checkOurs(db: DatabaseSync, path: string, newest: number): number {
  const number = integerOf(db, 'user_version')
  if (integerOf(db, 'application_id') !== APPLICATION_ID && !(number === 0 && isEmpty(db))) {
    throw new CatalogError('catalog_not_ours', `${path} is a database, but not a Holdfast catalog.`, {
      facts: { path },
      hint: 'Give another path.',
    })
  }
  if (number > newest) {
    throw new CatalogError(
      'catalog_too_new',
      `The catalog ${path} has schema ${number}; this program knows schemas up to ${newest}.`,
      { facts: { path, schema: number, schemaMax: newest }, hint: 'Start the newer Holdfast that wrote it.' },
    )
  }
  return number
}

function applyMissing(db: DatabaseSync, path: string, migrations: readonly Migration[]): void {
  db.exec('begin immediate')
  try {
    const from = checkOurs(db, path, migrations.length)
    db.exec(`pragma application_id = ${APPLICATION_ID}`)
    for (const migration of migrations.slice(from)) {
      for (const statement of migration.statements) db.exec(statement)
      db.exec(`pragma user_version = ${migration.number}`)
    }
    db.exec('commit')
  } catch (error) {
    db.exec('rollback')
    throw error
  }
}

async function keepCopy(db: DatabaseSync, path: string, from: number): Promise<void> {
  const copy = `${path}.schema-${from}`
  if (existsSync(copy)) return
  const temporary = `${copy}.tmp-${process.pid}`
  await backup(db, temporary)
  chmodSync(temporary, 0o600)
  renameSync(temporary, copy)
}

async function prepare(db: DatabaseSync, path: string, migrations: readonly Migration[]): Promise<void> {
  const from = checkOurs(db, path, migrations.length)
  db.exec('pragma journal_mode = wal')
  db.exec('pragma synchronous = full')
  if (from === migrations.length) return
  if (from > 0) await keepCopy(db, path, from)
  applyMissing(db, path, migrations)
}

/** Creates the file with mode 0600 when it is absent; SQLite gives its -wal and -shm files the same mode. */
function ensurePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'a', 0o600))
    chmodSync(path, 0o600)
  } catch (cause) {
    throw new CatalogError('catalog_unavailable', `The catalog ${path} cannot be opened: ${messageOf(cause)}.`, {
      facts: { path },
      cause,
    })
  }
}

/** The open database, migrated. @throws CatalogError */
export async function openFile(path: string, migrations: readonly Migration[]): Promise<DatabaseSync> {
  ensurePrivate(path)
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: true })
  try {
    await prepare(db, path, migrations)
    return db
  } catch (error) {
    db.close()
    throw translateSqliteError(error, path)
  }
}
