/**
 * The form that log entries and checkpoints share: an open part that anyone can read, a sealed body that only the key's owner
 * can, and a MAC over both.
 *
 *   magic 8 · open bytes 4 · body bytes 4 · open (JSON) · sealed body · MAC 32
 *
 * The body is bound to its open part, whose hash is the sealing's AAD, and sealed under a key of its own (nonce 0).
 */
import { toHex } from '#base'
import { type KeyRing, type SealingKey, sha256, TAG_BYTES } from '../crypto.ts'
import { parseObject, toJsonBytes } from '../json.ts'

const HEAD_BYTES = 16
const MAC_BYTES = 32

export type SealedObject = Readonly<{
  open: Record<string, unknown>
  sealedBody: Uint8Array
  hash: string
  signed: Uint8Array
  mac: Uint8Array
}>

/** @param body undefined: the object has none. */
export function encodeSealedObject(
  magic: string,
  keys: KeyRing,
  sealer: SealingKey,
  open: Readonly<Record<string, unknown>>,
  body: Uint8Array | undefined,
): Uint8Array {
  const openBytes = toJsonBytes(open)
  const { ciphertext, tag } =
    body === undefined
      ? { ciphertext: new Uint8Array(), tag: new Uint8Array() }
      : sealer.seal(0, sha256(openBytes), body)
  const head = Buffer.alloc(HEAD_BYTES)
  head.write(magic, 'latin1')
  head.writeUInt32LE(openBytes.length, 8)
  head.writeUInt32LE(ciphertext.length + tag.length, 12)
  const signed = Buffer.concat([head, openBytes, ciphertext, tag])
  return Buffer.concat([signed, keys.mac(signed)])
}

/** The object as far as it can be checked without a key; undefined when the bytes are none of this magic. */
export function decodeSealedObject(magic: string, bytes: Uint8Array): SealedObject | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.length < HEAD_BYTES + MAC_BYTES || buffer.toString('latin1', 0, 8) !== magic) return undefined
  const openEnd = HEAD_BYTES + buffer.readUInt32LE(8)
  const bodyEnd = openEnd + buffer.readUInt32LE(12)
  if (bodyEnd + MAC_BYTES !== buffer.length) return undefined
  const open = parseObject(buffer.subarray(HEAD_BYTES, openEnd))
  if (open === undefined) return undefined
  return {
    open,
    sealedBody: buffer.subarray(openEnd, bodyEnd),
    hash: toHex(sha256(bytes)),
    signed: buffer.subarray(0, bodyEnd),
    mac: buffer.subarray(bodyEnd),
  }
}

type Signed = Pick<SealedObject, 'sealedBody' | 'signed' | 'mac'>

/** Whether the object was written by a holder of the key. */
export function isAuthenticObject(keys: KeyRing, { signed, mac }: Signed): boolean {
  return Buffer.compare(keys.mac(signed), mac) === 0
}

/** The body of an authentic object that has one; undefined when it does not open. */
export function openSealedBody(sealer: SealingKey, { signed, sealedBody }: Signed): Uint8Array | undefined {
  if (sealedBody.length < TAG_BYTES) return undefined
  const openBytes = signed.subarray(HEAD_BYTES, signed.length - sealedBody.length)
  return sealer.open(0, sha256(openBytes), sealedBody)
}
