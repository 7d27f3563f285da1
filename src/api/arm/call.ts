/** What a handler of the Azure face is given, and what it answers. */
import type { Catalog, Principal, VaultPoint } from '#catalog'
import type { Grant } from '#domain'
import type { Clock, Random } from '#base'
import type {
  ByteService,
  FileService,
  JobEngine,
  MachineService,
  PointPlace,
  RepositoryAccess,
  SealedOrders,
} from '#jobs'
import type { OpenStreams } from '../blob/open-streams.ts'
import type { Inside } from './inside.ts'
import type { LinkedServers } from './linked-servers.ts'

export type Method = 'GET' | 'HEAD' | 'PUT' | 'PATCH' | 'POST' | 'DELETE'

export type Caller = Readonly<{
  principal: Principal
  grants: readonly Grant[]
  /** Of one who logged in to a linked server: that server's subscription, and what the link allows here at most. */
  link?: Readonly<{ subscription: string; within: readonly Grant[] }>
}>

/** What handlers work with. Never the engine itself: bytes and hypervisors are the jobs' business. */
export type ArmHost = Readonly<{
  catalog: Catalog
  jobs: JobEngine
  clock: Clock
  random: Random
  tenantId: string
  subscriptionId: string
  subscriptionName: string
  disks: DiskHost
  /** The API asked from inside, in a caller's name. */
  inside: Inside
  /** The servers of other regions. */
  links: LinkedServers
  orders: SealedOrders
  /** What first boots and run commands are to find. */
  machineOrders: SealedOrders
  /** Machines as their host sees them, asked of the worker. */
  machines: MachineService
  /** Files of recovery points, asked of the worker. */
  files: FileService
  /** PEM of who signs the server's certificate: what clients are told to trust. */
  authority: () => Promise<string>
}>

/** What signed URLs and storage accounts need. */
export type DiskHost = Readonly<{
  /** Reads and writes the bytes, by the worker. */
  bytes: ByteService
  /** Signs URLs; kept over restarts. */
  accessKey: Uint8Array
  /** `keys` of the home. */
  keysFolder: string
  streams: OpenStreams
  /** How the repository of a region is opened. @throws JobsError */
  regionAccess: (region: string) => Promise<RepositoryAccess>
  /** Where a recovery point of a vault can be read. @throws JobsError */
  pointPlaces: (point: VaultPoint) => Promise<readonly PointPlace[]>
}>

export interface ArmCall {
  readonly host: ArmHost
  readonly method: Method
  /** `https://host:port`, as the client wrote it. */
  readonly baseUrl: string
  /** Where signed URLs to bytes begin: as `baseUrl`, or the way from there to this server. */
  readonly bytesUrl: string
  /** Where storage accounts of this server are found. */
  readonly accountsUrl: string
  /** The whole URL, absolute. */
  readonly url: string
  /** Path parameters by the names in the route's pattern, decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly apiVersion: string
  readonly caller: Caller
  /** The id that the path names, in the standard spelling of its route. */
  readonly id: string
  readonly correlationId: string
  /** Parsed JSON; undefined when there was no body; the text itself for routes with `body: 'text'`. */
  readonly body: unknown
  readonly signal: AbortSignal
  /** A query parameter; names are compared without case. */
  query(name: string): string | undefined
  header(name: string): string | undefined
  param(name: string): string
  /** Whether the caller may do `action` to `id`. */
  may(action: string, id: string): boolean
  /** For an id inside a body. @throws ArmError `LinkedAuthorizationFailed` */
  authorize(action: string, id: string): void
}

export type ArmReply = Readonly<{
  status: number
  body?: unknown
  headers?: Readonly<Record<string, string>>
  /** Id of the long-running operation that this began: kept in the audit log. */
  operation?: string
}>

export type ArmRoute = Readonly<{
  method: Method
  /** Segments in the standard spelling; `{name}` is a parameter; a leading `/{scope}` takes any resource id. */
  path: string
  /** What a role must allow, at the id that the path names. */
  action: string
  /**
   * `filter`: everyone may ask, and is shown what may be read. `entered`: who may see anything inside may see it.
   * `signed-in`: whoever has a token. Default: the role decides.
   */
  access?: 'filter' | 'entered' | 'signed-in'
  /** `text`: handed over unparsed. */
  body?: 'json' | 'text'
  handle: (call: ArmCall) => Promise<ArmReply> | ArmReply
}>

export function ok(body: unknown, headers: Readonly<Record<string, string>> = {}): ArmReply {
  return { status: 200, body, headers }
}

export const noContent: ArmReply = { status: 204 }

/** The id of the resource: of a POST, without the action that its path ends in. */
export function targetOf(call: Pick<ArmCall, 'id' | 'method'>): string {
  return call.method === 'POST' ? call.id.replace(/\/[^/]+$/, '') : call.id
}
