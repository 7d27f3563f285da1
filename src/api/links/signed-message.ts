/**
 * The signature that each message between linked servers carries: a JWS (RFC 7515) by the sender's key over who says it to
 * whom, what for, and the digest of the body; good for a short while, and taken once. The connection hides the message and
 * proves the receiver (its certificate is checked against the authority on record); this proves the sender.
 */
import { createHash } from 'node:crypto'
import { decodeJwt, importJWK, jwtVerify, SignJWT } from 'jose'
import { type Clock, type Random, randomUuid } from '#base'
import { LinkError } from './errors.ts'
import { LINK_ALGORITHM, type LinkKey } from './link-key.ts'
import type { LinkAct } from './link-wire.ts'

const SCHEME = 'Holdfast-Link'
/** Longer than clocks of servers that are looked after differ. */
const LIFE_SECONDS = 300
const SEEN_MAX = 100_000

type Source = Readonly<{ clock: Clock; random: Random }>

export function digestOf(body: string): string {
  return createHash('sha256').update(body).digest('base64url')
}

function invalid(why: string, cause?: unknown): LinkError {
  return new LinkError('link_refused', `The signature of the message is not valid: ${why}.`, { cause })
}

/** The header `authorization` of a message. */
export async function signMessage(
  { clock, random, key }: Source & Readonly<{ key: LinkKey }>,
  message: Readonly<{ from: string; to: string; act: LinkAct; body: string }>,
): Promise<string> {
  const { from, to, act, body } = message
  const nowSeconds = Math.floor(clock.nowMs() / 1000)
  const token = await new SignJWT({ act, dig: digestOf(body) })
    .setProtectedHeader({ alg: LINK_ALGORITHM })
    .setIssuer(from)
    .setAudience(to)
    .setIssuedAt(nowSeconds)
    .setExpirationTime(nowSeconds + LIFE_SECONDS)
    .setJti(randomUuid(random))
    .sign(key.privateKey)
  return `${SCHEME} ${token}`
}

/** Whom the message says that it is from: to look its key up, nothing more. */
export function claimedSender(authorization: string | undefined): string {
  try {
    return decodeJwt(tokenIn(authorization)).iss ?? ''
  } catch (cause) {
    throw invalid('it cannot be read', cause)
  }
}

function tokenIn(authorization: string | undefined): string {
  const [scheme, token] = (authorization ?? '').split(' ')
  return scheme === SCHEME ? (token ?? '') : ''
}

/** Takes each message once. What has expired is forgotten. */
export class MessageCheck {
  readonly #clock: Clock
  readonly #seen = new Map<string, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The digest that the body must have. @throws LinkError `link_refused` */
  async check(
    authorization: string | undefined,
    expected: Readonly<{ from: string; publicKey: string; to: string; act: LinkAct }>,
  ): Promise<string> {
    const nowMs = this.#clock.nowMs()
    const { payload } = await this.#verified(authorization, expected, nowMs)
    const { jti = '', exp = 0, act, dig } = payload
    if (act !== expected.act || typeof dig !== 'string' || jti === '') throw invalid('it is for something else')
    this.#forget(nowMs)
    if (this.#seen.has(jti) || this.#seen.size >= SEEN_MAX) throw invalid('it has been used')
    this.#seen.set(jti, (exp + LIFE_SECONDS) * 1000)
    return dig
  }

  async #verified(
    authorization: string | undefined,
    { from, publicKey, to }: Readonly<{ from: string; publicKey: string; to: string }>,
    nowMs: number,
  ) {
    try {
      const key = await importJWK(JSON.parse(publicKey), LINK_ALGORITHM)
      return await jwtVerify(tokenIn(authorization), key, {
        algorithms: [LINK_ALGORITHM],
        issuer: from,
        audience: to,
        clockTolerance: LIFE_SECONDS,
        maxTokenAge: LIFE_SECONDS,
        currentDate: new globalThis.Date(nowMs),
        requiredClaims: ['exp', 'iat', 'jti'],
      })
    } catch (cause) {
      throw invalid('it is not by the server of that link, or the clocks of the two differ by minutes', cause)
    }
  }

  #forget(nowMs: number): void {
    for (const [id, endsMs] of this.#seen) {
      if (endsMs > nowMs) return // In the order in which they were taken, so nearly in that of their ends.
      this.#seen.delete(id)
    }
  }
}
