/**
 * A checkpoint: what the log says after entry `number`, as one object, so that a reader need not read what is before.
 *
 *   `checkpoints/<number>`, in the form of sealed-object.ts: the folded state lies open, the points' records are sealed.
 *
 * Promises
 *   1. A checkpoint is a shortcut and nothing else: entries are the truth. It is believed only by those who hold the key,
 *      only if it is authentic and names the hash that entry `number` has in this store; else an older one is looked at, or
 *      none. Without the key nobody reads by it; verify folds the entries and compares.
 *   2. It is of an entry with `compact`, at which the states of all who read the log are equal. So its open part is the same
 *      whoever writes it, and anybody who folds the entries can compare it.
 *
 * Written by whoever appended the entry, after that, best effort: a crash leaves none, and the next compact entry gets one.
 */
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { toHex } from '#base'
import type { KeyRing, SealingKey } from '../crypto.ts'
import { parseObject, toJsonBytes } from '../json.ts'
import type { PointRecord } from '../point.ts'
import { isField, isText, PACK_NAME } from './entry.ts'
import { unknownFeatures } from './features.ts'
import { decodeSealedObject, encodeSealedObject, isAuthenticObject, openSealedBody } from './sealed-object.ts'
import { isState, type StateSnapshot } from './state-snapshot.ts'

const MAGIC = 'HFCKP001'
/** A checkpoint that would be larger is not written: readers go on from an older one. */
export const CHECKPOINT_BYTES_MAX = 256 * 1024 * 1024
const RECORDS_BYTES_MAX = 448 * 1024 * 1024

export type CheckpointContent = Readonly<{ state: StateSnapshot; records: readonly PointRecord[] }>
export type CheckpointOpen = Readonly<{
  format: 'holdfast-checkpoint'
  repository: string
  number: number
  /** 64 hex digits, random: derives the body's key. */
  checkpoint: string
  state: StateSnapshot
}>

export function checkpointKey(number: number): string {
  return `checkpoints/${String(number).padStart(12, '0')}`
}

export function checkpointNumber(key: string): number | undefined {
  const match = /^checkpoints\/(\d{12})$/.exec(key)
  return match === null ? undefined : Number(match[1])
}

function sealerOf(keys: KeyRing, checkpoint: string): SealingKey {
  return keys.entryKey(Buffer.from(checkpoint, 'hex'))
}

/** @param id 32 random bytes, never used before */
export function encodeCheckpoint(
  keys: KeyRing,
  repository: string,
  id: Uint8Array,
  { state, records }: CheckpointContent,
): Uint8Array {
  const checkpoint = toHex(id)
  const open: CheckpointOpen = { format: 'holdfast-checkpoint', repository, number: state.head, checkpoint, state }
  const body = zstdCompressSync(toJsonBytes({ points: records }))
  return encodeSealedObject(MAGIC, keys, sealerOf(keys, checkpoint), open, body)
}

/** The open part, as far as it can be checked by itself; undefined when the bytes are no checkpoint of this number. */
export function decodeCheckpoint(bytes: Uint8Array, repository: string, number: number): CheckpointOpen | undefined {
  const open = decodeSealedObject(MAGIC, bytes)?.open
  const isOne =
    open?.['format'] === 'holdfast-checkpoint' &&
    open['repository'] === repository &&
    open['number'] === number &&
    isText(open['checkpoint'], PACK_NAME) &&
    isField(open['state'], (state) => state['head'] === number) &&
    isState(open['state'])
  return isOne ? (open as unknown as CheckpointOpen) : undefined
}

/** What an authentic checkpoint says; undefined when it is none, or its records are not those of its points. */
export function openCheckpoint(
  keys: KeyRing,
  bytes: Uint8Array,
  repository: string,
  number: number,
): CheckpointContent | undefined {
  const object = decodeSealedObject(MAGIC, bytes)
  if (object === undefined || !isAuthenticObject(keys, object)) return undefined
  const open = decodeCheckpoint(bytes, repository, number)
  const body = open === undefined ? undefined : openSealedBody(sealerOf(keys, open.checkpoint), object)
  if (open === undefined || body === undefined) return undefined
  // What else stands in one that asks for more than is known cannot be judged: chooseCheckpoint refuses it by name.
  if (unknownFeatures(open.state.requires).length > 0) return { state: open.state, records: [] }
  const records = recordsIn(body)
  const named = new Set(records?.map(({ id }) => id))
  const isWhole =
    named.size === open.state.points.length && open.state.points.every(({ header }) => named.has(header.id))
  return records !== undefined && isWhole ? { state: open.state, records } : undefined
}

function recordsIn(body: Uint8Array): PointRecord[] | undefined {
  try {
    const plain = zstdDecompressSync(body, { maxOutputLength: RECORDS_BYTES_MAX })
    const points = parseObject(plain)?.['points']
    return Array.isArray(points) ? (points as PointRecord[]) : undefined
  } catch {
    return undefined // Not zstd: the caller passes this checkpoint over.
  }
}

/** Whether two states are the same, field by field. */
export function isSameState(a: StateSnapshot, b: StateSnapshot): boolean {
  return Buffer.compare(toJsonBytes(a), toJsonBytes(b)) === 0
}
