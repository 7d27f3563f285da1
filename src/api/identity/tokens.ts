/**
 * Access tokens: JWTs (RFC 7519) signed with RS256, as Entra ID gives them to service principals. They say who, never what
 * they may: roles are looked up at every request, so that a role taken away is gone at once, and so is a deleted principal.
 */
import { errors, jwtVerify, SignJWT } from 'jose'
import type { Clock, Random } from '#base'
import { randomUuid } from '#base'
import { type Catalog, findPrincipal, type Principal } from '#catalog'
import { ArmError } from '#contract'
import type { Caller } from '../arm/call.ts'
import { callerOf } from './callers.ts'
import type { SigningKey } from './signing-key.ts'

/** As Entra's default, less a second: the clients take that number as it is. */
export const TOKEN_SECONDS = 3599
const CLOCK_SKEW_SECONDS = 60

/** What the SDKs ask tokens for when nobody told them another audience. */
const AUDIENCE_ALIASES = [
  'https://management.azure.com',
  'https://management.core.windows.net',
  'https://storage.azure.com',
]

export type TokenParts = Readonly<{
  catalog: Catalog
  clock: Clock
  random: Random
  key: SigningKey
  tenantId: string
}>

/** Without trailing slashes: clients write one, two or none. */
function plainAudience(audience: string): string {
  return audience.replace(/\/+$/, '').toLowerCase()
}

export class Tokens {
  readonly #parts: TokenParts

  constructor(parts: TokenParts) {
    this.#parts = parts
  }

  /** Whether tokens for that audience are given and taken at this address. */
  isAudience(audience: string, baseUrl: string): boolean {
    const plain = plainAudience(audience)
    const own = baseUrl.toLowerCase()
    // `az` asks for a token of its own for the directory, which is here too.
    return plain === own || plain === `${own}/graph` || AUDIENCE_ALIASES.includes(plain)
  }

  async issue(principal: Principal, audience: string, issuer: string): Promise<string> {
    const { clock, random, key, tenantId } = this.#parts
    const nowSeconds = Math.floor(clock.nowMs() / 1000)
    return new SignJWT({
      appid: principal.clientId,
      oid: principal.id,
      sub: principal.id,
      tid: tenantId,
      ver: '1.0',
      idtyp: 'app',
    })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: key.id, x5t: key.id })
      .setIssuer(issuer)
      .setAudience(audience)
      .setIssuedAt(nowSeconds)
      .setNotBefore(nowSeconds)
      .setExpirationTime(nowSeconds + TOKEN_SECONDS)
      .setJti(randomUuid(random))
      .sign(key.privateKey)
  }

  /** @throws ArmError 401 */
  async authenticate(authorization: string | undefined, baseUrl: string): Promise<Caller> {
    const token = /^bearer\s+(\S+)$/i.exec(authorization ?? '')?.[1]
    if (token === undefined)
      throw new ArmError('AuthenticationFailed', "Authentication failed. The 'Authorization' header is missing.")
    const id = await this.#verify(token, baseUrl)
    const principal = await findPrincipal(this.#parts.catalog, id)
    if (principal === undefined)
      throw new ArmError(
        'InvalidAuthenticationToken',
        'The client that this token was given to does not exist any more.',
      )
    return callerOf(this.#parts.catalog, principal)
  }

  async #verify(token: string, baseUrl: string): Promise<string> {
    const { clock, key } = this.#parts
    try {
      const { payload } = await jwtVerify(token, key.publicKey, {
        algorithms: ['RS256'],
        clockTolerance: CLOCK_SKEW_SECONDS,
        currentDate: new globalThis.Date(clock.nowMs()),
      })
      const audiences = [payload.aud ?? []].flat()
      if (!audiences.some((audience) => this.isAudience(audience, baseUrl)))
        throw new ArmError(
          'InvalidAuthenticationTokenAudience',
          `The access token was given for '${audiences.join(', ')}', not for this server.`,
        )
      return String(payload['oid'])
    } catch (cause) {
      if (cause instanceof ArmError) throw cause
      if (cause instanceof errors.JWTExpired)
        throw new ArmError('ExpiredAuthenticationToken', 'The access token expiry is in the past. Log in again.', {
          cause,
        })
      throw new ArmError('InvalidAuthenticationToken', 'The access token is invalid. Log in again.', { cause })
    }
  }
}
