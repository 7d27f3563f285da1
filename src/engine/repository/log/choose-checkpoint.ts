/**
 * Which checkpoint a reader goes on from: the newest that is authentic, whole, and of the entry that this store has under
 * its number. What is damaged, forged or of another history is passed over; without any the log is read from its beginning.
 */
import type { BlobStore } from '../blob-store.ts'
import type { KeyRing } from '../crypto.ts'
import { checkpointKey, checkpointNumber, type CheckpointContent, openCheckpoint } from './checkpoint.ts'
import { decodeEntry, isAuthentic, logKey } from './entry.ts'
import { assertKnownFeatures } from './features.ts'
import { getOrNothing } from './read-ahead.ts'

/** `blindly` is for the simulation, which must find out whoever leaves the chain out. */
export type CheckpointTrust = 'chain' | 'blindly'

export type ChosenCheckpoint = CheckpointContent & Readonly<{ sizeBytes: number }>

/** Numbers of the checkpoints in the store, ascending. */
export async function listCheckpoints(store: BlobStore): Promise<number[]> {
  const numbers: number[] = []
  for await (const { key } of store.list('checkpoints/')) {
    const number = checkpointNumber(key)
    if (number !== undefined) numbers.push(number)
  }
  return numbers
}

/**
 * The newest checkpoint that may be believed, at most of entry `numberMax`; undefined when there is none.
 * @throws repository_too_new
 */
export async function chooseCheckpoint(
  store: BlobStore,
  keys: KeyRing,
  repository: string,
  trust: CheckpointTrust = 'chain',
  numberMax = Infinity,
): Promise<ChosenCheckpoint | undefined> {
  for (const number of (await listCheckpoints(store)).reverse()) {
    if (number > numberMax) continue
    const bytes = await getOrNothing(store, checkpointKey(number))
    const content = bytes === undefined ? undefined : openCheckpoint(keys, bytes, repository, number)
    if (bytes === undefined || content === undefined) continue
    const hash = trust === 'chain' ? await hashInChain(store, keys, repository, number) : content.state.headHash
    if (hash !== content.state.headHash) continue
    assertKnownFeatures(content.state.requires, number)
    return { ...content, sizeBytes: bytes.length }
  }
  return undefined
}

/** The hash of entry `number` as it lies in the store, if it is an authentic one. */
async function hashInChain(
  store: BlobStore,
  keys: KeyRing,
  repository: string,
  number: number,
): Promise<string | undefined> {
  const bytes = await getOrNothing(store, logKey(number))
  const entry = bytes === undefined ? undefined : decodeEntry(bytes)
  if (entry?.envelope.number !== number || entry.envelope.repository !== repository) return undefined
  return isAuthentic(keys, entry) ? entry.hash : undefined
}
