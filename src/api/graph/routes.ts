/** The directory behind `/graph/v1.0`, where the metadata sends clients for Microsoft Graph. Errors are in Graph's shape. */
import type { FastifyInstance } from 'fastify'
import type { Catalog } from '#catalog'
import type { Caller } from '../arm/call.ts'
import { errorReply } from '../arm/error-reply.ts'
import { parseJsonBody } from '../arm/json-body.ts'
import { askDirectory } from './directory.ts'

export type GraphParts = Readonly<{
  catalog: Catalog
  /** @throws ArmError `AuthenticationFailed` and its kind */
  authenticate: (authorization: string | undefined, baseUrl: string) => Promise<Caller>
}>

const PREFIX = '/graph/v1.0'

export function graphRoutes(
  app: FastifyInstance,
  parts: GraphParts,
  baseUrlOf: (host: string | undefined) => string,
): void {
  app.route<{ Querystring: Record<string, string | undefined> }>({
    method: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    url: `${PREFIX}/*`,
    handler: async (request, reply) => {
      try {
        const { host, authorization } = request.headers
        await parts.authenticate(authorization, baseUrlOf(host))
        const path = new URL(request.raw.url ?? '/', 'https://localhost').pathname.replace(/\/+/g, '/')
        const answer = await askDirectory(parts.catalog, {
          method: request.method,
          path: decodeURIComponent(path.slice(PREFIX.length)),
          filter: request.query['$filter'],
          body: parseJsonBody(Buffer.isBuffer(request.body) ? request.body.toString('utf8') : ''),
        })
        return await reply.code(answer.status).header('cache-control', 'no-store').send(answer.body)
      } catch (error) {
        if (error instanceof URIError)
          return reply.code(400).send({ error: { code: 'BadRequest', message: error.message } })
        const { status, body } = errorReply(error, request.id)
        return reply.code(status).send(body)
      }
    },
  })
}
