/** A home with its catalog and the administrator's methods over it, in this process; gone with the test. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ManualClock, must, PROGRAM_VERSION } from '#base'
import { Catalog, putSetting } from '#catalog'
import { RPC_PROTOCOL, type RpcMethods, silentLogger, systemRandom } from '#runtime'
import type { AdminParts } from './access/admin-call.ts'
import { certificateMethods } from './access/certificate-methods.ts'
import { principalMethods } from './access/principal-methods.ts'
import { roleMethods } from './access/role-methods.ts'
import { CONFIG_DEFAULTS } from './config/read-config.ts'
import { type Home, openHome } from './home.ts'
import { Hosts } from './hosts/hosts.ts'
import { hostMethods } from './places/host-methods.ts'
import { regionMethods } from './places/region-methods.ts'
import { spaceMethods } from './places/space-methods.ts'
import { WorkerClient } from './worker/worker-client.ts'

export const SUBSCRIPTION = '0b1f6471-1bf0-4dda-aec3-cb9272f09590'

export class AdminWorld {
  readonly home: Home
  readonly catalog: Catalog
  readonly clock: ManualClock
  readonly hosts: Hosts
  readonly #methods: RpcMethods

  private constructor(home: Home, catalog: Catalog, clock: ManualClock) {
    this.home = home
    this.catalog = catalog
    this.clock = clock
    const config = {
      ...CONFIG_DEFAULTS,
      reserve: { pool: 0, store: 0 },
      hosts: { ...CONFIG_DEFAULTS.hosts, port: 0 },
    }
    const logger = silentLogger
    const local = new WorkerClient(home.socket('worker'), logger, clock)
    const hosts = new Hosts({ home, catalog, clock, random: systemRandom, logger, config, local })
    this.hosts = hosts
    const parts: AdminParts = { home, catalog, clock, random: systemRandom, config, hosts }
    const access = { ...principalMethods(parts), ...certificateMethods(parts), ...roleMethods(parts) }
    this.#methods = {
      ...access,
      ...regionMethods(parts, () => undefined),
      ...hostMethods(parts),
      ...spaceMethods(parts),
    }
  }

  static async make(): Promise<AdminWorld> {
    const home = openHome(await mkdtemp(join(tmpdir(), 'hfw-')))
    const clock = new ManualClock()
    const catalog = await Catalog.open(home.catalog, clock)
    await catalog.write((trx) => putSetting(trx, 'subscription', SUBSCRIPTION))
    return new AdminWorld(home, catalog, clock)
  }

  folder(name: string): string {
    return join(this.home.folder, name)
  }

  async ask<T>(method: string, params: unknown = {}): Promise<T> {
    const peer = { protocol: RPC_PROTOCOL, role: 'cli', version: PROGRAM_VERSION, facts: {} }
    const call = { signal: new AbortController().signal, event: () => undefined, peer }
    return (await must(this.#methods[method], `There is a method ${method}`)(params, call as never)) as T
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hosts.close()
    await this.catalog.close()
    await rm(this.home.folder, { recursive: true, force: true })
  }
}
