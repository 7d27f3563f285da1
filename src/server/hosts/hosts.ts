/**
 * The hosts elsewhere of one home, as the server has them: the door at which they dial, the lines that are up, and the ways to
 * their workers. The door is opened with the first host that is added; a server without such hosts listens for none.
 */
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type Clock, isHoldfastError, messageOf, type Random } from '#base'
import { type Catalog, findHostLink, listHostLinks, listHosts } from '#catalog'
import { ByteClient } from '#jobs'
import type { Logger } from '#runtime'
import type { Config } from '../config/schema.ts'
import type { Home } from '../home.ts'
import { type Folders, foldersHere } from '../places/check-folder.ts'
import { LOCAL_HOST } from '../places/local-host.ts'
import { WorkerClient } from '../worker/worker-client.ts'
import { HostDoor } from './host-door.ts'
import { foldersOf } from './host-folders.ts'
import { type HostKey } from './host-key.ts'
import { HostLines, type LineState } from './host-lines.ts'
import { limitsOfHost, limitsOfThisHost, type WorkerLimits } from './host-limits.ts'

export type HostsParts = Readonly<{
  home: Home
  catalog: Catalog
  clock: Clock
  random: Random
  logger: Logger
  config: Pick<Config, 'hosts' | 'limits'>
  /** The worker of this host. */
  local: WorkerClient
  /** Lets go of results that are recorded, once a host is connected. */
  reconcile?: (worker: WorkerClient) => Promise<void>
}>

const CARE_MS = 15_000
const ANY_ADDRESS = ['0.0.0.0', '::']

export class Hosts {
  readonly lines: HostLines
  readonly #parts: HostsParts
  readonly #workers = new Map<HostKey, WorkerClient>()
  readonly #over = new AbortController()
  #caring: Promise<void> = Promise.resolve()
  #door: Promise<HostDoor> | undefined

  constructor(parts: HostsParts) {
    const { clock, random, logger } = parts
    this.#parts = parts
    this.lines = new HostLines({ clock, random, logger, onUp: (key) => this.#welcome(key) })
  }

  /**
   * Opens the door if there is a host to open it for, and looks after it and the limits of this host from now on. A port that
   * is taken keeps nobody from serving: it is told in the log, and tried again.
   */
  async begin(): Promise<void> {
    await this.#lookAfterDoor()
    this.#caring = this.#care()
  }

  async #lookAfterDoor(): Promise<void> {
    if (this.#door !== undefined) return
    try {
      if ((await listHostLinks(this.#parts.catalog)).length > 0) await this.openDoor()
    } catch (error) {
      this.#parts.logger.error({ error: messageOf(error) }, 'hosts elsewhere cannot connect')
    }
  }

  /** Where it listens. @throws ServerError `hosts_port_unusable`; it is tried again by the next call */
  async openDoor(): Promise<Readonly<{ port: number }>> {
    const { home, catalog, clock, logger, config } = this.#parts
    const parts = { tlsFolder: join(home.folder, 'tls'), catalog, clock, logger, lines: this.lines }
    this.#door ??= HostDoor.open(parts, config.hosts)
    try {
      const { port } = await this.#door
      return { port }
    } catch (error) {
      this.#door = undefined
      throw error
    }
  }

  /** Where hosts dial, unless they are told another way. */
  get address(): string {
    const { address, name } = this.#parts.config.hosts
    return name ?? (ANY_ADDRESS.includes(address) ? hostname() : address)
  }

  async renewCertificate(): Promise<void> {
    await (await this.#door)?.renew()
  }

  async close(): Promise<void> {
    this.#over.abort()
    await this.#caring
    const door = await this.#door?.catch(() => undefined)
    await door?.close()
  }

  state(key: HostKey): LineState | undefined {
    return this.lines.state(key)
  }

  worker(key: HostKey): WorkerClient {
    const known = this.#workers.get(key)
    if (known !== undefined) return known
    const { logger, clock } = this.#parts
    const made = new WorkerClient(this.lines.address(key, 'worker'), logger, clock)
    this.#workers.set(key, made)
    return made
  }

  bytes(key: HostKey): ByteClient {
    return new ByteClient(() => this.lines.open(key, 'bytes'))
  }

  /** @param host undefined: this one */
  folders(region: string, host: string | undefined): Folders {
    if (host === undefined) return foldersHere
    const key = `${region}/${host}`
    return foldersOf(key, this.lines.address(key, 'worker'))
  }

  /** Tells a worker what it may. One that is away is told when it is connected. @throws what asking it raises */
  async tellLimits(region: string, name: string): Promise<void> {
    const hosts = await listHosts(this.#parts.catalog)
    const { limits } = this.#parts.config
    if (name === LOCAL_HOST) {
      const own = hosts.filter((host) => host.name === LOCAL_HOST)
      return this.#parts.local.configure(limitsOfThisHost(limits, own))
    }
    const host = hosts.find((one) => one.region === region && one.name === name)
    if (host === undefined) return
    const told: WorkerLimits = limitsOfHost(limits, host)
    try {
      await this.worker(`${region}/${name}`).configure(told)
    } catch (error) {
      if (!isHoldfastError(error, 'host_away')) throw error
    }
  }

  /** The worker of this host may be started anew at any time, and knows the settings alone then. */
  async #care(): Promise<void> {
    const { clock, logger } = this.#parts
    while (!this.#over.signal.aborted) {
      await this.tellLimits('', LOCAL_HOST).catch((error: unknown) => {
        if (!isHoldfastError(error, 'worker_lost')) logger.warn({ error: messageOf(error) }, 'limits were not told')
      })
      await clock.sleep(CARE_MS, this.#over.signal).catch(() => {
        // We are to leave: the loop sees it.
      })
      if (!this.#over.signal.aborted) await this.#lookAfterDoor()
    }
  }

  async #welcome(key: HostKey): Promise<void> {
    const [region = '', name = ''] = key.split('/')
    // Removed between its certificate's check and its line: the line is the last that it had.
    if ((await findHostLink(this.#parts.catalog, region, name)) === undefined)
      return this.lines.end(key, 'it was removed')
    await this.tellLimits(region, name)
    await this.#parts.reconcile?.(this.worker(key))
  }
}
