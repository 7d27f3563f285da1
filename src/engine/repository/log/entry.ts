/**
 * One entry of the commit log, as docs/format/log.md describes its bytes: a plain envelope that anyone can check, a sealed
 * body that only the key's owner can read, and a MAC over both.
 *
 *   magic "HFLOG001" · envelope bytes 4 · body bytes 4 · envelope (JSON) · sealed body · MAC 32
 *
 * The envelope names the hash of the entry before it, so the log is a chain; and every pack added or removed with its
 * length, so a store is verified without the key. The body is bound to its envelope (its hash is the sealing's AAD).
 */
import { toHex } from '#base'
import { type KeyRing, sha256, TAG_BYTES } from '../crypto.ts'
import { type ImmutabilityPolicy, isPolicy } from '../immutability/policy.ts'
import { parseObject, toJsonBytes } from '../json.ts'
import type { PointId, PointRecord } from '../point.ts'

const MAGIC = Buffer.from('HFLOG001')
const HEAD_BYTES = 16
const MAC_BYTES = 32
/** Room for the packs of a full backup of the largest disk; a hostile entry cannot make us allocate more. */
export const ENTRY_BYTES_MAX = 256 * 1024 * 1024

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
  packs?: readonly PackAdded[]
  points?: readonly PointHeader[]
  forgotten?: readonly PointId[]
  tombstones?: readonly string[]
  deletions?: readonly string[]
  /** A repack: chunks of the packs `from` stand in the packs `to` as well, which join every closure that holds one of `from`. */
  moved?: Readonly<{ from: string; to: string }>
  immutability?: ImmutabilityPolicy
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
  const envelopeBytes = toJsonBytes(envelope)
  const sealer = keys.entryKey(Buffer.from(envelope.entry, 'hex'))
  const empty = (body.points ?? []).length === 0
  const { ciphertext, tag } = empty
    ? { ciphertext: new Uint8Array(), tag: new Uint8Array() }
    : sealer.seal(0, sha256(envelopeBytes), toJsonBytes(body))
  const head = Buffer.alloc(HEAD_BYTES)
  MAGIC.copy(head)
  head.writeUInt32LE(envelopeBytes.length, 8)
  head.writeUInt32LE(ciphertext.length + tag.length, 12)
  const signed = Buffer.concat([head, envelopeBytes, ciphertext, tag])
  return Buffer.concat([signed, keys.mac(signed)])
}

const isText = (value: unknown, pattern: RegExp): boolean => typeof value === 'string' && pattern.test(value)
const isList = (value: unknown, item: (value: unknown) => boolean): boolean =>
  value === undefined || (Array.isArray(value) && value.every(item))
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
const isMaybe = (value: unknown, check: (value: unknown) => boolean): boolean => value === undefined || check(value)
const isField = (value: unknown, check: (field: Record<string, unknown>) => boolean): boolean =>
  typeof value === 'object' && value !== null && check(value as Record<string, unknown>)

const PACK_NAME = /^[0-9a-f]{64}$/
const POINT_ID = /^[0-9a-f]{32}$/
const USES = /^(\d{1,10}(-\d{1,10})?(,\d{1,10}(-\d{1,10})?)*)?$/

function isEnvelope(value: Record<string, unknown> | undefined): boolean {
  if (value?.['format'] !== 'holdfast-log' || !isCount(value['number']) || !isCount(value['atMs'])) return false
  const points = isList(value['points'], (item) =>
    isField(
      item,
      (p) =>
        isText(p['id'], POINT_ID) &&
        isText(p['uses'], USES) &&
        (p['base'] === undefined || isText(p['base'], POINT_ID)) &&
        isMaybe(p['lockedUntilMs'], isCount),
    ),
  )
  const packs = isList(value['packs'], (item) =>
    isField(item, (p) => isText(p['name'], PACK_NAME) && isCount(p['lengthBytes'])),
  )
  const names = (['tombstones', 'deletions'] as const).every((field) =>
    isList(value[field], (name) => isText(name, PACK_NAME)),
  )
  return (
    isText(value['repository'], /^[0-9a-f]{32}$/) &&
    isText(value['entry'], /^[0-9a-f]{64}$/) &&
    isText(value['previous'], /^([0-9a-f]{64})?$/) &&
    points &&
    packs &&
    names &&
    isList(value['forgotten'], (id) => isText(id, POINT_ID)) &&
    isList(value['unpin'], isCount) &&
    isMaybe(value['storeMs'], isCount) &&
    isMaybe(value['acceptedMs'], isCount) &&
    isMaybe(value['immutability'], (policy) => isField(policy, isPolicy)) &&
    (value['moved'] === undefined ||
      isField(value['moved'], (moved) => isText(moved['from'], USES) && isText(moved['to'], USES))) &&
    (value['pin'] === undefined ||
      isField(
        value['pin'],
        (pin) =>
          isCount(pin['expiresAtMs']) &&
          typeof pin['holder'] === 'string' &&
          typeof pin['purpose'] === 'string' &&
          (pin['session'] === undefined || isCount(pin['session'])),
      ))
  )
}

/** The entry as far as it can be checked without a key; undefined when the bytes are none. */
export function decodeEntry(bytes: Uint8Array): DecodedEntry | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.length < HEAD_BYTES + MAC_BYTES || !MAGIC.equals(buffer.subarray(0, 8))) return undefined
  const envelopeEnd = HEAD_BYTES + buffer.readUInt32LE(8)
  const bodyEnd = envelopeEnd + buffer.readUInt32LE(12)
  if (bodyEnd + MAC_BYTES !== buffer.length) return undefined
  const envelope = parseObject(buffer.subarray(HEAD_BYTES, envelopeEnd))
  if (!isEnvelope(envelope)) return undefined
  return {
    envelope: envelope as unknown as Envelope,
    sealedBody: buffer.subarray(envelopeEnd, bodyEnd),
    hash: toHex(sha256(bytes)),
    signed: buffer.subarray(0, bodyEnd),
    mac: buffer.subarray(bodyEnd),
  }
}

/** Whether the entry was written by a holder of the key. */
export function isAuthentic(keys: KeyRing, entry: DecodedEntry): boolean {
  return Buffer.compare(keys.mac(entry.signed), entry.mac) === 0
}

/** The sealed body of an authentic entry; undefined when it does not open. */
export function openBody(keys: KeyRing, entry: DecodedEntry): EntryBody | undefined {
  if (entry.sealedBody.length === 0) return {}
  if (entry.sealedBody.length < TAG_BYTES) return undefined
  const envelopeBytes = entry.signed.subarray(HEAD_BYTES, entry.signed.length - entry.sealedBody.length)
  const plain = keys.entryKey(Buffer.from(entry.envelope.entry, 'hex')).open(0, sha256(envelopeBytes), entry.sealedBody)
  return plain === undefined ? undefined : parseObject(plain)
}
