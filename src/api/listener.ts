/**
 * The HTTPS listener: what may be asked without a token (metadata, OAuth, health), and everything else by the dispatcher.
 * Bodies are bounded before they are read; a slow or silent client is let go.
 */
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { ArmError, checkApiVersion } from '#contract'
import type { Logger } from '#runtime'
import type { Dispatcher } from './arm/dispatch.ts'
import type { BlobFace } from './blob/blob-face.ts'
import type { FileFace } from './providers/recovery/files/file-face.ts'
import { errorReply } from './arm/error-reply.ts'
import { type GraphParts, graphRoutes } from './graph/routes.ts'
import type { TokenEndpoint } from './identity/token-endpoint.ts'
import { linkRoutes } from './links/link-routes.ts'
import type { LinkFace } from './links/link-face.ts'
import type { LinkedBytes } from './links/linked-bytes.ts'
import { cloudMetadata } from './metadata.ts'

export type ListenerParts = Readonly<{
  dispatcher: Dispatcher
  blobs: BlobFace
  files: FileFace
  tokens: TokenEndpoint
  links: Readonly<{ face: LinkFace; bytes: LinkedBytes }>
  graph: GraphParts
  logger: Logger
  tenantId: string
  /** The document that names platform images by single words. */
  aliases: () => Promise<unknown>
  /** PEM. */
  tls: Readonly<{ certificate: string; key: string }>
  /** What `/healthz` answers; not healthy is 503. */
  health: () => Promise<Readonly<{ healthy: boolean; facts: Readonly<Record<string, unknown>> }>>
  /** Prometheus text; undefined when there is none. */
  metrics?: () => Promise<string>
}>

/** ARM's own bound for a request is 4 MiB. */
const BODY_BYTES_MAX = 4 * 1024 * 1024
export const TLS_MIN = 'TLSv1.2'
const REQUEST_TIMEOUT_MS = 60_000
const CONNECTION_IDLE_MS = 75_000
const HOST = /^[A-Za-z0-9.-]{1,253}(:\d{1,5})?$|^\[[0-9a-f:.]{2,45}\](:\d{1,5})?$/i

function baseUrlOf(request: FastifyRequest): string {
  return baseUrlAt(request.headers.host)
}

function baseUrlAt(host: string | undefined): string {
  // A relative answer would be useless to the clients, and a forged Host must not get into a URL.
  return `https://${host !== undefined && HOST.test(host) ? host : 'localhost'}`
}

function headersOf(request: FastifyRequest): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(request.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]),
  )
}

async function dispatch(parts: ListenerParts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const gone = new AbortController()
  // Of the answer: a request is closed as soon as its body has been read.
  reply.raw.once('close', () => {
    if (!reply.raw.writableEnded) gone.abort()
  })
  const answer = await parts.dispatcher.answer({
    method: request.method,
    target: request.raw.url ?? '/',
    baseUrl: baseUrlOf(request),
    headers: headersOf(request),
    body: Buffer.isBuffer(request.body) ? request.body : new Uint8Array(),
    signal: gone.signal,
  })
  return reply.code(answer.status).headers(answer.headers).send(answer.body)
}

function openRoutes(app: FastifyInstance, parts: ListenerParts): void {
  const { tokens, tenantId } = parts
  app.get('/metadata/endpoints', (request, reply) => {
    const { 'api-version': version } = request.query as Record<string, string | undefined>
    const host = baseUrlOf(request).replace('https://', '')
    return reply.send(cloudMetadata(baseUrlOf(request), host, checkApiVersion(version)))
  })
  app.get('/aliases.json', async (_request, reply) => reply.send(await parts.aliases()))
  app.get('/adfs/.well-known/openid-configuration', (request, reply) =>
    reply.send(tokens.discovery(baseUrlOf(request), 'adfs')),
  )
  app.get('/:tenant/v2.0/.well-known/openid-configuration', (request, reply) =>
    reply.send(tokens.discovery(baseUrlOf(request), 'entra')),
  )
  for (const path of ['/adfs/discovery/keys', '/:tenant/discovery/v2.0/keys'])
    app.get(path, (_request, reply) => reply.send(tokens.jwks()))
  for (const path of ['/adfs/oauth2/token', '/:tenant/oauth2/token', '/:tenant/oauth2/v2.0/token'])
    app.post(path, async (request, reply) => {
      const base = baseUrlOf(request)
      const issuer = path.startsWith('/adfs') ? `${base}/adfs` : `${base}/${tenantId}/v2.0`
      const form = new URLSearchParams(Buffer.isBuffer(request.body) ? request.body.toString('utf8') : '')
      const endpoint = `${base}${(request.raw.url ?? '').split('?', 1)[0] ?? ''}`
      const answer = await tokens.token(form, base, issuer, endpoint)
      return reply.code(answer.status).header('cache-control', 'no-store').send(answer.body)
    })
}

function healthRoutes(app: FastifyInstance, { health, metrics }: ListenerParts): void {
  app.get('/healthz', async (_request, reply) => {
    const { healthy, facts } = await health()
    return reply.code(healthy ? 200 : 503).send({ healthy, ...facts })
  })
  if (metrics !== undefined)
    app.get('/metrics', async (_request, reply) => reply.type('text/plain; version=0.0.4').send(await metrics()))
}

/** Ready to listen. */
export function makeListener(parts: ListenerParts): FastifyInstance {
  const app = Fastify({
    https: { key: parts.tls.key, cert: parts.tls.certificate, minVersion: TLS_MIN },
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: CONNECTION_IDLE_MS,
    forceCloseConnections: 'idle',
    routerOptions: { caseSensitive: false, ignoreDuplicateSlashes: true, maxParamLength: 1000 },
    logger: false,
    frameworkErrors: (error, request, reply) =>
      void refuseEarly(parts, error, request, reply as unknown as FastifyReply),
    clientErrorHandler: refuseGarbage,
  }) as unknown as FastifyInstance
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  app.setErrorHandler((error: { code?: string } & Error, request, reply) => {
    const answer = answerTo(error, request.id)
    if (answer.status === 500) parts.logger.error({ error }, 'a request failed')
    return reply.code(answer.status).send(answer.body)
  })
  app.addHook('onRequest', async (request, reply) => {
    const hijack = (): void => void reply.hijack()
    const taken =
      (await parts.links.bytes.take(request.raw, reply.raw, hijack)) ||
      (await parts.files.take(request.raw, reply.raw, hijack)) ||
      (await parts.blobs.take(request.raw, reply.raw, hijack))
    return taken ? reply : undefined
  })
  openRoutes(app, parts)
  graphRoutes(app, parts.graph, baseUrlAt)
  healthRoutes(app, parts)
  linkRoutes(app, parts.links.face, parts.logger)
  app.setNotFoundHandler((request, reply) => dispatch(parts, request, reply))
  return app
}

/** What is refused before the hooks run; a path below the blobs is refused in their shape. */
async function refuseEarly(
  { blobs }: ListenerParts,
  error: Error,
  request: Pick<FastifyRequest, 'id' | 'raw'>,
  reply: FastifyReply,
): Promise<void> {
  if (await blobs.take(request.raw, reply.raw, () => void reply.hijack())) return
  const answer = answerTo(error, request.id)
  await reply.code(answer.status).send(answer.body)
}

/** What the framework refuses by itself says so by the class of its code; anything else is ours. */
function answerTo(error: Readonly<{ code?: string; statusCode?: number }> & Error, requestId: string) {
  const { code = '', statusCode = 500 } = error
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return refusal('RequestBodyTooLarge', `The request content is larger than ${BODY_BYTES_MAX} bytes.`)
  if (code.startsWith('FST_ERR_') && statusCode < 500) return refusal('InvalidRequestFormat', error.message)
  return errorReply(error, requestId)
}

function refusal(code: 'RequestBodyTooLarge' | 'InvalidRequestFormat', message: string) {
  const { status, body } = new ArmError(code, message)
  return { status, body }
}

/** What is no HTTP at all, or has headers beyond all bounds. */
function refuseGarbage(error: Readonly<{ code?: string }>, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const isTooLong = error.code === 'HPE_HEADER_OVERFLOW'
  const status = isTooLong ? '431 Request Header Fields Too Large' : '400 Bad Request'
  const message = isTooLong ? 'The headers of the request are too long.' : 'The request is not HTTP as it should be.'
  const body = JSON.stringify(refusal('InvalidRequestFormat', message).body)
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}`
  socket.end(`${head}\r\nconnection: close\r\n\r\n${body}`)
}
