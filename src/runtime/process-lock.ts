/**
 * A lock that one process holds for as long as it lives: an exclusive transaction on an empty SQLite file. The kernel drops
 * it with the process, however that dies, so there is no stale lock to judge.
 *
 * Two ways to lose it unawares, both closed here: a database that nobody refers to is closed with the garbage, and the
 * closing of any other descriptor of the file drops this process's locks on it (fcntl_locking(2)). So what is held is kept
 * in a table, and a path that is in the table is not opened again.
 */
import { chmodSync, closeSync, openSync } from 'node:fs'
import { resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { errnoOf } from '#base'

export type ProcessLock = Readonly<{ release: () => void }>

const held = new Map<string, DatabaseSync>()

/** The lock, or undefined when another process (or this one) holds it. */
export function tryProcessLock(path: string): ProcessLock | undefined {
  const absolute = resolve(path)
  if (held.has(absolute)) return undefined
  closeSync(openSync(absolute, 'a', 0o600))
  chmodSync(absolute, 0o600)
  const db = new DatabaseSync(absolute, { timeout: 0 })
  try {
    db.exec('pragma locking_mode = exclusive')
    db.exec('begin exclusive')
  } catch (error) {
    db.close()
    if (errnoOf(error) === 'ERR_SQLITE_ERROR') return undefined
    throw error
  }
  held.set(absolute, db)
  return {
    release: () => {
      if (held.delete(absolute)) db.close()
    },
  }
}
