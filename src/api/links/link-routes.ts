/** Where linked servers are listened to. A message's signature is checked before its body is read (link-face.ts). */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { HoldfastError, isHoldfastError, messageOf } from '#base'
import type { Logger } from '#runtime'
import { armErrorOf } from '../arm/error-reply.ts'
import { LINK_ERROR_CODES, messageInvalid } from './errors.ts'
import type { LinkFace } from './link-face.ts'
import { LINK_ACTS, type LinkAct } from './link-wire.ts'

const JOIN_BYTES_MAX = 256 * 1024
/** A request of 4 MiB as text inside JSON, whatever has to be escaped in it. */
const MESSAGE_BYTES_MAX = 32 * 1024 * 1024

async function readBody(request: FastifyRequest, max: number): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of request.raw as AsyncIterable<Buffer>) {
    size += part.length
    if (size > max) throw messageInvalid('it is too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function refusal(error: unknown, logger: Logger): Readonly<{ status: number; body: unknown }> {
  const isKnown = isHoldfastError(error, ...LINK_ERROR_CODES) || armErrorOf(error) !== undefined
  if (!isKnown || !(error instanceof HoldfastError)) {
    logger.error({ error }, 'a message of a linked server failed')
    return { status: 500, body: { error: { code: 'link_refused', message: 'It failed; see its log.' } } }
  }
  const { code, message, facts, hint } = error
  logger.warn({ code, says: messageOf(error) }, 'a message of a linked server was refused')
  const text = hint === undefined ? message : `${message} ${hint}`
  return { status: code === 'link_unknown' ? 401 : 403, body: { error: { code, message: text, facts } } }
}

async function answer(
  face: LinkFace,
  act: LinkAct,
  request: FastifyRequest,
  reply: FastifyReply,
  logger: Logger,
): Promise<FastifyReply> {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableEnded) gone.abort()
  })
  try {
    const value = await face.answer({
      act,
      authorization: request.headers.authorization,
      body: () => readBody(request, act === 'join' ? JOIN_BYTES_MAX : MESSAGE_BYTES_MAX),
      signal: gone.signal,
    })
    return reply.code(200).send(value)
  } catch (error) {
    const { status, body } = refusal(error, logger)
    // What was not read must not be taken for the next request.
    return reply.code(status).header('connection', 'close').send(body)
  }
}

/** In a scope of their own, where bodies are left unread. */
export function linkRoutes(app: FastifyInstance, face: LinkFace, logger: Logger): void {
  void app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null))
    for (const act of LINK_ACTS)
      scope.post(`/holdfast/links/${act}`, { bodyLimit: MESSAGE_BYTES_MAX }, (request, reply) =>
        answer(face, act, request, reply, logger),
      )
    done()
  })
}
