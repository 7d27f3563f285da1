/**
 * What linked servers say to each other, checked by shape before it is used, and the invitation that an administrator carries
 * from one to the other.
 *
 *   POST /holdfast/links/join     {secret, hello}                → hello     with an invitation, once
 *   POST /holdfast/links/hello    hello                          → hello     how both are; every half minute
 *   POST /holdfast/links/pair     {region, pair}                 → {}        a pair over the link
 *   POST /holdfast/links/leave    {}                             → {}        the link is over
 *   POST /holdfast/links/forward  {method, target, baseUrl, headers, body, caller}  → {status, headers, body}
 *
 * Each carries a signature of its sender (signed-message.ts). An invitation is `hfl1.` and base64url of JSON: where the server
 * is, by what authority and key it is known, and a secret of 256 random bits.
 */
import { isHoldfastError } from '#base'
import type { LinkedRegion } from '#catalog'
import { findRole, type Grant } from '#domain'
import { LinkError, messageInvalid } from './errors.ts'

export const LINK_PROTOCOL = 1
export const LINK_ACTS = ['join', 'hello', 'pair', 'leave', 'forward'] as const
export type LinkAct = (typeof LINK_ACTS)[number]

export type LinkHello = Readonly<{
  protocol: number
  version: string
  subscription: string
  endpoint: string
  authority: string
  publicKey: string
  /** GUID of the role that the receiver's principals have at the sender at most. */
  grants: string
  regions: readonly LinkedRegion[]
}>

export type LinkInvite = Readonly<{
  endpoint: string
  authority: string
  subscription: string
  publicKey: string
  secret: string
  expiresMs: number
}>

export type ForwardedCaller = Readonly<{
  id: string
  clientId: string
  name: string
  grants: readonly Grant[]
}>
export type ForwardedRequest = Readonly<{
  method: string
  target: string
  baseUrl: string
  headers: Readonly<Record<string, string>>
  body: string
  caller: ForwardedCaller
}>
export type ForwardedAnswer = Readonly<{
  status: number
  headers: Readonly<Record<string, string>>
  body: string | undefined
}>

const PREFIX = 'hfl1.'
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const REGION = /^[a-z][a-z0-9]{0,59}$/
const REGIONS_MAX = 200
const GRANTS_MAX = 1000
const TEXT_MAX = 16_384
const TARGET_MAX = 16_384
const BODY_MAX = 4 * 1024 * 1024

type Fields = Readonly<Record<string, unknown>>

export function fieldsOf(value: unknown): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
  throw messageInvalid('it is no object')
}

export function textIn(fields: Fields, name: string, max = TEXT_MAX): string {
  const value = fields[name]
  if (typeof value === 'string' && value !== '' && value.length <= max) return value
  throw messageInvalid(`it has no ${name}`)
}

function uuidIn(fields: Fields, name: string): string {
  const text = textIn(fields, name).toLowerCase()
  if (UUID.test(text)) return text
  throw messageInvalid(`its ${name} is no UUID`)
}

/** The origin of an https URL that is nothing but an origin. @throws LinkError `link_message_invalid` */
export function readEndpoint(text: string): string {
  const url = URL.parse(text)
  const isOrigin = url?.pathname === '/' && url.search === '' && url.hash === '' && url.username === ''
  if (url?.protocol === 'https:' && isOrigin) return url.origin
  throw messageInvalid('its endpoint is not like https://host:8443')
}

function listIn(fields: Fields, name: string, max: number): readonly unknown[] {
  const value = fields[name]
  if (Array.isArray(value) && value.length <= max) return value
  throw messageInvalid(`it has no ${name}`)
}

function readRegion(value: unknown): LinkedRegion {
  const fields = fieldsOf(value)
  const [name, pair] = [textIn(fields, 'name'), fields['pair'] ?? undefined]
  if (!REGION.test(name) || (pair !== undefined && (typeof pair !== 'string' || !REGION.test(pair))))
    throw messageInvalid('it names an impossible region')
  // eslint-disable-next-line no-control-regex -- control characters are what this is about
  const words = (field: string): string => textIn(fields, field, 80).replaceAll(/[\u0000-\u001f<>]/g, ' ')
  return { name, pair, displayName: words('displayName'), geography: words('geography') }
}

function readRole(fields: Fields, name: string): string {
  const role = uuidIn(fields, name)
  if (findRole(role) !== undefined) return role
  throw messageInvalid(`its ${name} is no role that is known here`)
}

/** @throws LinkError `link_message_invalid` */
export function readHello(value: unknown): LinkHello {
  const fields = fieldsOf(value)
  if (fields['protocol'] !== LINK_PROTOCOL)
    throw messageInvalid(`it speaks protocol ${String(fields['protocol'])}, this program ${LINK_PROTOCOL}`)
  return {
    protocol: LINK_PROTOCOL,
    version: textIn(fields, 'version', 100),
    subscription: uuidIn(fields, 'subscription'),
    endpoint: readEndpoint(textIn(fields, 'endpoint', 300)),
    authority: textIn(fields, 'authority'),
    publicKey: textIn(fields, 'publicKey', 1000),
    grants: readRole(fields, 'grants'),
    regions: listIn(fields, 'regions', REGIONS_MAX).map(readRegion),
  }
}

export function writeInvite(invite: LinkInvite): string {
  return `${PREFIX}${Buffer.from(JSON.stringify(invite)).toString('base64url')}`
}

/** @throws LinkError `link_invitation_invalid` */
export function readInvite(text: string): LinkInvite {
  const given = text.trim()
  try {
    if (!given.startsWith(PREFIX)) throw messageInvalid('it is no invitation')
    const fields = fieldsOf(JSON.parse(Buffer.from(given.slice(PREFIX.length), 'base64url').toString('utf8')))
    return {
      endpoint: readEndpoint(textIn(fields, 'endpoint', 300)),
      authority: textIn(fields, 'authority'),
      subscription: uuidIn(fields, 'subscription'),
      publicKey: textIn(fields, 'publicKey', 1000),
      secret: textIn(fields, 'secret', 200),
      expiresMs: Number(fields['expiresMs']),
    }
  } catch (cause) {
    if (!isHoldfastError(cause) && !(cause instanceof SyntaxError)) throw cause
    throw new LinkError('link_invitation_invalid', 'This is no invitation to link servers, or it is not whole.', {
      hint: 'Make one on the other server: holdfast region invite.',
      cause,
    })
  }
}

function readCaller(value: unknown): ForwardedCaller {
  const fields = fieldsOf(value)
  const grants = listIn(fields, 'grants', GRANTS_MAX).map((one) => {
    const grant = fieldsOf(one)
    const { scope } = grant
    if (typeof scope !== 'string' || scope.length > TEXT_MAX) throw messageInvalid('a role has no scope')
    return { scope, roleId: textIn(grant, 'roleId', 100) }
  })
  return {
    id: uuidIn(fields, 'id'),
    clientId: uuidIn(fields, 'clientId'),
    name: textIn(fields, 'name', 300),
    grants,
  }
}

function readHeaders(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fieldsOf(value)).map(([name, text]) => {
      if (typeof text === 'string' && text.length <= TEXT_MAX) return [name.toLowerCase(), text]
      throw messageInvalid('a header is no text')
    }),
  )
}

/** @throws LinkError `link_message_invalid` */
export function readForwarded(value: unknown): ForwardedRequest {
  const fields = fieldsOf(value)
  const { body } = fields
  if (typeof body !== 'string' || body.length > BODY_MAX) throw messageInvalid('it has no body')
  return {
    method: textIn(fields, 'method', 20),
    target: textIn(fields, 'target', TARGET_MAX),
    baseUrl: readEndpoint(textIn(fields, 'baseUrl', 300)),
    headers: readHeaders(fields['headers']),
    body,
    caller: readCaller(fields['caller']),
  }
}

/** @throws LinkError `link_message_invalid` */
export function readAnswer(value: unknown): ForwardedAnswer {
  const fields = fieldsOf(value)
  const { status, body } = fields
  if (typeof status !== 'number' || status < 200 || status > 599) throw messageInvalid('it has no status')
  if (body !== undefined && typeof body !== 'string') throw messageInvalid('its body is no text')
  return { status, headers: readHeaders(fields['headers']), body }
}
