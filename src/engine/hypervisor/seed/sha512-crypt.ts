/**
 * A password as /etc/shadow keeps it: SHA-512 crypt, `$6$salt$hash`, which every Linux takes. Source: Ulrich Drepper, "Unix
 * crypt using SHA-256 and SHA-512" (0.6); the steps below are numbered as there. 5000 rounds, its default.
 */
import { createHash } from 'node:crypto'
import type { Random } from '#base'

const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const ROUNDS = 5000
const SALT_CHARS = 16
const DIGEST_BYTES = 64

function sha512(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha512')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** `bytes` repeated to the length. */
function stretched(bytes: Uint8Array, length: number): Buffer {
  return Buffer.alloc(length, bytes)
}

/** Three bytes are four characters, least significant six bits first; the order of the bytes is the method's own. */
function encode(digest: Buffer): string {
  let text = ''
  const put = (a: number, b: number, c: number, chars: number): void => {
    let value = (a << 16) | (b << 8) | c
    for (let i = 0; i < chars; i += 1, value >>>= 6) text += ALPHABET[value & 63]
  }
  const at = (index: number): number => digest[index] ?? 0
  let [a, b, c] = [0, 21, 42]
  for (let i = 0; i < 21; i += 1) {
    put(at(a), at(b), at(c), 4)
    ;[a, b, c] = [b + 1, c + 1, a + 1]
  }
  put(0, 0, at(63), 2)
  return text
}

/** The first digest: steps 1 to 12. */
function firstDigest(key: Buffer, salt: Buffer): Buffer {
  const inner = sha512(key, salt, key) // steps 4 to 8
  const parts: Buffer[] = [key, salt, stretched(inner, key.length)] // steps 1 to 3, 9 and 10
  for (let length = key.length; length > 0; length >>= 1) parts.push(length & 1 ? inner : key) // step 11
  return sha512(...parts)
}

/** @param saltText at most 16 characters of the crypt alphabet */
export function sha512Crypt(password: string, saltText: string): string {
  const key = Buffer.from(password, 'utf8')
  const salt = Buffer.from(saltText.slice(0, SALT_CHARS), 'latin1')
  let digest = firstDigest(key, salt)
  const keyBytes = stretched(sha512(stretched(key, key.length * key.length)), key.length) // steps 13 to 16
  const saltTimes = 16 + (digest[0] ?? 0)
  const saltBytes = stretched(sha512(stretched(salt, salt.length * saltTimes)), salt.length) // steps 17 to 20
  for (let round = 0; round < ROUNDS; round += 1) {
    const odd = (round & 1) === 1
    digest = sha512(
      odd ? keyBytes : digest,
      round % 3 === 0 ? Buffer.alloc(0) : saltBytes,
      round % 7 === 0 ? Buffer.alloc(0) : keyBytes,
      odd ? digest : keyBytes,
    ) // step 21
  }
  return `$6$${salt.toString('latin1')}$${encode(digest.subarray(0, DIGEST_BYTES))}`
}

export function hashPassword(password: string, random: Random): string {
  const salt = Array.from(random.bytes(SALT_CHARS), (byte) => ALPHABET[byte & 63]).join('')
  return sha512Crypt(password, salt)
}
