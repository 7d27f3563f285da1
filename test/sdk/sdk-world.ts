/**
 * A served home and the newest JavaScript SDKs of Azure, pointed at it as a user would: endpoint, audience, a client secret,
 * nothing replaced inside them. The server's authority is added to those that this process trusts; a user does that with
 * NODE_EXTRA_CA_CERTS, which a process reads once at its start (readme.test.ts does so).
 */
import { readFile } from 'node:fs/promises'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { AuthorizationManagementClient } from '@azure/arm-authorization'
import { ComputeManagementClient } from '@azure/arm-compute'
import { ResourceManagementClient } from '@azure/arm-resources'
import { DeploymentsClient } from '@azure/arm-resourcesdeployments'
import { RecoveryServicesClient } from '@azure/arm-recoveryservices'
import { RecoveryServicesBackupClient } from '@azure/arm-recoveryservicesbackup'
import { ClientSecretCredential, type TokenCredential } from '@azure/identity'
import { isHoldfastError } from '#base'
import { type FaceRecord, openControl, openHome } from '#server'
import { ServedHome } from '../server/served-home.ts'

export type NewPrincipal = Readonly<{ id: string; clientId: string; name: string; secret: string }>

/** Every client of one principal. */
export class Clients {
  readonly credential: TokenCredential
  readonly resources: ResourceManagementClient
  readonly compute: ComputeManagementClient
  readonly deployments: DeploymentsClient
  readonly authorization: AuthorizationManagementClient
  readonly recovery: RecoveryServicesClient
  readonly backup: RecoveryServicesBackupClient

  constructor({ endpoint, subscriptionId }: FaceRecord, clientId: string, secret: string) {
    const how = { authorityHost: endpoint, disableInstanceDiscovery: true }
    this.credential = new ClientSecretCredential('adfs', clientId, secret, how)
    const scope = `${endpoint}/.default`
    // Generations differ in what they call it.
    const options = { endpoint, credentials: { scopes: [scope] }, credentialScopes: [scope] }
    this.resources = new ResourceManagementClient(this.credential, subscriptionId, options)
    this.compute = new ComputeManagementClient(this.credential, subscriptionId, options)
    this.deployments = new DeploymentsClient(this.credential, subscriptionId, options)
    this.authorization = new AuthorizationManagementClient(this.credential, subscriptionId, options)
    this.recovery = new RecoveryServicesClient(this.credential, subscriptionId, options)
    this.backup = new RecoveryServicesBackupClient(this.credential, subscriptionId, options)
  }
}

export class SdkWorld {
  readonly served: ServedHome
  readonly record: FaceRecord
  readonly ca: string
  readonly clients: Clients
  #types: ReadonlySet<string> | undefined

  private constructor(served: ServedHome, opened: Readonly<{ record: FaceRecord; ca: string; secret: string }>) {
    this.served = served
    this.record = opened.record
    this.ca = opened.ca
    this.clients = new Clients(opened.record, opened.record.clientId, opened.secret)
  }

  static async make(): Promise<SdkWorld> {
    const served = await ServedHome.make()
    try {
      await served.serve()
      const record = await served.face()
      const ca = await readFile(record.caFile, 'utf8')
      setDefaultCACertificates([...getCACertificates('default'), ca])
      const secret = (await readFile(record.clientSecretFile, 'utf8')).trim()
      return new SdkWorld(served, { record, ca, secret })
    } catch (error) {
      await served[Symbol.asyncDispose]()
      throw error
    }
  }

  get subscription(): string {
    return `/subscriptions/${this.record.subscriptionId}`
  }

  /** Why a test of these types must be skipped; false when the server provides them all. It says itself what it provides. */
  async lacks(...needs: readonly string[]): Promise<string | false> {
    this.#types ??= await this.#provided()
    const lacking = needs.filter((type) => this.#types?.has(type.toLowerCase()) !== true)
    return lacking.length > 0 && `the server does not provide ${lacking.join(', ')}`
  }

  async #provided(): Promise<ReadonlySet<string>> {
    const types = new Set<string>()
    for await (const { namespace, resourceTypes = [] } of this.clients.resources.providers.list())
      for (const { resourceType } of resourceTypes) types.add(`${namespace}/${resourceType}`.toLowerCase())
    return types
  }

  /** A principal without any role; undefined when this server cannot make one yet. */
  async principal(name: string): Promise<(NewPrincipal & Readonly<{ clients: Clients }>) | undefined> {
    const control = await openControl(openHome(this.served.home))
    try {
      const made = (await control.call('principal.add', { name })) as NewPrincipal
      return { ...made, clients: new Clients(this.record, made.clientId, made.secret) }
    } catch (error) {
      if (isHoldfastError(error, 'rpc_method_unknown')) return undefined
      throw error
    } finally {
      control.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.served[Symbol.asyncDispose]()
  }
}

/** What an async iterable gives, as a list. */
export async function all<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const one of pages) found.push(one)
  return found
}

/** The status and code of what must be refused. */
export async function refusal(doing: PromiseLike<unknown>): Promise<readonly [number | undefined, string | undefined]> {
  try {
    await doing
  } catch (error) {
    const { statusCode, code } = error as { statusCode?: number; code?: string }
    return [statusCode, code]
  }
  throw new Error('It was to be refused.')
}
