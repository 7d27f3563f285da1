/** The Azure face of one home: identity, certificates and the listener, over the parts that `serve` runs. */
import { join } from 'node:path'
import type { Clock, Random } from '#base'
import { type Api, type ArmRoute, openApi } from '#api'
import type { Catalog } from '#catalog'
import type { DeploymentDesk, JobEngine } from '#jobs'
import { type Logger, replaceFile } from '#runtime'
import type { Home } from '../home.ts'
import { openTls } from './certificates.ts'
import { type Administrator, firstStart, type Identity } from './first-start.ts'

export type FaceOptions = Readonly<{ address: string; port: number }>

export type FaceParts = Readonly<{
  home: Home
  catalog: Catalog
  engine: JobEngine
  deployments: DeploymentDesk
  /** Resource types beside ours. */
  routes?: readonly ArmRoute[]
  clock: Clock
  random: Random
  logger: Logger
  health: () => Promise<Readonly<{ healthy: boolean; facts: Readonly<Record<string, unknown>> }>>
}>

/** What `run/face.json` says to commands of this home while the server runs. */
export type FaceRecord = Identity &
  Readonly<{ endpoint: string; caFile: string; clientId: string; clientSecretFile: string }>

export type Face = Readonly<{ record: FaceRecord; administrator: Administrator; close: () => Promise<void> }>

export async function openFace(options: FaceOptions, parts: FaceParts): Promise<Face> {
  const { home, catalog, engine, deployments, clock, random, logger, health } = parts
  const { identity, administrator } = await firstStart({ home, catalog, clock, random })
  const tls = await openTls(join(home.folder, 'tls'), [options.address], clock)
  const api: Api = await openApi({
    host: { ...identity, catalog, jobs: engine, clock, random, subscriptionName: 'Holdfast' },
    homeFolder: home.folder,
    deployments,
    ...(parts.routes !== undefined && { routes: parts.routes }),
    logger,
    signingKeyPath: join(home.folder, 'keys', 'token-signing.json'),
    ...options,
    tls,
    health,
  })
  const record: FaceRecord = {
    ...identity,
    endpoint: api.url,
    caFile: tls.caPath,
    clientId: administrator.clientId,
    clientSecretFile: administrator.secretPath,
  }
  await replaceFile(home.record('face'), [new TextEncoder().encode(JSON.stringify(record))])
  return { record, administrator, close: () => api.close() }
}
