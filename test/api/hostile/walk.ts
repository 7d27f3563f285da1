/** Sends hostile requests, many at once, and names every answer that is not a refusal in the right shape. */
import { Agent, request as httpsRequest } from 'node:https'
import { SeededRandom } from '#base'
import { badLogin, badSignedUrl, badToken, misusedSignedUrl } from './credentials.ts'
import {
  badTemplate,
  missingValue,
  noObject,
  tooDeep,
  tooMuch,
  unknownField,
  wrappedValue,
  wrongValue,
} from './bodies.ts'
import {
  badHeader,
  badQuery,
  foreignId,
  foreignPath,
  trickName,
  trickPath,
  trickSegment,
  wrongMethod,
} from './paths.ts'
import type { HostileRequest, Kind, Target } from './request.ts'

/** How often each is sent, of the sum. */
export const KINDS: readonly (readonly [Kind, number])[] = [
  [wrongValue, 20],
  [wrappedValue, 5],
  [missingValue, 5],
  [unknownField, 8],
  [noObject, 6],
  [badTemplate, 4],
  [tooDeep, 3],
  [tooMuch, 3],
  [trickSegment, 10],
  [trickName, 6],
  [trickPath, 4],
  [foreignPath, 6],
  [foreignId, 8],
  [badQuery, 4],
  [wrongMethod, 3],
  [badHeader, 3],
  [badToken, 10],
  [badSignedUrl, 8],
  [misusedSignedUrl, 3],
  [badLogin, 3],
]
const AT_ONCE = 16
const TOLD_MAX = 20

export type Heard = Readonly<{ status: number; headers: Readonly<Record<string, unknown>>; text: string }>
export type WalkReport = Readonly<{ sent: number; wrong: readonly string[]; kinds: ReadonlySet<string> }>

/** The request that this number is of this seed. */
export function hostileRequest(
  kinds: readonly (readonly [Kind, number])[],
  seed: number,
  number: number,
  target: Target,
): HostileRequest {
  const random = new SeededRandom(seed * 1_000_003 + number)
  let at = random.below(kinds.reduce((sum, [, weight]) => sum + weight, 0))
  for (const [kind, weight] of kinds) if ((at -= weight) < 0) return kind(random, target)
  throw new RangeError('The weights do not add up')
}

/** Why the answer is not a refusal in the right shape; undefined when it is one. */
export function whyWrong({ shape, method }: HostileRequest, { status, headers, text }: Heard): string | undefined {
  if (status < 400 || status > 499) return `the status is ${status}`
  if (method === 'HEAD') return text === '' ? undefined : 'a body after HEAD'
  if (shape === 'blob')
    return headers['x-ms-error-code'] !== undefined && /<Error><Code>\w+<\/Code><Message>[^<]+<\/Message>/.test(text)
      ? undefined
      : 'it is not in the shape of the blob service'
  let body: { error?: unknown; error_description?: unknown }
  try {
    body = JSON.parse(text) as typeof body
  } catch {
    return 'it is not JSON'
  }
  if (shape === 'oauth')
    return typeof body.error === 'string' && typeof body.error_description === 'string'
      ? undefined
      : 'not OAuth’s shape'
  const { code, message } = (body.error ?? {}) as { code?: unknown; message?: unknown }
  const isArm = typeof code === 'string' && /^\w+$/.test(code) && typeof message === 'string' && message !== ''
  return isArm ? undefined : 'it is not in the shape of Resource Manager'
}

export class Walker {
  readonly #endpoint: URL
  readonly #agent: Agent
  readonly #target: Target

  constructor(endpoint: string, ca: string, target: Target) {
    this.#endpoint = new URL(endpoint)
    this.#agent = new Agent({ ca, keepAlive: true, maxSockets: AT_ONCE })
    this.#target = target
  }

  /** @param kinds with their weights */
  async walk(
    kinds: readonly (readonly [Kind, number])[],
    seed: number,
    from: number,
    count: number,
  ): Promise<WalkReport> {
    const wrong: string[] = []
    const seen = new Set<string>()
    let next = from
    const send = async (): Promise<void> => {
      while (next < from + count && wrong.length < TOLD_MAX) {
        const number = next++
        const asked = hostileRequest(kinds, seed, number, this.#target)
        seen.add(asked.kind)
        const why = await this.send(asked).then(
          (heard) => withText(whyWrong(asked, heard), heard),
          (error: unknown) => `no answer: ${String(error)}`,
        )
        if (why !== undefined) wrong.push(`request ${number} of seed ${seed} (${asked.kind}): ${why}\n${told(asked)}`)
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, send))
    return { sent: next - from, wrong, kinds: seen }
  }

  /** Nothing of it is made better on the way, as a client's library would. */
  send({ method, path, headers, body, authorization }: HostileRequest): Promise<Heard> {
    const token = authorization === undefined ? `Bearer ${this.#target.token}` : authorization
    const all = {
      'content-type': 'application/json',
      ...(token !== null && { authorization: token }),
      'content-length': Buffer.byteLength(body ?? ''),
      ...headers,
    }
    const { hostname, port } = this.#endpoint
    return new Promise((resolve, reject) => {
      const sent = httpsRequest(
        { agent: this.#agent, hostname, servername: 'localhost', port, method, path, headers: all },
        (response) => {
          const parts: Buffer[] = []
          response.on('data', (part: Buffer) => parts.push(part))
          response.on('error', reject)
          response.on('end', () => {
            const text = Buffer.concat(parts).toString('utf8')
            resolve({ status: response.statusCode ?? 0, headers: response.headers, text })
          })
        },
      )
      sent.on('error', reject)
      sent.end(body)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

function withText(why: string | undefined, { status, text }: Heard): string | undefined {
  return why === undefined ? undefined : `${why}\n  ${status} ${text.slice(0, 300)}`
}

function told({ method, path, headers, body }: HostileRequest): string {
  const text =
    body === undefined ? '' : typeof body === 'string' ? body.slice(0, 400) : Buffer.from(body).toString('hex')
  return `  ${method} ${JSON.stringify(path.slice(0, 400))} ${JSON.stringify(headers ?? {}).slice(0, 200)}\n  ${JSON.stringify(text)}`
}
