/**
 * The API asked from inside, in a principal's name: the same way through the dispatcher as from outside (roles, checks, activity
 * log), without a token. What a deployment's caller may not do, the deployment may not either.
 */
import type { Method } from './call.ts'

export type InsideRequest = Readonly<{
  method: Method
  /** Encoded, with its query. */
  target: string
  baseUrl: string
  correlationId: string
  body?: unknown
  signal: AbortSignal
}>

export type InsideAnswer = Readonly<{
  status: number
  headers: Readonly<Record<string, string>>
  /** Parsed JSON. */
  body: unknown
}>

export interface Inside {
  /** What a role must allow for it; undefined when no route serves it. */
  actionOf(method: Method, path: string): string | undefined
  /** @param principal object id @throws ArmError `AuthorizationFailed` when there is no such principal any more */
  ask(principal: string, request: InsideRequest): Promise<InsideAnswer>
}

/** An id as the path of a URL. Half of a surrogate pair, which no URL can carry, becomes what no name may hold. */
export function pathOf(id: string): string {
  return id.toWellFormed().split('/').map(encodeURIComponent).join('/')
}
