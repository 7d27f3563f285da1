/**
 * One entry of the commit log, as docs/format/log.md describes its bytes: a plain envelope that anyone can check, a sealed
 * body that only the key's owner can read, and a MAC over both.
 *
 *   magic "HFLOG001" · envelope bytes 4 · body bytes 4 · envelope (JSON) · sealed body · MAC 32
 *
 * The envelope names the hash of the entry before it, so the log is a chain; and every pack added or removed with its
 * length, so a store is verified without the key. The body is bound to its envelope (its hash is the sealing's AAD).
 */
import type { KeyRing, SealingKey } from '../crypto.ts'
import { type ImmutabilityPolicy, isPolicy } from '../immutability/policy.ts'
import { parseObject, toJsonBytes } from '../json.ts'
import type { PointId, PointRecord } from '../point.ts'
import { unknownFeatures } from './features.ts'
import { decodeSealedObject, encodeSealedObject, isAuthenticObject, openSealedBody } from './sealed-object.ts'

const MAGIC = 'HFLOG001'

export type PackAdded = Readonly<{ name: string; lengthBytes: number }>

/**
 * What the outside may know of a point. Its closure (the packs that it may need) is that of `base` and those that `uses`
 * names by ordinal, as ranges: "0-12,40". An upper bound: a pack stays named although later points replaced its chunks.
 */
export type PointHeader = Readonly<{
  id: PointId
  expiresAtMs?: number
  /** The point cannot be given up before; its whole closure is locked in the store at least until then. */
  lockedUntilMs?: number
  base?: PointId
  uses: string
}>

/** `session`: the number of the first pin of the stay that this one renews; absent in the first. */
export type Pin = Readonly<{ holder: string; purpose: string; expiresAtMs: number; session?: number }>

export type Envelope = Readonly<{
  format: 'holdfast-log'
  repository: string
  number: number
  /** 64 hex digits, random: tells a lost reply from a lost race, and derives the body's key. */
  entry: string
  /** SHA-256 of the whole entry before this one, hex; empty in entry 1. */
  previous: string
  /** The writer's clock, as it was. What is believed of it: immutability/observed-time.ts. */
  atMs: number
  /** The store's own clock; stated when the writer's alone would be doubted. */
  storeMs?: number
  /** An operator said that it is as late as this, however far ahead. */
  acceptedMs?: number
  writer: string
  /** How many packs all entries before this one name: the ordinal that its own first pack takes, or would take. */
  firstOrdinal: number
  /** Features that a reader must know to go by the log from here on (features.ts). No program writes any yet. */
  requires?: readonly string[]
  packs?: readonly PackAdded[]
  points?: readonly PointHeader[]
  forgotten?: readonly PointId[]
  tombstones?: readonly string[]
  deletions?: readonly string[]
  /** A repack: chunks of the packs `from` stand in the packs `to` as well, which join every closure that holds one of `from`. */
  moved?: Readonly<{ from: string; to: string }>
  immutability?: ImmutabilityPolicy
  /**
   * The state is made compact here (LogState.compact), and a checkpoint of this entry may be written. The number is the
   * horizon: who began his stay at or before it commits nothing any more.
   */
  compact?: number
  pin?: Pin
  unpin?: readonly number[]
}>

export type EntryBody = Readonly<{ points?: readonly PointRecord[] }>

export type DecodedEntry = Readonly<{
  envelope: Envelope
  sealedBody: Uint8Array
  hash: string
  signed: Uint8Array
  mac: Uint8Array
}>

export function logKey(number: number): string {
  return `log/${String(number).padStart(12, '0')}`
}

export function logNumber(key: string): number | undefined {
  const match = /^log\/(\d{12})$/.exec(key)
  return match === null ? undefined : Number(match[1])
}

export function encodeEntry(keys: KeyRing, envelope: Envelope, body: EntryBody): Uint8Array {
  const hasBody = (body.points ?? []).length > 0
  return encodeSealedObject(MAGIC, keys, sealerOf(keys, envelope), envelope, hasBody ? toJsonBytes(body) : undefined)
}

function sealerOf(keys: KeyRing, { entry }: Envelope): SealingKey {
  return keys.entryKey(Buffer.from(entry, 'hex'))
}

export const isText = (value: unknown, pattern: RegExp): boolean => typeof value === 'string' && pattern.test(value)
export const isList = (value: unknown, item: (value: unknown) => boolean): boolean =>
  value === undefined || (Array.isArray(value) && value.every(item))
export const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
export const isMaybe = (value: unknown, check: (value: unknown) => boolean): boolean =>
  value === undefined || check(value)
export const isField = (value: unknown, check: (field: Record<string, unknown>) => boolean): boolean =>
  typeof value === 'object' && value !== null && check(value as Record<string, unknown>)

export const PACK_NAME = /^[0-9a-f]{64}$/
export const POINT_ID = /^[0-9a-f]{32}$/
export const USES = /^(\d{1,10}(-\d{1,10})?(,\d{1,10}(-\d{1,10})?)*)?$/

export const FEATURE = /^[a-z0-9][a-z0-9.-]{0,63}$/

/** What every reader checks, however new the entry: which one it is, and what it asks for. */
function isFrame(value: Record<string, unknown>): boolean {
  return (
    value['format'] === 'holdfast-log' &&
    isCount(value['number']) &&
    isText(value['repository'], /^[0-9a-f]{32}$/) &&
    isText(value['entry'], /^[0-9a-f]{64}$/) &&
    isText(value['previous'], /^([0-9a-f]{64})?$/) &&
    isList(value['requires'], (name) => isText(name, FEATURE))
  )
}

export function isHeader(value: unknown): boolean {
  return isField(
    value,
    ({ id, uses, base, expiresAtMs, lockedUntilMs }) =>
      isText(id, POINT_ID) &&
      isText(uses, USES) &&
      isMaybe(expiresAtMs, isCount) &&
      isMaybe(base, (one) => isText(one, POINT_ID)) &&
      isMaybe(lockedUntilMs, isCount),
  )
}

export function isPin(value: unknown): boolean {
  return isField(
    value,
    ({ expiresAtMs, holder, purpose, session }) =>
      isCount(expiresAtMs) && typeof holder === 'string' && typeof purpose === 'string' && isMaybe(session, isCount),
  )
}

/** Of an entry that asks for what is not known, the frame alone is checked: the fold refuses it by name. */
function isEnvelope(value: Record<string, unknown>): boolean {
  if (!isFrame(value)) return false
  if (unknownFeatures((value['requires'] ?? []) as string[]).length > 0) return true
  const names = (['tombstones', 'deletions'] as const).every((field) =>
    isList(value[field], (name) => isText(name, PACK_NAME)),
  )
  const isPack = (pack: unknown): boolean =>
    isField(pack, ({ name, lengthBytes }) => isText(name, PACK_NAME) && isCount(lengthBytes))
  const isMove = (moved: unknown): boolean => isField(moved, ({ from, to }) => isText(from, USES) && isText(to, USES))
  return (
    isCount(value['atMs']) &&
    isCount(value['firstOrdinal']) &&
    isList(value['points'], isHeader) &&
    isList(value['packs'], isPack) &&
    names &&
    isList(value['forgotten'], (id) => isText(id, POINT_ID)) &&
    isList(value['unpin'], isCount) &&
    isMaybe(value['compact'], isCount) &&
    isMaybe(value['storeMs'], isCount) &&
    isMaybe(value['acceptedMs'], isCount) &&
    isMaybe(value['immutability'], (policy) => isField(policy, isPolicy)) &&
    isMaybe(value['moved'], isMove) &&
    isMaybe(value['pin'], isPin)
  )
}

/** The entry as far as it can be checked without a key; undefined when the bytes are none. */
export function decodeEntry(bytes: Uint8Array): DecodedEntry | undefined {
  const object = decodeSealedObject(MAGIC, bytes)
  if (object === undefined || !isEnvelope(object.open)) return undefined
  const { open, ...rest } = object
  return { envelope: open as unknown as Envelope, ...rest }
}

/** Whether the entry was written by a holder of the key. */
export function isAuthentic(keys: KeyRing, entry: DecodedEntry): boolean {
  return isAuthenticObject(keys, entry)
}

/** The sealed body of an authentic entry; undefined when it does not open. */
export function openBody(keys: KeyRing, entry: DecodedEntry): EntryBody | undefined {
  if (entry.sealedBody.length === 0) return {}
  const plain = openSealedBody(sealerOf(keys, entry.envelope), entry)
  return plain === undefined ? undefined : parseObject(plain)
}
