/**
 * What is deleted rests on entries, never on a checkpoint alone: before a prune plans, the checkpoint that the log was read
 * from is compared with the entries before it. What this user has found to be true is kept beside the index cache, so that
 * the next prune reads the entries since and no others. A cache that is lost costs one reading of the whole log.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeFolderDurable, replaceFile } from '#runtime'
import { RepositoryError } from './errors.ts'
import { parseObject, toJsonBytes } from './json.ts'
import { chooseCheckpoint } from './log/choose-checkpoint.ts'
import type { CommitLog, LogParts } from './log/log.ts'
import { digestOf, proveCheckpoint } from './verify/whole-log.ts'
import { must } from '#base'

type Proven = Readonly<{ number: number; digest: string }>

async function recall(folder: string): Promise<Proven | undefined> {
  const bytes = await readFile(join(folder, 'proven.json')).catch(() => undefined) // nothing was proven yet
  const proven = bytes === undefined ? undefined : (parseObject(bytes) as Partial<Proven> | undefined)
  return typeof proven?.number === 'number' && typeof proven.digest === 'string' ? (proven as Proven) : undefined
}

/** @throws log_damaged when the entries say otherwise, or cannot all be read */
export async function assertProven(log: CommitLog, parts: LogParts, folder: string): Promise<void> {
  if (log.from === 0) return
  const keys = must(parts.keys, 'Only a holder of the key prunes')
  const digest = digestOf(must(log.fromContent, 'A log that was read from a checkpoint knows it'), keys)
  const proven = await recall(folder)
  if (proven?.number === log.from && proven.digest === digest) return
  const older =
    proven === undefined
      ? undefined
      : await chooseCheckpoint(parts.store, keys, parts.repositoryId, 'chain', Math.min(proven.number, log.from - 1))
  const isProven =
    older?.state.head === proven?.number && older !== undefined && digestOf(older, keys) === proven?.digest
  const found = await proveCheckpoint(parts, log.from, isProven ? older : undefined)
  found.log.assertWritable()
  if (found.digest !== digest) throw contradicted(log.from)
  await makeFolderDurable(folder)
  await replaceFile(join(folder, 'proven.json'), [toJsonBytes({ number: log.from, digest })])
}

function contradicted(number: number): RepositoryError {
  return new RepositoryError(
    'log_damaged',
    `The checkpoint of entry ${number} says other than the entries before it; nothing is deleted.`,
    {
      facts: { number, kind: 'checkpoint_corrupt' },
      hint: 'Run "holdfast repo verify" for the whole picture and "holdfast repo repair" to remove the checkpoint.',
    },
  )
}
