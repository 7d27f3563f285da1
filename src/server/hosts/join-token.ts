/**
 * The token by which a host joins: where the server is, whom to trust, and a secret that works once and not for long. The
 * server keeps only the secret's digest. The text is one line of base64url, so that it survives a terminal and a file.
 */
import { createHash, timingSafeEqual, X509Certificate } from 'node:crypto'
import type { Random } from '#base'
import { ServerError } from '../errors.ts'

export type JoinToken = Readonly<{
  /** `region/name`. */
  host: string
  /** Where hosts dial: a name or address, and a port. */
  address: string
  port: number
  /** PEM. */
  authority: string
  secret: string
  expiresMs: number
}>

const MARK = 'holdfast-join-1.'
const SECRET_BYTES = 32
const TOKEN_LENGTH_MAX = 8192

export function newJoinSecret(random: Random): string {
  return Buffer.from(random.bytes(SECRET_BYTES)).toString('base64url')
}

/** SHA-256, hexadecimal. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** @param digest hexadecimal */
export function hasDigest(text: string, digest: string): boolean {
  const [given, known] = [Buffer.from(digestOf(text), 'hex'), Buffer.from(digest, 'hex')]
  return given.length === known.length && timingSafeEqual(given, known)
}

export function writeJoinToken(token: JoinToken): string {
  const { authority, ...rest } = token
  const der = new X509Certificate(authority).raw.toString('base64')
  return `${MARK}${Buffer.from(JSON.stringify({ ...rest, authority: der })).toString('base64url')}`
}

function invalid(why: string): ServerError {
  return new ServerError('join_token_invalid', `This is no join token: ${why}.`, {
    hint: 'Copy the whole line that "holdfast host add" printed, or ask for another with "holdfast host token".',
  })
}

function partsOf(text: string): Record<string, unknown> {
  try {
    return JSON.parse(Buffer.from(text.slice(MARK.length), 'base64url').toString('utf8')) as Record<string, unknown>
  } catch (cause) {
    throw new ServerError('join_token_invalid', 'This is no join token: it is cut off or changed.', { cause })
  }
}

function pemOf(der: string): string {
  try {
    return new X509Certificate(Buffer.from(der, 'base64')).toString()
  } catch {
    throw invalid('its certificate cannot be read')
  }
}

/** @throws ServerError `join_token_invalid`, whose message never holds the token */
export function readJoinToken(given: string): JoinToken {
  const text = given.trim()
  if (!text.startsWith(MARK) || text.length > TOKEN_LENGTH_MAX) throw invalid('it does not begin as one')
  const { host, address, port, authority, secret, expiresMs } = partsOf(text)
  const texts = [host, address, authority, secret]
  if (!texts.every((one) => typeof one === 'string' && one !== '')) throw invalid('a part is missing')
  if (typeof port !== 'number' || typeof expiresMs !== 'number') throw invalid('a part is missing')
  const [hostText, addressText, authorityText, secretText] = texts as [string, string, string, string]
  return { host: hostText, address: addressText, port, authority: pemOf(authorityText), secret: secretText, expiresMs }
}
