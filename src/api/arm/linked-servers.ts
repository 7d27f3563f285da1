/** What handlers know of linked servers: which there are, what they have, and how one is asked in a caller's name. */
import type { Link, LinkedRegion } from '#catalog'
import { ArmError, type ArmErrorCode } from '#contract'
import type { Caller } from './call.ts'
import type { InsideAnswer, InsideRequest } from './inside.ts'

export type LinkedServer = Pick<Link, 'subscription' | 'endpoint' | 'authority' | 'role' | 'granted' | 'regions'>

export interface LinkedServers {
  /** Where this server is, as it tells others. */
  endpoint(): Promise<string>
  /** Those that are linked, reachable or not. */
  list(): Promise<readonly LinkedServer[]>
  /** The server whose subscription it is; undefined when it is nobody's. */
  ownerOf(subscription: string): Promise<LinkedServer | undefined>
  /**
   * Asks the owner in the caller's name, who may there what both servers allow.
   * @throws ArmError `ServiceUnavailable` when it was not asked, `GatewayTimeout` when its answer was lost
   */
  ask(owner: LinkedServer, caller: Caller, request: LinkedRequest): Promise<InsideAnswer>
}

export type LinkedRequest = Omit<InsideRequest, 'method'> &
  Readonly<{ method: string; headers?: Readonly<Record<string, string>>; text?: string }>

/** "westus and norway" */
export function regionNames(regions: readonly LinkedRegion[]): string {
  return regions.map(({ name }) => name).join(' and ')
}

/** First segment of paths to bytes of linked servers. */
export const LINKED_BYTES = 'linked'

/** The way to a linked server's bytes through the server that the client talks to. */
export function linkedBytesUrl(baseUrl: string, subscription: string): string {
  return `${baseUrl}/${LINKED_BYTES}/${subscription}`
}

/** Why nothing can be made there: who serves that region, if anybody. @throws nothing; it is the error to throw */
export async function noRegionHere(
  { links }: Readonly<{ links: LinkedServers }>,
  location: string,
  code: ArmErrorCode = 'InvalidLocation',
): Promise<ArmError> {
  const owner = (await links.list()).find(({ regions }) => regions.some(({ name }) => name === location))
  const who =
    owner === undefined
      ? ''
      : ` It is one of the linked server at ${owner.endpoint}: use its subscription, '${owner.subscription}'.`
  return new ArmError(code, `The location '${location}' is not a region of this server.${who}`, { target: 'location' })
}
