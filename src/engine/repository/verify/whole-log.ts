/**
 * Reads the log entry by entry, whatever checkpoints there are, and compares each checkpoint with what the entries say: its
 * open part without the key, its records too with it. Damage of a checkpoint hides no point and stops no reader; it is
 * named so that it can be removed.
 */
import { createHash } from 'node:crypto'
import type { BlobStore } from '../blob-store.ts'
import type { KeyRing } from '../crypto.ts'
import { toJsonBytes } from '../json.ts'
import { checkpointKey, type CheckpointContent, decodeCheckpoint, openCheckpoint } from '../log/checkpoint.ts'
import { listCheckpoints } from '../log/choose-checkpoint.ts'
import { CommitLog, type LogParts } from '../log/log.ts'
import { getOrNothing } from '../log/read-ahead.ts'
import type { Damage } from './damage.ts'

export type WholeLog = Readonly<{ log: CommitLog; checkpointDamage: readonly Damage[] }>

export async function readWholeLog(parts: LogParts): Promise<WholeLog> {
  // The checkpoints first: then the entries that they are of are there when the log is read.
  const numbers = new Set(await listCheckpoints(parts.store))
  const digests = new Map<number, string>()
  const log = await CommitLog.fold(parts, (number, content) => {
    if (numbers.has(number)) digests.set(number, digestOf(content(), parts.keys))
  })
  const checkpointDamage: Damage[] = []
  for (const number of numbers) {
    const kind = await damageOf(parts, log, number, digests.get(number))
    if (kind !== undefined) checkpointDamage.push({ kind, object: checkpointKey(number), points: [] })
  }
  return { log, checkpointDamage }
}

async function damageOf(
  { store, keys, repositoryId }: LogParts,
  log: CommitLog,
  number: number,
  expected: string | undefined,
): Promise<'checkpoint_corrupt' | 'log_rolled_back' | undefined> {
  const found = await digestIn(store, keys, repositoryId, number)
  if (found === 'gone') return undefined
  if (found === undefined) return 'checkpoint_corrupt'
  if (number > log.state.head) return 'log_rolled_back' // it was written after an entry that is not there any more
  const isJudged = log.damage.every((damage) => damage.number > number)
  return isJudged && found !== expected ? 'checkpoint_corrupt' : undefined
}

async function digestIn(
  store: BlobStore,
  keys: KeyRing | undefined,
  repositoryId: string,
  number: number,
): Promise<string | undefined> {
  const bytes = await getOrNothing(store, checkpointKey(number))
  if (bytes === undefined) return 'gone'
  if (keys === undefined) {
    const open = decodeCheckpoint(bytes, repositoryId, number)
    return open === undefined ? undefined : digestOf({ state: open.state, records: [] }, keys)
  }
  const content = openCheckpoint(keys, bytes, repositoryId, number)
  return content === undefined ? undefined : digestOf(content, keys)
}

/** What two contents are compared by. Without the key there are no records. */
export function digestOf({ state, records }: CheckpointContent, keys: KeyRing | undefined): string {
  const hash = createHash('sha256').update(toJsonBytes(state))
  return hash.update(toJsonBytes(keys === undefined ? [] : records)).digest('hex')
}

/**
 * Whether the checkpoint that a log was read from says what the entries before it say. `provenBefore` is what this user has
 * proven of an older checkpoint, so that nothing is read twice. Gives the digest that is proven now.
 */
export async function proveCheckpoint(
  parts: LogParts,
  from: number,
  start: CheckpointContent | undefined,
): Promise<{ log: CommitLog; digest: string | undefined }> {
  let digest: string | undefined
  const see = (number: number, content: () => CheckpointContent): void => {
    if (number === from) digest = digestOf(content(), parts.keys)
  }
  return { log: await CommitLog.fold(parts, see, start), digest }
}
