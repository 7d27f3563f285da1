/**
 * Steps find the worker of the host on which they are to run, and no other: bytes are where they are. What a worker elsewhere
 * needs of this home's keys goes with the request, over mutual TLS; it is kept in its memory for as long as the task is, and
 * neither in the catalog nor in a log.
 */
import { type Catalog, findHostLink } from '#catalog'
import { readCredential, type RepositoryAccess, type StepContext, type TaskRunner } from '#jobs'
import { ServerError } from '../errors.ts'
import type { WorkerClient } from '../worker/worker-client.ts'
import type { HostKey } from './host-key.ts'

type KeyFile = RepositoryAccess['credential'] & Readonly<{ kind: 'key-file' }>

function isKeyFile(value: object): value is KeyFile {
  return 'kind' in value && value.kind === 'key-file' && 'path' in value && typeof value.path === 'string'
}

/** The same input with the keys themselves instead of the files that hold them. @throws JobsError `job_secret_unreadable` */
export async function withKeys(input: unknown): Promise<unknown> {
  if (typeof input !== 'object' || input === null) return input
  if (Array.isArray(input)) return Promise.all(input.map(withKeys))
  if (isKeyFile(input)) {
    const credential = await readCredential(input)
    if (credential.kind !== 'key-file') return input
    return { kind: 'key', base64: Buffer.from(credential.bytes).toString('base64') }
  }
  const entries = Object.entries(input).map(async ([name, value]) => [name, await withKeys(value)] as const)
  return Object.fromEntries(await Promise.all(entries))
}

export class HostTasks implements TaskRunner {
  readonly #catalog: Catalog
  readonly #local: TaskRunner
  readonly #elsewhere: (host: HostKey) => WorkerClient

  constructor(catalog: Catalog, local: TaskRunner, elsewhere: (host: HostKey) => WorkerClient) {
    this.#catalog = catalog
    this.#local = local
    this.#elsewhere = elsewhere
  }

  /** @throws ServerError `host_unknown` when it was removed; `host_away` */
  async run(step: StepContext, task: string, input: unknown, host?: HostKey): Promise<unknown> {
    if (host === undefined) return this.#local.run(step, task, input)
    const [region = '', name = ''] = host.split('/')
    if ((await findHostLink(this.#catalog, region, name)) === undefined)
      throw new ServerError('host_unknown', `There is no host ${host} any more: what is there is out of reach.`, {
        facts: { host },
      })
    return this.#elsewhere(host).run(step, task, await withKeys(input))
  }
}
