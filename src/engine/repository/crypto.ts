/**
 * Every key of a repository, derived from its one master, and the only place where bytes are sealed and opened.
 *
 *   master (32 random bytes, kept in key slots)
 *     ├─ HKDF "holdfast/1 chunk id"   idKey      names chunks: HMAC-SHA-256(idKey, SHA-256(plain))
 *     ├─ HKDF "holdfast/1 pack"       packKey    ─ HKDF(salt of the pack) ─ AES-256-GCM key of that pack
 *     ├─ HKDF "holdfast/1 log seal"   logKey     ─ HKDF(id of the entry)  ─ AES-256-GCM key of that entry's body
 *     └─ HKDF "holdfast/1 log mac"    macKey     authenticates log entries as a whole
 *
 * Invariants
 *   - A (key, nonce) pair is used once: pack and entry keys come from 256 random bits each, and inside a pack the nonce is
 *     the offset at which the sealed bytes lie, which is unique by construction (NIST SP 800-38D, 8.2.1).
 *   - A chunk's name tells nothing about its content without idKey, so a store cannot confirm a guess.
 *   - `open` gives the sealed bytes or fails; it never gives bytes that were not authenticated.
 * Sources: RFC 5869 (HKDF), RFC 2104 (HMAC), NIST SP 800-38D (GCM).
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hash,
  hkdfSync,
  type KeyObject,
} from 'node:crypto'
import { assert, type Brand } from '#base'

/** SHA-256 of plain bytes. Kept only in sealed places. */
export type ContentHash = Brand<Uint8Array, 'ContentHash'>
/** The public name of a chunk. */
export type ChunkId = Brand<Uint8Array, 'ChunkId'>

export const HASH_BYTES = 32
export const KEY_BYTES = 32
export const TAG_BYTES = 16
const NONCE_BYTES = 12

export function sha256(bytes: Uint8Array): Uint8Array {
  return hash('sha256', bytes, 'buffer')
}

export function contentHash(plain: Uint8Array): ContentHash {
  return sha256(plain) as ContentHash
}

function derive(secret: Uint8Array, salt: Uint8Array, info: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, salt, `holdfast/1 ${info}`, KEY_BYTES))
}

/** AES-256-GCM under one key. The caller owns the uniqueness of `nonceCounter` under this key. */
export class SealingKey {
  /** As Node's own object: given as bytes, a key is imported anew for every chunk, at half the price of opening one. */
  readonly #key: KeyObject

  constructor(key: Uint8Array) {
    assert(key.length === KEY_BYTES, 'A sealing key has 32 bytes')
    this.#key = createSecretKey(key)
  }

  /** The ciphertext parts and the tag, in order; concatenated they are the sealed bytes (plain length + 16). */
  seal(nonceCounter: number, aad: Uint8Array, plain: Uint8Array): { ciphertext: Uint8Array; tag: Uint8Array } {
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonceOf(nonceCounter))
    cipher.setAAD(aad)
    const ciphertext = cipher.update(plain)
    const rest = cipher.final()
    assert(rest.length === 0 && ciphertext.length === plain.length, 'GCM is a stream mode: lengths are equal')
    return { ciphertext, tag: cipher.getAuthTag() }
  }

  /** The plain bytes, or undefined when they are not what was sealed under this key, nonce and data. */
  open(nonceCounter: number, aad: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < TAG_BYTES) return undefined
    const decipher = createDecipheriv('aes-256-gcm', this.#key, nonceOf(nonceCounter))
    decipher.setAAD(aad)
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES))
    const plain = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES))
    try {
      decipher.final()
    } catch {
      return undefined // final() fails for one reason only: the tag does not match. The caller names what was damaged.
    }
    return plain
  }
}

function nonceOf(counter: number): Uint8Array {
  assert(Number.isSafeInteger(counter) && counter >= 0, 'A nonce counter is a whole number')
  const nonce = new Uint8Array(NONCE_BYTES)
  new DataView(nonce.buffer).setBigUint64(0, BigInt(counter), true)
  return nonce
}

/** The keys of one repository. Holds the master only to hand it to worker threads and new key slots. */
export class KeyRing {
  readonly master: Uint8Array
  readonly repositoryId: Uint8Array
  readonly #idKey: KeyObject
  readonly #packKey: Uint8Array
  readonly #logKey: Uint8Array
  readonly #macKey: KeyObject

  constructor(master: Uint8Array, repositoryId: Uint8Array) {
    assert(master.length === KEY_BYTES, 'A master key has 32 bytes')
    assert(repositoryId.length === 16, 'A repository id has 16 bytes')
    this.master = master
    this.repositoryId = repositoryId
    this.#idKey = createSecretKey(derive(master, repositoryId, 'chunk id'))
    this.#packKey = derive(master, repositoryId, 'pack')
    this.#logKey = derive(master, repositoryId, 'log seal')
    this.#macKey = createSecretKey(derive(master, repositoryId, 'log mac'))
  }

  chunkId(content: ContentHash): ChunkId {
    return createHmac('sha256', this.#idKey).update(content).digest() as Uint8Array as ChunkId
  }

  packKey(salt: Uint8Array): SealingKey {
    return new SealingKey(derive(this.#packKey, salt, 'one pack'))
  }

  entryKey(entryId: Uint8Array): SealingKey {
    return new SealingKey(derive(this.#logKey, entryId, 'one entry'))
  }

  mac(bytes: Uint8Array): Uint8Array {
    return createHmac('sha256', this.#macKey).update(bytes).digest()
  }
}
