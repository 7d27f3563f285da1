/**
 * A lock that one process holds for as long as it lives: an exclusive transaction on an empty SQLite file. The kernel drops
 * it with the process, however that dies, so there is no stale lock to judge.
 */
import { chmodSync, closeSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { errnoOf } from '#base'

export type ProcessLock = Readonly<{ release: () => void }>

/** The lock, or undefined when another process (or this one) holds it. */
export function tryProcessLock(path: string): ProcessLock | undefined {
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  const db = new DatabaseSync(path, { timeout: 0 })
  try {
    db.exec('pragma locking_mode = exclusive')
    db.exec('begin exclusive')
  } catch (error) {
    db.close()
    if (errnoOf(error) === 'ERR_SQLITE_ERROR') return undefined
    throw error
  }
  return {
    release: () => {
      db.close()
    },
  }
}
