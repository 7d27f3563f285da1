/**
 * Fetches an image from a URL of an allow-listed host into a new file. The name is resolved here, every address that it has is
 * judged (reachable-address.ts), and the connection is made to the address that was judged: an answer that changes between
 * looking and connecting gains nothing. A redirect is judged like the first URL. The file is bounded by the pool's room.
 */
import { lookup as resolveName } from 'node:dns/promises'
import { open, readFile } from 'node:fs/promises'
import { get as getHttp, type IncomingMessage } from 'node:http'
import { get as getHttps } from 'node:https'
import { isIP } from 'node:net'
import { DISK_BYTES_MAX, errnoOf, isHoldfastError, messageOf, MIB, type ProgressSink } from '#base'
import { JobsError } from '../errors.ts'
import { checkRoom, type PoolPlace } from './pool-room.ts'
import { mayReach } from './reachable-address.ts'

const REDIRECTS_MAX = 5
const SILENCE_MS_MAX = 60_000
const LOOK_BYTES = 64 * MIB

export type DownloadHow = Readonly<{
  pool: PoolPlace
  signal: AbortSignal
  progress: ProgressSink
  /** Judges addresses; for tests, whose servers are on this host. */
  reach?: (address: string) => boolean
}>
export type DownloadFrom = Readonly<{ urlFile: string; hosts: readonly string[] }>

function refused(message: string, facts = {}): JobsError {
  return new JobsError('import_refused', message, {
    facts,
    hint: 'The administrator allows hosts by name; addresses of this host and link-local ones are never allowed.',
  })
}

/** The URL without its query, which may hold a signature. */
function shown(url: URL): string {
  return `${url.origin}${url.pathname}`
}

/** @throws JobsError `import_refused` */
export function checkUrl(text: string, hosts: readonly string[]): URL {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) throw refused('A disk is imported from an http or https URL.')
  if (url.username !== '' || url.password !== '') throw refused('The URL holds a name or password.')
  const known = hosts.some((host) => host.toLowerCase() === url.hostname || host.toLowerCase() === url.host)
  if (known) return url
  throw refused(`The host ${url.host} is not on the list of hosts to import from.`, { host: url.host })
}

async function addressOf(url: URL, reach: (address: string) => boolean): Promise<string> {
  const name = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const found =
    isIP(name) > 0
      ? [name]
      : (
          await resolveName(name, { all: true }).catch((cause: unknown) => {
            throw new JobsError('import_refused', `The name ${name} is not known: ${messageOf(cause)}.`, { cause })
          })
        ).map(({ address }) => address)
  const bad = found.find((address) => !reach(address))
  const [first] = found
  if (bad !== undefined || first === undefined)
    throw refused(`The host ${name} has an address that is never imported from.`, { host: name, address: bad })
  return first
}

function request(url: URL, address: string, signal: AbortSignal): Promise<IncomingMessage> {
  const family = isIP(address)
  // Asked once for one address and once for all: both get the one that was judged.
  const lookup = (
    _name: string,
    options: Readonly<{ all?: boolean }>,
    done: (error: null, address: string | { address: string; family: number }[], family?: number) => void,
  ): void => {
    if (options.all === true) done(null, [{ address, family }])
    else done(null, address, family)
  }
  return new Promise((resolve, reject) => {
    const begin = url.protocol === 'https:' ? getHttps : getHttp
    const asked = begin(url, { lookup: lookup as never, signal, timeout: SILENCE_MS_MAX, agent: false }, resolve)
    asked.on('timeout', () => asked.destroy(new Error('The server is silent.')))
    asked.on('error', reject)
  })
}

async function answerOf(
  from: DownloadFrom,
  how: DownloadHow,
): Promise<Readonly<{ url: URL; answer: IncomingMessage }>> {
  let text = (await readFile(from.urlFile, 'utf8')).trim()
  for (let hop = 0; hop <= REDIRECTS_MAX; hop += 1) {
    const url = checkUrl(text, from.hosts)
    const address = await addressOf(url, how.reach ?? mayReach)
    const answer = await request(url, address, how.signal).catch((cause: unknown) => {
      throw new JobsError('disk_not_there', `${shown(url)} cannot be read: ${messageOf(cause)}.`, {
        retry: 'later',
        cause,
      })
    })
    const { statusCode = 0, headers } = answer
    if (statusCode === 200) return { url, answer }
    answer.destroy()
    if (statusCode < 300 || statusCode > 399 || headers.location === undefined)
      throw new JobsError('disk_not_there', `${shown(url)} answers with status ${statusCode}.`, {
        facts: { statusCode },
      })
    text = new URL(headers.location, url).href
  }
  throw refused(`The URL leads on more than ${REDIRECTS_MAX} times.`)
}

/** The path of the URL that was read in the end. @throws JobsError `import_refused`, `disk_not_there`, `pool_full` */
export async function download(from: DownloadFrom, target: string, how: DownloadHow): Promise<string> {
  const { url, answer } = await answerOf(from, how)
  const totalBytes = Number(answer.headers['content-length'] ?? 0)
  await checkRoom(how.pool, Number.isSafeInteger(totalBytes) ? totalBytes : 0)
  const doneBytes = await receive(answer, target, totalBytes, how).catch((error: unknown) => {
    if (isHoldfastError(error)) throw error
    if (errnoOf(error) === 'ENOSPC')
      throw new JobsError('pool_full', 'The pool is full.', { retry: 'later', cause: error })
    throw endedEarly(url, error)
  })
  if (totalBytes > 0 && doneBytes !== totalBytes) throw endedEarly(url)
  return url.pathname
}

function endedEarly(url: URL, cause?: unknown): JobsError {
  return new JobsError('disk_not_there', `${shown(url)} ended early.`, { retry: 'later', cause })
}

async function receive(answer: IncomingMessage, target: string, totalBytes: number, how: DownloadHow): Promise<number> {
  const file = await open(target, 'wx', 0o600)
  try {
    let doneBytes = 0
    let lookAt = LOOK_BYTES
    for await (const part of answer as AsyncIterable<Uint8Array>) {
      await file.writeFile(part)
      doneBytes += part.length
      how.progress({ task: 'Fetching the image', doneBytes, totalBytes })
      if (doneBytes > DISK_BYTES_MAX) throw refused('The image is larger than any disk.')
      if (doneBytes < lookAt) continue
      lookAt += LOOK_BYTES
      await checkRoom(how.pool, 0)
    }
    return doneBytes
  } finally {
    await file.close()
  }
}
