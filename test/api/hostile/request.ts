/** What a hostile client sends, as data: so that a seed replays it, and a failure can be told. */
import type { SeededRandom } from '#base'

export type Shape =
  /** `{error: {code, message}}` */
  | 'arm'
  /** XML, with the code in a header. */
  | 'blob'
  /** RFC 6749, section 5.2. */
  | 'oauth'

export type HostileRequest = Readonly<{
  kind: string
  method: string
  /** As it goes over the wire: nothing in it is tidied up. */
  path: string
  headers?: Readonly<Record<string, string>>
  body?: string | Uint8Array
  /** The administrator's token when it is not given; null: none. */
  authorization?: string | null
  shape: Shape
}>

/** Ids and secrets of the world that is asked. */
export type Target = Readonly<{
  subscription: string
  group: string
  disk: string
  snapshot: string
  account: string
  lock: string
  deployment: string
  vault: string
  principal: string
  /** Of the administrator. */
  token: string
  clientId: string
  secret: string
  badTokens: readonly string[]
  /** Signed URL paths with their queries, which hold. */
  signedDisk: string
  signedUpload: string
  signedBlob: string
}>

export type Kind = (random: SeededRandom, target: Target) => HostileRequest

export const VERSION = 'api-version=2024-11-01'

/** Values that are right nowhere. */
export const JUNK: readonly unknown[] = [
  -1,
  0.5,
  1e308,
  true,
  false,
  '',
  ' ',
  '\u0000',
  '..',
  '../../etc/passwd',
  '\ud800',
  '\u202egpj.exe',
  '%00',
  "';drop table resource;--",
  "[parameters('x')]",
  '${7*7}',
  '/subscriptions',
  'x'.repeat(5000),
  [0],
  [['eastus']],
  [{ x: 1 }],
  { x: 1 },
  { __proto__: null, constructor: { prototype: 1 } },
]

/** The body with `value` at the path; undefined takes the field away. */
export function withValue(body: unknown, path: readonly string[], value: unknown): unknown {
  const [name, ...rest] = path
  if (name === undefined) return value
  const inside = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>
  return { ...inside, [name]: withValue(inside[name], rest, value) }
}

export function valueAt(body: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], body)
}
