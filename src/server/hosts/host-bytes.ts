/**
 * Bytes come from the worker of the host that has them, through this server: a client knows one address and one certificate,
 * and hosts need no open port.
 */
import type { ByteService, WorkerBytes } from '#jobs'
import { hostAway } from './host-lines.ts'
import type { Hosts } from './hosts.ts'

export class HostBytes implements ByteService {
  readonly #local: WorkerBytes
  readonly #hosts: Pick<Hosts, 'bytes'> | undefined

  constructor(local: WorkerBytes, hosts?: Pick<Hosts, 'bytes'>) {
    this.#local = local
    this.#hosts = hosts
  }

  /** @throws ServerError `host_away` where there are no hosts elsewhere */
  on(host: string | undefined): WorkerBytes {
    if (host === undefined) return this.#local
    if (this.#hosts === undefined) throw hostAway(host)
    return this.#hosts.bytes(host)
  }
}
