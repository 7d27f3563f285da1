/**
 * OAuth 2.0 for service principals (RFC 6749, section 4.4: client credentials), at the paths of AD FS and of Entra ID, with
 * OpenID discovery and JWKS. Errors are Entra's: az and the SDKs show `error_description` as it is.
 * Guessing is hopeless by the secrets' 256 bits, not by a limit of attempts.
 */
import { importSPKI, jwtVerify } from 'jose'
import { isoTime, randomUuid } from '#base'
import { type Catalog, findPrincipal, listCredentials, type Principal } from '#catalog'
import { checkSecret } from './secrets.ts'
import { TOKEN_SECONDS, type TokenParts, type Tokens } from './tokens.ts'

export type TokenReply = Readonly<{ status: number; body: Readonly<Record<string, unknown>> }>

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** AADSTS codes: Microsoft Entra "authentication and authorization error codes". */
const REFUSALS = {
  secretWrong: { code: 7000215, error: 'invalid_client', status: 401, text: 'Invalid client secret provided.' },
  secretExpired: {
    code: 7000222,
    error: 'invalid_client',
    status: 401,
    text: 'The provided client secret keys are expired.',
  },
  clientUnknown: {
    code: 700016,
    error: 'unauthorized_client',
    status: 400,
    text: 'Application was not found in the directory.',
  },
  assertionInvalid: {
    code: 700027,
    error: 'invalid_client',
    status: 401,
    text: 'The certificate with which the assertion was signed is not registered.',
  },
  grantUnsupported: {
    code: 70003,
    error: 'unsupported_grant_type',
    status: 400,
    text: 'Only client_credentials is supported.',
  },
  requestInvalid: {
    code: 900144,
    error: 'invalid_request',
    status: 400,
    text: 'The request body lacks a required parameter.',
  },
  scopeInvalid: {
    code: 70011,
    error: 'invalid_scope',
    status: 400,
    text: 'The provided value for scope is not valid here.',
  },
} as const
type Refusal = keyof typeof REFUSALS

class Refused extends Error {
  readonly refusal: Refusal
  readonly detail: string

  constructor(refusal: Refusal, detail = '') {
    super(refusal)
    this.refusal = refusal
    this.detail = detail
  }
}

export class TokenEndpoint {
  readonly #parts: TokenParts
  readonly #tokens: Tokens

  constructor(parts: TokenParts, tokens: Tokens) {
    this.#parts = parts
    this.#tokens = tokens
  }

  /** The discovery document of AD FS (`/adfs`) or of a tenant (`/{tenant}/v2.0`). */
  discovery(baseUrl: string, style: 'adfs' | 'entra'): Readonly<Record<string, unknown>> {
    const root = style === 'adfs' ? `${baseUrl}/adfs` : `${baseUrl}/${this.#parts.tenantId}`
    const version = style === 'adfs' ? '' : '/v2.0'
    return {
      issuer: `${root}${version}`,
      authorization_endpoint: `${root}/oauth2${version}/authorize`,
      token_endpoint: `${root}/oauth2${version}/token`,
      device_authorization_endpoint: `${root}/oauth2${version}/devicecode`,
      jwks_uri: style === 'adfs' ? `${root}/discovery/keys` : `${root}/discovery/v2.0/keys`,
      token_endpoint_auth_methods_supported: ['client_secret_post', 'private_key_jwt'],
      response_types_supported: ['code', 'id_token'],
      subject_types_supported: ['pairwise'],
      id_token_signing_alg_values_supported: ['RS256'],
    }
  }

  jwks(): Readonly<{ keys: readonly unknown[] }> {
    return { keys: [this.#parts.key.publicJwk] }
  }

  /** Never rejects. @param issuer the issuer of the path that was asked */
  async token(form: URLSearchParams, baseUrl: string, issuer: string, endpoint: string): Promise<TokenReply> {
    try {
      const audience = this.#audienceOf(form, baseUrl)
      const principal = await this.#login(form, endpoint)
      const token = await this.#tokens.issue(principal, audience, issuer)
      const body = {
        token_type: 'Bearer',
        expires_in: TOKEN_SECONDS,
        ext_expires_in: TOKEN_SECONDS,
        access_token: token,
      }
      return { status: 200, body }
    } catch (error) {
      if (error instanceof Refused) return this.#refuse(error)
      throw error
    }
  }

  #audienceOf(form: URLSearchParams, baseUrl: string): string {
    if (form.get('grant_type') !== 'client_credentials') throw new Refused('grantUnsupported')
    const audience = form.get('resource') ?? (form.get('scope') ?? '').split(' ')[0]?.replace(/\/\.default$/, '') ?? ''
    if (!this.#tokens.isAudience(audience, baseUrl))
      throw new Refused('scopeInvalid', ` Scope: ${audience.slice(0, 100)}.`)
    return audience
  }

  async #login(form: URLSearchParams, endpoint: string): Promise<Principal> {
    const { catalog, clock } = this.#parts
    const clientId = form.get('client_id') ?? ''
    const secret = form.get('client_secret')
    const assertion = form.get('client_assertion')
    if (clientId === '' || (secret === null && assertion === null)) throw new Refused('requestInvalid')
    const principal = await findPrincipal(catalog, clientId)
    if (principal === undefined || principal.clientId !== clientId.toLowerCase())
      throw new Refused('clientUnknown', ` Client: ${clientId.slice(0, 64)}.`)
    if (secret !== null) {
      const verdict = await checkSecret(catalog, principal.id, secret, clock.nowMs())
      if (verdict !== 'right') throw new Refused(verdict === 'expired' ? 'secretExpired' : 'secretWrong')
      return principal
    }
    if (form.get('client_assertion_type') !== ASSERTION_TYPE) throw new Refused('requestInvalid')
    if (!(await isSignedBy(catalog, principal, assertion ?? '', endpoint, clock.nowMs())))
      throw new Refused('assertionInvalid')
    return principal
  }

  #refuse({ refusal, detail }: Refused): TokenReply {
    const { clock, random } = this.#parts
    const { code, error, status, text } = REFUSALS[refusal]
    const trace = randomUuid(random)
    const body = {
      error,
      error_description: `AADSTS${code}: ${text}${detail} Trace ID: ${trace}`,
      error_codes: [code],
      timestamp: isoTime(clock.nowMs()),
      trace_id: trace,
      correlation_id: trace,
    }
    return { status, body }
  }
}

/** RFC 7523, section 3: issued by and about the client, for this endpoint, not expired, signed with a certificate's key. */
async function isSignedBy(
  catalog: Catalog,
  principal: Principal,
  assertion: string,
  endpoint: string,
  nowMs: number,
): Promise<boolean> {
  for (const { kind, verifier, expiresMs } of await listCredentials(catalog, principal.id)) {
    if (kind !== 'certificate' || (expiresMs !== undefined && expiresMs <= nowMs)) continue
    try {
      const key = await importSPKI(verifier, 'RS256')
      await jwtVerify(assertion, key, {
        algorithms: ['RS256', 'PS256'],
        audience: endpoint,
        issuer: principal.clientId,
        subject: principal.clientId,
        currentDate: new globalThis.Date(nowMs),
        clockTolerance: 300,
      })
      return true
    } catch {
      // Signed by another of the client's certificates, or by none: the next one is tried, and none left means refused.
    }
  }
  return false
}
