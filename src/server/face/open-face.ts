/** The Azure face of one home: identity, certificates and the listener, over the parts that `serve` runs. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock, Random } from '#base'
import { type Api, type ApiOptions, type ArmRoute, type Links, openApi, OpenStreams } from '#api'
import type { Catalog, VaultPoint } from '#catalog'
import { type ApiDesk, ByteClient, type DeploymentDesk, type JobEngine, placesOfPoint, regionRepository } from '#jobs'
import { createFileOnce, dial, type Logger, replaceFile } from '#runtime'
import type { Home } from '../home.ts'
import { HostBytes } from '../hosts/host-bytes.ts'
import type { Hosts } from '../hosts/hosts.ts'
import { repositoryHost } from '../jobs-of-serve.ts'
import { openTls, type TlsFiles } from './certificates.ts'
import { type OwnCertificate, readOwnCertificate } from './own-certificate.ts'
import { linkAddress } from './link-address.ts'
import { type Administrator, firstStart, type Identity } from './first-start.ts'

export type FaceOptions = Readonly<{
  address: string
  port: number
  /** Further names that clients use: they go into the certificate made here. */
  names?: readonly string[]
  /** Instead of one made here. */
  ownCertificate?: OwnCertificate
  /** API requests of one client; beyond it 429. */
  rate?: ApiOptions['rate']
}>

export type FaceParts = Readonly<{
  home: Home
  catalog: Catalog
  engine: JobEngine
  deployments: DeploymentDesk
  apiDesk: ApiDesk
  /** Those elsewhere; default: none. */
  hosts?: Pick<Hosts, 'bytes'>
  /** Resource types beside ours. */
  routes?: readonly ArmRoute[]
  clock: Clock
  random: Random
  logger: Logger
  health: ApiOptions['health']
  /** Figures beside those of requests; without it there is no `/metrics`. */
  figures?: ApiOptions['figures']
}>

/** What `run/face.json` says to commands of this home while the server runs. */
export type FaceRecord = Identity &
  Readonly<{ endpoint: string; caFile: string; clientId: string; clientSecretFile: string }>

export type Face = Readonly<{
  record: FaceRecord
  administrator: Administrator
  /** To the servers of other regions. */
  links: Links
  /** Takes over a certificate that was renewed, by us when it is near its end, or by whoever brought it. @throws ServerError */
  renewCertificate: () => Promise<void>
  close: () => Promise<void>
}>

const ACCESS_KEY_BYTES = 32

/** The key that signs URLs is made once, and kept: URLs survive a restart. */
async function openDiskHost({ home, catalog, clock, random, hosts }: FaceParts, bytes: ByteClient) {
  const keysFolder = join(home.folder, 'keys')
  const keyPath = join(keysFolder, 'access.key')
  await createFileOnce(keyPath, [random.bytes(ACCESS_KEY_BYTES)])
  const host = repositoryHost(home, clock, random)
  return {
    bytes: new HostBytes(bytes, hosts),
    accessKey: await readFile(keyPath),
    keysFolder,
    streams: new OpenStreams(),
    regionAccess: async (region: string) => (await regionRepository({ catalog, keysFolder, host }, region)).access,
    pointPlaces: (point: VaultPoint) => placesOfPoint({ catalog, keysFolder, host }, point),
  }
}

export async function openFace(options: FaceOptions, parts: FaceParts): Promise<Face> {
  const { home, catalog, engine, deployments, apiDesk, clock, random, logger, health, figures } = parts
  const { address, port, names = [], ownCertificate, rate } = options
  const { identity, administrator } = await firstStart({ home, catalog, clock, random })
  const readTls = (): Promise<TlsFiles> =>
    ownCertificate === undefined
      ? openTls(join(home.folder, 'tls'), [address, ...names], clock)
      : readOwnCertificate(ownCertificate, clock.nowMs())
  let tls = await readTls()
  const renewCertificate = async (): Promise<void> => {
    const { certificate } = tls
    tls = await readTls()
    if (tls.certificate !== certificate) api.useCertificate(tls)
  }
  const bytes = new ByteClient(() => dial(home.socket('bytes')))
  const api: Api = await openApi({
    host: {
      ...identity,
      catalog,
      jobs: engine,
      clock,
      random,
      subscriptionName: 'Holdfast',
      disks: await openDiskHost(parts, bytes),
      machines: bytes,
      files: bytes,
      authority: () => readFile(tls.caPath, 'utf8'),
    },
    homeFolder: home.folder,
    deployments,
    apiDesk,
    ...(parts.routes !== undefined && { routes: parts.routes }),
    logger,
    signingKeyPath: join(home.folder, 'keys', 'token-signing.json'),
    linkKeyPath: join(home.folder, 'keys', 'link-signing.json'),
    linkAddress: (url) => linkAddress({ catalog, address, names, caPath: tls.caPath }, url),
    address,
    port,
    tls,
    health,
    ...(figures !== undefined && { figures }),
    ...(rate !== undefined && { rate }),
  })
  const record: FaceRecord = {
    ...identity,
    endpoint: api.url,
    caFile: tls.caPath,
    clientId: administrator.clientId,
    clientSecretFile: administrator.secretPath,
  }
  await replaceFile(home.record('face'), [new TextEncoder().encode(JSON.stringify(record))])
  return { record, administrator, links: api.links, renewCertificate, close: () => api.close() }
}
