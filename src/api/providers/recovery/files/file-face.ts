/**
 * What the listener serves of files of recovery points, as a stream and outside Resource Manager:
 *
 *   GET /recovery-files/{session}/{list|get|tar|zip}?path=    Basic: the session and its password
 *   GET /recovery-files/signed?...                            a signed URL (signed-files.ts)
 *
 * Ranges of single files are heeded, so that a download goes on where it broke. Refusals are JSON: {error: {code, message}}.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { isHoldfastError, messageOf } from '#base'
import { ArmError } from '#contract'
import type { VaultPoint } from '#catalog'
import type { PackFormat } from '#jobs'
import type { Logger } from '#runtime'
import type { ArmHost } from '../../../arm/call.ts'
import { armErrorOf } from '../../../arm/error-reply.ts'
import { BlobRefusal, rangeOf } from '../../../blob/blob-http.ts'
import { findSession, isPassword, streamsKey } from './file-sessions.ts'
import { filesOf } from './points-of-files.ts'
import { pointOf } from './file-routes.ts'
import { FILES_PREFIX, readSignedFile, SIGNED_SEGMENT } from './signed-files.ts'

type Asked = Readonly<{
  request: IncomingMessage
  response: ServerResponse
  query: URLSearchParams
  signal: AbortSignal
}>

const WHATS = ['list', 'get', 'tar', 'zip'] as const
type What = (typeof WHATS)[number]

function denied(): ArmError {
  return new ArmError('AuthenticationFailed', 'The session is over or was revoked, or the password is not its own.')
}

function credentialsOf(request: IncomingMessage): readonly [user: string, password: string] {
  const [, text = ''] = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(request.headers.authorization ?? '') ?? []
  const plain = Buffer.from(text, 'base64').toString('utf8')
  const at = plain.indexOf(':')
  return at < 0 ? ['', ''] : [plain.slice(0, at), plain.slice(at + 1)]
}

/** For a header: the last name of the path, without what a header cannot carry. */
function disposition(path: string, format: PackFormat | 'file'): string {
  const name = path.split('/').findLast((one) => one !== '') ?? 'files'
  const full = format === 'file' ? name : `${name}.${format}`
  return `attachment; filename*=UTF-8''${encodeURIComponent(full.toWellFormed())}`
}

export class FileFace {
  readonly #host: ArmHost
  readonly #logger: Logger

  constructor(host: ArmHost, logger: Logger) {
    this.#host = host
    this.#logger = logger
  }

  /** Whether the path is one of these; then it has been answered. Never rejects. */
  async take(request: IncomingMessage, response: ServerResponse, hijack: () => void): Promise<boolean> {
    const target = request.url ?? '/'
    if (!target.startsWith(`/${FILES_PREFIX}/`)) return false
    hijack()
    const gone = new AbortController()
    response.once('close', () => {
      if (!response.writableFinished) gone.abort()
    })
    const query = new URLSearchParams(target.split('?', 2)[1] ?? '')
    const asked: Asked = { request, response, query, signal: gone.signal }
    const [, , session = '', what = ''] = (target.split('?', 1)[0] ?? '').split('/')
    try {
      if (request.method !== 'GET') throw new ArmError('NotSupported', 'Files are only read.', { status: 405 })
      if (session === SIGNED_SEGMENT) await this.#signed(asked)
      else await this.#inSession(asked, session, what)
    } catch (error) {
      this.#refuse(asked, error)
    }
    return true
  }

  async #signed(asked: Asked): Promise<void> {
    const file = readSignedFile(this.#host, asked.query)
    if (file === undefined)
      throw new ArmError('AuthenticationFailed', 'The URL was not signed here, or its time is over.', { status: 403 })
    const { itemKey, point, path, format } = file
    await this.#send(
      asked,
      await pointOf({ host: this.#host }, itemKey, point),
      path,
      format === 'file' ? 'get' : format,
    )
  }

  async #inSession(asked: Asked, id: string, word: string): Promise<void> {
    const [user, password] = credentialsOf(asked.request)
    const session = await findSession(this.#host, id)
    if (session === undefined || user !== id || !isPassword(this.#host, id, password)) throw denied()
    const what = WHATS.find((one) => one === word)
    if (what === undefined) throw new ArmError('NotFound', `There is nothing called '${word}' here.`)
    const point = await pointOf({ host: this.#host }, session.itemKey, session.point)
    const path = asked.query.get('path') ?? '/'
    await this.#host.disks.streams.during(streamsKey(id), async (ended) => {
      // One that was revoked while we looked is not begun.
      if ((await findSession(this.#host, id)) === undefined) throw denied()
      await this.#send({ ...asked, signal: AbortSignal.any([asked.signal, ended]) }, point, path, what)
    })
  }

  async #send({ request, response, signal }: Asked, point: VaultPoint, path: string, what: What): Promise<void> {
    const { files } = this.#host
    const of = await filesOf(this.#host, point)
    if (what === 'list') {
      const body = JSON.stringify(await files.listFiles(of, path))
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
      return void response.end(body)
    }
    const common = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
    if (what !== 'get') {
      const stream = await files.packFiles(of, path, what, signal)
      const type = what === 'tar' ? 'application/x-tar' : 'application/zip'
      response.writeHead(200, { ...common, 'content-type': type, 'content-disposition': disposition(path, what) })
      return pipeline(stream, response, { signal })
    }
    const { entry } = await files.listFiles(of, path)
    if (entry.kind !== 'file') throw new ArmError('InvalidParameter', `'${path}' is a ${entry.kind}, not a file.`)
    const header = (name: string): string | undefined => {
      const value = request.headers[name]
      return typeof value === 'string' ? value : undefined
    }
    const { from, to, isPart } = rangeOf(header, entry.sizeBytes)
    const stream = await files.readFile(of, path, [from, to], signal)
    response.writeHead(isPart ? 206 : 200, {
      ...common,
      'content-type': 'application/octet-stream',
      'content-disposition': disposition(path, 'file'),
      'accept-ranges': 'bytes',
      'content-length': to - from,
      ...(isPart && { 'content-range': `bytes ${from}-${to - 1}/${entry.sizeBytes}` }),
    })
    await pipeline(stream, response, { signal })
  }

  #refuse({ request, response, signal }: Asked, error: unknown): void {
    if (signal.aborted || response.headersSent) return void response.destroy()
    const known = error instanceof BlobRefusal ? error : armErrorOf(error)
    if (known === undefined)
      this.#logger.warn({ error: messageOf(error), path: request.url?.split('?', 1)[0] }, 'a file could not be read')
    const { code, message, status } =
      known ??
      new ArmError(
        'InternalServerError',
        isHoldfastError(error) ? error.message : 'Holdfast failed; its log tells more.',
      )
    const body = JSON.stringify({ error: { code, message } })
    request.resume()
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(status === 401 && { 'www-authenticate': 'Basic realm="recovery point"' }),
    })
    response.end(body)
  }
}
