/** What the catalog can fail with. One code, one meaning, one entry in docs/errors.md (a test compares). */
import { errnoOf, HoldfastError, messageOf } from '#base'

export const CATALOG_ERROR_CODES = [
  'catalog_too_new',
  'catalog_not_ours',
  'catalog_damaged',
  'catalog_busy',
  'catalog_full',
  'catalog_unavailable',
] as const
export type CatalogErrorCode = (typeof CATALOG_ERROR_CODES)[number]
export class CatalogError extends HoldfastError<CatalogErrorCode> {}

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html) that a healthy program can meet. */
const BUSY = 5
const LOCKED = 6
const CORRUPT = 11
const FULL = 13
const NOT_A_DATABASE = 26

function primaryCodeOf(error: unknown): number | undefined {
  if (errnoOf(error) !== 'ERR_SQLITE_ERROR') return undefined
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return undefined
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined
}

/** SQLite's error as ours; anything else is returned as it is. */
export function translateSqliteError(error: unknown, path: string): unknown {
  const facts = { path }
  const code = primaryCodeOf(error)
  if (code === undefined) return error
  switch (code) {
    case BUSY:
    case LOCKED:
      return new CatalogError('catalog_busy', 'Another process holds the catalog.', {
        facts,
        retry: 'later',
        cause: error,
      })
    case FULL:
      return new CatalogError('catalog_full', 'There is no space left for the catalog.', {
        facts,
        retry: 'later',
        hint: 'Free space on the file system that holds it.',
        cause: error,
      })
    case NOT_A_DATABASE:
    case CORRUPT:
      return new CatalogError('catalog_damaged', `The catalog is damaged: ${messageOf(error)}.`, {
        facts,
        hint: 'Put it aside and restore its newest backup, or begin a new one: recovery points are refilled from the repositories.',
        cause: error,
      })
    default:
      return error
  }
}
