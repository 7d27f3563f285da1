/**
 * What this user has seen of a log before, kept beside the index cache. A store that now shows less, or something else
 * under the same number, was rolled back: by an attacker, by a restored copy of the store, by a broken mirror. The hash
 * chain alone cannot tell, since every beginning of a chain is a chain.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeFolderDurable, replaceFile } from '#runtime'
import { RepositoryError } from './errors.ts'
import { parseObject, toJsonBytes } from './json.ts'
import type { CommitLog } from './log/log.ts'

export type Head = Readonly<{ number: number; hash: string }>

export async function recallHead(folder: string): Promise<Head | undefined> {
  const bytes = await readFile(join(folder, 'head.json')).catch(() => undefined) // never seen before
  const head = bytes === undefined ? undefined : (parseObject(bytes) as Partial<Head> | undefined)
  return typeof head?.number === 'number' && typeof head.hash === 'string' ? (head as Head) : undefined
}

export async function rememberHead(folder: string, head: Head): Promise<void> {
  await makeFolderDurable(folder)
  await replaceFile(join(folder, 'head.json'), [toJsonBytes(head)])
}

/** The error that says the log went back behind `seen`; undefined when it did not. */
export async function rollbackOf(
  log: CommitLog,
  seen: Head | undefined,
  cacheFolder: string,
): Promise<RepositoryError | undefined> {
  if (seen === undefined || seen.number === 0 || (await log.holds(seen))) return undefined
  if (log.damage.some(({ number }) => number <= seen.number) && log.state.head >= seen.number) return undefined // reported as damage
  return new RepositoryError(
    'log_rolled_back',
    log.state.head < seen.number
      ? `The log of the repository ends at entry ${log.state.head}; this user has seen entry ${seen.number}.`
      : `Entry ${seen.number} of the log is not the one that this user has seen.`,
    {
      facts: { head: log.state.head, seen: seen.number, cacheFolder },
      hint: `If the store was put back from an older copy on purpose, remove ${cacheFolder} and what was saved since is lost; otherwise bring the newer store back.`,
    },
  )
}
