/**
 * The Azure face of a home of its own, in this process, with its catalog and job engine, asked over HTTPS as a client would.
 * `restart` ends and begins it again over the same home; `as` asks with another principal's token. The worker is a real one,
 * in this process too, asked over its sockets; it goes on while the face restarts.
 */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { must, randomUuid } from '#base'
import { type ArmRoute, makeSecret } from '#api'
import { Catalog, insertCredential, insertPrincipal, insertRoleAssignment, type Principal } from '#catalog'
import { ApiDesk, DeploymentDesk, EmbeddedEngine, type JobEngine } from '#jobs'
import { identityOf, silentLogger, systemClock, systemRandom } from '#runtime'
import {
  defineJobs,
  type Face,
  type Home,
  openFace,
  openHome,
  startWorker,
  type Worker,
  WorkerClient,
  workerTasks,
} from '#server'

export type Answer<T> = Readonly<{
  status: number
  headers: Readonly<Record<string, string | string[] | undefined>>
  body: T
  text: string
  bytes: Buffer
}>

export type Ask = <T = Record<string, unknown>>(method: string, path: string, body?: unknown) => Promise<Answer<T>>
type Raw = Readonly<{
  method: string
  path: string
  body?: string | Uint8Array
  headers?: Readonly<Record<string, string>>
}>

/** Resource types of a test, beside ours. */
export type MoreTypes = Readonly<{ routes: readonly ArmRoute[]; define: (engine: JobEngine) => void }>

export const VERSION = 'api-version=2024-11-01'

export class ApiWorld {
  readonly home: Home
  readonly #more: MoreTypes | undefined
  #catalog: Catalog
  #engine: EmbeddedEngine
  #face: Face
  #agent: Agent
  readonly #worker: Worker

  private constructor(
    home: Home,
    worker: Worker,
    more: MoreTypes | undefined,
    opened: Readonly<{ catalog: Catalog; engine: EmbeddedEngine; face: Face; agent: Agent }>,
  ) {
    this.home = home
    this.#worker = worker
    this.#more = more
    this.#catalog = opened.catalog
    this.#engine = opened.engine
    this.#face = opened.face
    this.#agent = opened.agent
  }

  static async make(more?: MoreTypes): Promise<ApiWorld> {
    const home = openHome(await mkdtemp(join(tmpdir(), 'hfa-')))
    const worker = await startWorker({ home, logger: silentLogger, handlers: workerTasks(home, silentLogger) })
    return new ApiWorld(home, worker, more, await open(home, more))
  }

  get catalog(): Catalog {
    return this.#catalog
  }

  get jobs(): JobEngine {
    return this.#engine
  }

  get subscription(): string {
    return `/subscriptions/${this.#face.record.subscriptionId}`
  }

  get tenant(): string {
    return this.#face.record.tenantId
  }

  get record(): Face['record'] {
    return this.#face.record
  }

  /** A token of the administrator, or of who is named. */
  async token(clientId?: string, secret?: string): Promise<string> {
    const { record } = this.#face
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: clientId ?? record.clientId,
      client_secret: secret ?? (await readFile(record.clientSecretFile, 'utf8')).trim(),
      scope: `${record.endpoint}//.default`,
    })
    const answer = await this.raw<{ access_token: string }>({
      method: 'POST',
      path: '/adfs/oauth2/token',
      body: form.toString(),
    })
    assert.equal(answer.status, 200, answer.text)
    return answer.body.access_token
  }

  /** Asks as the administrator. */
  async asker(token?: string): Promise<Ask> {
    const authorization = `Bearer ${token ?? (await this.token())}`
    return (method, path, body) =>
      this.raw({
        method,
        path,
        headers: { authorization, 'content-type': 'application/json' },
        ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      })
  }

  /** A new principal with these roles. */
  async principal(
    name: string,
    grants: readonly Readonly<{ role: string; scope: string }>[],
  ): Promise<Principal & { ask: Ask }> {
    const nowMs = systemClock.nowMs()
    const id = randomUuid(systemRandom)
    const principal: Principal = { id, clientId: randomUuid(systemRandom), name, createdMs: nowMs }
    const { secret, credential } = makeSecret(id, { random: systemRandom, nowMs })
    await this.#catalog.write(async (trx) => {
      await insertPrincipal(trx, principal)
      await insertCredential(trx, credential)
      for (const { role, scope } of grants) {
        const name = randomUuid(systemRandom)
        const key = `${scope.toLowerCase()}/providers/microsoft.authorization/roleassignments/${name}`
        const grant = {
          key,
          name,
          scope,
          role,
          principal: id,
          principalType: 'ServicePrincipal',
          description: undefined,
        }
        await insertRoleAssignment(trx, { ...grant, createdMs: nowMs, createdBy: id })
      }
    })
    return { ...principal, ask: await this.asker(await this.token(principal.clientId, secret)) }
  }

  raw<T>({ method, path, body, headers }: Raw): Promise<Answer<T>> {
    const target = path.startsWith('https://') ? path : `${this.#face.record.endpoint}${path}`
    return new Promise((resolve, reject) => {
      const sent = request(
        target,
        { method, headers: { ...headers, ...lengthOf(body) }, agent: this.#agent },
        (response) => {
          const parts: Buffer[] = []
          response.on('data', (part: Buffer) => parts.push(part))
          response.on('end', () => {
            const bytes = Buffer.concat(parts)
            const text = bytes.toString('utf8')
            const isJson = (response.headers['content-type'] ?? '').includes('json')
            const parsed = (isJson && text !== '' ? JSON.parse(text) : undefined) as T
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: parsed, text, bytes })
          })
        },
      )
      sent.on('error', reject)
      sent.end(body)
    })
  }

  async restart(): Promise<void> {
    await this.#close()
    const { catalog, engine, face, agent } = await open(this.home, this.#more)
    this.#catalog = catalog
    this.#engine = engine
    this.#face = face
    this.#agent = agent
  }

  async #close(): Promise<void> {
    this.#agent.destroy()
    await this.#face.close()
    await this.#engine.stop()
    await this.#catalog.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close()
    await this.#worker.stop()
    await rm(this.home.folder, { recursive: true, force: true })
  }
}

/** Node says it by itself for some methods only; without it a body is taken for the next request. */
function lengthOf(body: string | Uint8Array | undefined): Readonly<Record<string, string>> {
  return body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
}

async function open(home: Home, more: MoreTypes | undefined) {
  const catalog = await Catalog.open(home.catalog, systemClock)
  const parts = { catalog, clock: systemClock, random: systemRandom, logger: silentLogger }
  const engine = new EmbeddedEngine({ ...parts, process: must(identityOf(), 'This process has an identity') })
  const tasks = new WorkerClient(home.socket('worker'), silentLogger)
  const deployments = new DeploymentDesk()
  const apiDesk = new ApiDesk()
  defineJobs(home, { engine, catalog, tasks, deployments, apiDesk })
  more?.define(engine)
  engine.run()
  const health = () => Promise.resolve({ healthy: true, facts: {} })
  const face = await openFace(
    { address: '127.0.0.1', port: 0 },
    { ...parts, home, engine, deployments, apiDesk, health, ...(more !== undefined && { routes: more.routes }) },
  )
  const agent = new Agent({ ca: await readFile(face.record.caFile, 'utf8'), keepAlive: true })
  return { catalog, engine, face, agent }
}

/** Asks the operation's status URL until it is over, without waiting in between more than the event loop needs. */
export async function followed<T>(ask: Ask, answer: Answer<unknown>): Promise<Answer<T>> {
  const url = String(answer.headers['azure-asyncoperation'] ?? answer.headers['location'])
  for (;;) {
    const polled = await ask<T & { status?: string }>('GET', url)
    const running = polled.status === 202 || ['InProgress', 'Accepted', 'Running'].includes(polled.body?.status ?? '')
    if (!running) return polled
    assert.equal(polled.headers['retry-after'], '1', 'az waits half a minute without it')
    await systemClock.sleep(20)
  }
}
