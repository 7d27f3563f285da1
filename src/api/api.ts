/**
 * The Azure face, put together: routes of all providers, identity, listener.
 *
 * Promise: what `az` and the Azure SDKs ask is answered as Azure would, or refused by name. Stateless over the catalog: it
 * can be ended at any moment and begun again.
 */
import { Server as TlsServer } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import type { Logger } from '#runtime'
import { type ApiDesk, type DeploymentDesk, MACHINE_ORDERS, SealedOrders } from '#jobs'
import { ArmError } from '#contract'
import type { ArmHost, ArmRoute } from './arm/call.ts'
import { ApiForJobs } from './arm/api-for-jobs.ts'
import { Dispatcher } from './arm/dispatch.ts'
import type { Inside } from './arm/inside.ts'
import { resumeOperations } from './arm/operations.ts'
import { RouteTable } from './arm/route-table.ts'
import { BlobFace } from './blob/blob-face.ts'
import { openSigningKey } from './identity/signing-key.ts'
import { TokenEndpoint } from './identity/token-endpoint.ts'
import { Tokens } from './identity/tokens.ts'
import { type ListenerParts, makeListener, TLS_MIN } from './listener.ts'
import type { GraphParts } from './graph/routes.ts'
import { findCaller } from './identity/callers.ts'
import type { PeerAddress } from './links/ask-peer.ts'
import { Forwarding } from './links/forwarding.ts'
import { LinkFace } from './links/link-face.ts'
import { openLinkKey } from './links/link-key.ts'
import { LinkedBytes } from './links/linked-bytes.ts'
import { Links } from './links/links.ts'
import { lockRoutes } from './providers/authorization/locks.ts'
import { roleRoutes } from './providers/authorization/roles.ts'
import { adoptRoutes } from './providers/compute/adopt-disk.ts'
import { diskRoutes } from './providers/compute/disks.ts'
import { accessRoutes } from './providers/compute/grant-access.ts'
import { machineRoutes } from './providers/compute/machines/machines.ts'
import { collectionRoutes } from './providers/compute/restore-points/collections.ts'
import { diskRestorePointRoutes } from './providers/compute/restore-points/disk-restore-points.ts'
import { restorePointRoutes } from './providers/compute/restore-points/restore-points.ts'
import { aliasDocument } from './providers/compute/images/alias-document.ts'
import { platformImageRoutes } from './providers/compute/images/platform-images.ts'
import { imageRoutes } from './providers/compute/images/images.ts'
import { linkedSnapshotRoutes } from './providers/compute/linked-snapshots.ts'
import { snapshotRoutes } from './providers/compute/snapshots.ts'
import { ApiMetrics, type Figure } from './metrics.ts'
import { type Rate, RateLimit } from './rate-limit.ts'
import { activityLogRoutes } from './providers/insights/activity-log.ts'
import { FileFace } from './providers/recovery/files/file-face.ts'
import { networkRoutes } from './providers/network/network-routes.ts'
import { consistencyGroupRoutes } from './providers/protection/consistency-groups.ts'
import { usageRoutes } from './providers/protection/usage.ts'
import { alertRoutes } from './providers/recovery/alerts.ts'
import { recoveryRoutes } from './providers/recovery/recovery-routes.ts'
import { allRestoreRoutes } from './providers/recovery/restore/all-restore-routes.ts'
import { mirrorRoutes } from './providers/recovery/vault-mirror.ts'
import { deploymentRoutes } from './providers/resources/deployments/routes.ts'
import { sweepDeployments } from './providers/resources/deployments/sweep.ts'
import { DeploymentWork } from './providers/resources/deployments/work.ts'
import { sweepMachineOrders } from './providers/compute/machines/sweep-orders.ts'
import { resourceRoutes } from './providers/resources/generic.ts'
import { groupRoutes } from './providers/resources/groups.ts'
import { providerRoutes, providersOf } from './providers/resources/providers.ts'
import { subscriptionRoutes } from './providers/resources/subscriptions.ts'
import { tagRoutes } from './providers/resources/tags.ts'
import { storageRoutes } from './providers/storage/storage-accounts.ts'

export type ApiOptions = Readonly<{
  host: Omit<ArmHost, 'inside' | 'orders' | 'machineOrders' | 'links'>
  /** Where orders of deployments are sealed: the home's folder. */
  homeFolder: string
  /** Where the job of deployments finds the API. */
  deployments: DeploymentDesk
  /** Where other jobs do. */
  apiDesk: ApiDesk
  /** Resource types beside ours. */
  routes?: readonly ArmRoute[]
  logger: Logger
  /** File of the key that signs tokens; made when it is not there. */
  signingKeyPath: string
  /** File of the key that signs messages to linked servers; made when it is not there. */
  linkKeyPath: string
  /** Where linked servers find this one. @param url where it listens */
  linkAddress: (url: string) => Promise<PeerAddress>
  address: string
  /** 0: any free one. */
  port: number
  tls: ListenerParts['tls']
  health: ListenerParts['health']
  /** Figures beside those of requests; without it there is no `/metrics`. */
  figures?: () => Promise<readonly Figure[]>
  /** Of one client; without it there is no limit. */
  rate?: Rate
}>

export type Api = Readonly<{
  url: string
  links: Links
  /** New connections are made with this certificate; those that are open stay. */
  useCertificate: (tls: ListenerParts['tls']) => void
  close: () => Promise<void>
}>

/** Every route that is served. */
export function allRoutes(more: readonly ArmRoute[] = []): readonly ArmRoute[] {
  const routes = [
    ...subscriptionRoutes,
    ...groupRoutes,
    ...deploymentRoutes,
    ...resourceRoutes,
    ...tagRoutes,
    ...roleRoutes,
    ...lockRoutes,
    ...activityLogRoutes,
    ...diskRoutes,
    ...adoptRoutes,
    ...accessRoutes,
    ...storageRoutes,
    ...snapshotRoutes,
    ...machineRoutes,
    ...imageRoutes,
    ...platformImageRoutes,
    ...collectionRoutes,
    ...restorePointRoutes,
    ...diskRestorePointRoutes,
    ...linkedSnapshotRoutes,
    ...consistencyGroupRoutes,
    ...usageRoutes,
    ...networkRoutes,
    ...recoveryRoutes,
    ...allRestoreRoutes,
    ...alertRoutes,
    ...mirrorRoutes,
    ...more,
  ]
  return [...routes, ...providerRoutes(providersOf(routes))]
}

function insideOf(catalog: ArmHost['catalog'], routes: RouteTable, dispatcher: () => Dispatcher): Inside {
  return {
    actionOf: (method, path) => {
      try {
        return routes.match(method, path).route.action
      } catch (error) {
        // A path that is nobody's: the caller says so in its own words.
        if (error instanceof ArmError) return undefined
        throw error
      }
    },
    ask: async (principal, { method, target, baseUrl, correlationId, body, signal }) => {
      const caller = await findCaller(catalog, principal)
      if (caller === undefined)
        throw new ArmError('AuthorizationFailed', `The principal '${principal}' does not exist any more.`)
      const bytes = new TextEncoder().encode(body === undefined ? '' : JSON.stringify(body))
      const headers = { 'x-ms-correlation-request-id': correlationId }
      const answer = await dispatcher().answer({ method, target, baseUrl, headers, body: bytes, signal }, caller)
      const parsed: unknown = answer.body === undefined ? undefined : JSON.parse(answer.body)
      return { status: answer.status, headers: answer.headers, body: parsed }
    },
  }
}

/** Listens when it resolves. */
export async function openApi(options: ApiOptions): Promise<Api> {
  const { logger, signingKeyPath, address, port } = options
  const routes = new RouteTable(allRoutes(options.routes))
  const url = Promise.withResolvers<string>()
  const { catalog, clock, random, subscriptionId: subscription } = options.host
  const links = new Links({
    catalog,
    clock,
    random,
    logger,
    key: await openLinkKey(options.linkKeyPath),
    subscription,
    self: async () => options.linkAddress(await url.promise),
  })
  const forwarding = new Forwarding(links, (request, caller) => dispatcher.answer(request, caller))
  const host: ArmHost = {
    ...options.host,
    orders: new SealedOrders(options.homeFolder, options.host.random),
    machineOrders: new SealedOrders(options.homeFolder, options.host.random, MACHINE_ORDERS),
    inside: insideOf(options.host.catalog, routes, () => dispatcher),
    links: forwarding,
  }
  const key = await openSigningKey(signingKeyPath)
  const parts = { catalog: host.catalog, clock: host.clock, random: host.random, key, tenantId: host.tenantId }
  const tokens = new Tokens(parts)
  const authenticate: GraphParts['authenticate'] = (authorization, baseUrl) =>
    tokens.authenticate(authorization, baseUrl)
  const metrics = options.figures === undefined ? undefined : new ApiMetrics(options.figures)
  const dispatcher: Dispatcher = new Dispatcher({
    host,
    routes,
    authenticate,
    logger,
    forward: (request, caller, correlationId) => forwarding.forward(request, caller, correlationId),
    ...(options.rate !== undefined && { admit: new RateLimit(options.rate, host.clock).admit }),
    ...(metrics !== undefined && { observe: metrics.observe }),
  })
  await resumeOperations(host.catalog, host.jobs)
  await sweepDeployments(host)
  await sweepMachineOrders(host)
  options.deployments.provide(new DeploymentWork(host))
  options.apiDesk.provide(new ApiForJobs(host))
  const app: FastifyInstance = makeListener({
    dispatcher,
    blobs: new BlobFace(host, logger),
    files: new FileFace(host, logger),
    links: { face: new LinkFace(links, forwarding), bytes: new LinkedBytes(forwarding, logger) },
    tokens: new TokenEndpoint(parts, tokens),
    graph: { catalog: host.catalog, authenticate },
    logger,
    tenantId: host.tenantId,
    aliases: () => aliasDocument(host.catalog),
    tls: options.tls,
    health: options.health,
    ...(metrics !== undefined && { metrics: () => metrics.text() }),
  })
  url.resolve(await app.listen({ host: address, port }))
  const useCertificate: Api['useCertificate'] = ({ certificate, key }) => {
    if (app.server instanceof TlsServer) app.server.setSecureContext({ cert: certificate, key, minVersion: TLS_MIN })
  }
  return { url: await url.promise, links, useCertificate, close: () => app.close() }
}
