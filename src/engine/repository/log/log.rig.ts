/** What the tests of the log share: a key, a store, and any number of readers and writers of one log. */
import { ManualClock, type Random, SeededRandom } from '#base'
import type { BlobStore } from '../blob-store.ts'
import { KeyRing } from '../crypto.ts'
import { CommitLog } from './log.ts'

export const REPOSITORY = 'ab'.repeat(16)
export const keys = new KeyRing(new Uint8Array(32).fill(5), Buffer.from(REPOSITORY, 'hex'))
export const clock = new ManualClock()

export function openLog(
  store: BlobStore,
  options: Readonly<{ seed?: number; keyless?: boolean; entriesMin?: number }> = {},
): Promise<CommitLog> {
  const random: Random = new SeededRandom(options.seed ?? 1)
  const parts = {
    store,
    repositoryId: REPOSITORY,
    clock,
    random,
    writer: `w${options.seed ?? 1}`,
    checkpoints: { entriesMin: options.entriesMin ?? 256 },
  }
  return CommitLog.open(options.keyless === true ? parts : { ...parts, keys })
}

export const PACK = (digit: string): { name: string; lengthBytes: number } => ({
  name: digit.repeat(64),
  lengthBytes: 1000,
})
