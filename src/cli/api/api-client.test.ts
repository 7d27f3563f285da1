/** The client against a server that is busy, restarts, or is none of ours. What it asks is a real HTTPS server, scripted. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Clock, isHoldfastError, silentProgress } from '#base'
import { checkCommand, systemClock } from '#runtime'
import { ApiClient } from './api-client.ts'
import { followOperation } from './follow-operation.ts'

type Scripted = Readonly<{ status: number; body?: unknown; headers?: Readonly<Record<string, string>> }>
type Asked = Readonly<{ method: string; url: string; token: string }>

const folder = await mkdtemp(join(tmpdir(), 'holdfast-client-'))
const [key, certificate, secret] = ['key.pem', 'cert.pem', 'secret'].map((name) => join(folder, name))
const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key ?? '']
const named = ['-days', '2', '-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1', '-out', certificate ?? '']
await checkCommand('openssl', ['req', '-x509', ...newKey, ...named])
await writeFile(secret ?? '', 'open sesame\n', { mode: 0o600 })
after(() => rm(folder, { recursive: true, force: true }))

/** A server that answers what the script says, one answer a request; logins are always answered. */
class ScriptedServer {
  readonly asked: Asked[] = []
  readonly sleptMs: number[] = []
  readonly #script: Scripted[]
  readonly #server: Server
  #logins = 0

  private constructor(script: readonly Scripted[], tls: Readonly<{ key: string; cert: string }>) {
    this.#script = [...script]
    this.#server = createServer(tls, (request, response) => {
      const { status, body, headers } = this.#answer(request)
      const type = typeof body === 'string' ? 'text/html' : 'application/json'
      response.writeHead(status, { 'content-type': type, ...headers })
      response.end(typeof body === 'string' ? body : JSON.stringify(body ?? {}))
    })
  }

  static async make(...script: readonly Scripted[]): Promise<ScriptedServer> {
    const tls = { key: await readFile(key ?? '', 'utf8'), cert: await readFile(certificate ?? '', 'utf8') }
    const made = new ScriptedServer(script, tls)
    await new Promise<void>((resolve) => made.#server.listen(0, '127.0.0.1', resolve))
    return made
  }

  get endpoint(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  #answer(request: IncomingMessage): Scripted {
    request.resume()
    const { method = '', url = '', headers } = request
    if (url === '/adfs/oauth2/token')
      return { status: 200, body: { access_token: `token-${(this.#logins += 1)}`, expires_in: 3599 } }
    this.asked.push({ method, url: url.replace(/[?&]api-version=[^&]*/, ''), token: headers.authorization ?? '' })
    return (
      this.#script.shift() ?? { status: 500, body: { error: { code: 'InternalServerError', message: 'No more.' } } }
    )
  }

  /** A client whose waiting takes no time. */
  async client(): Promise<ApiClient> {
    const clock: Clock = {
      nowMs: () => systemClock.nowMs(),
      monotonicMs: () => systemClock.monotonicMs(),
      sleep: (ms) => {
        this.sleptMs.push(ms)
        return Promise.resolve()
      },
    }
    const address = {
      endpoint: this.endpoint,
      ca: await readFile(certificate ?? '', 'utf8'),
      clientId: 'me',
      clientSecretFile: secret ?? '',
      subscriptionId: 's',
    }
    return new ApiClient(address, { clock, signal: new AbortController().signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

function failure(status: number, code: string, headers: Readonly<Record<string, string>> = {}): Scripted {
  return { status, body: { error: { code, message: `${code}.` } }, headers }
}

test('What the server puts off is asked again after the time that it says', async () => {
  const busy = [failure(429, 'TooManyRequests', { 'retry-after': '7' }), failure(503, 'ServiceUnavailable')]
  await using server = await ScriptedServer.make(...busy, { status: 200, body: { name: 'd1' } })
  const client = await server.client()
  const { body } = await client.ask('PUT', '/d1', { x: 1 })
  assert.deepEqual(body, { name: 'd1' })
  assert.deepEqual(server.sleptMs, [7000, 1000])
  client.close()
})

test('A POST that may have begun something is not repeated', async () => {
  await using server = await ScriptedServer.make(failure(503, 'ServiceUnavailable', { 'x-ms-request-id': 'r-1' }))
  const client = await server.client()
  await assert.rejects(client.ask('POST', '/g/createSnapshots', {}), (error) => {
    assert.ok(isHoldfastError(error, 'ServiceUnavailable'))
    assert.deepEqual([error.facts['status'], error.facts['requestId']], [503, 'r-1'])
    return true
  })
  assert.equal(server.asked.length, 1)
  client.close()
})

test('A token that is no longer taken is fetched anew, once', async () => {
  const refused = failure(401, 'ExpiredAuthenticationToken')
  await using server = await ScriptedServer.make(refused, { status: 200, body: { value: [] } }, refused, refused)
  const client = await server.client()
  assert.deepEqual(await client.list('/subscriptions'), [])
  assert.deepEqual(
    server.asked.map(({ token }) => token),
    ['Bearer token-1', 'Bearer token-2'],
  )
  await assert.rejects(client.list('/subscriptions'), (error) => isHoldfastError(error, 'ExpiredAuthenticationToken'))
  client.close()
})

test('A list is read to its last page, and a page elsewhere is refused before a token is sent there', async () => {
  await using other = await ScriptedServer.make({ status: 200, body: { value: ['stolen'] } })
  const foreign = { status: 200, body: { value: [1], nextLink: `${other.endpoint}/steal` } }
  await using server = await ScriptedServer.make(
    { status: 200, body: { value: [1, 2], nextLink: '/things?$skipToken=2' } },
    { status: 200, body: { value: [3] } },
    foreign,
  )
  const client = await server.client()
  assert.deepEqual(await client.list('/things'), [1, 2, 3])
  await assert.rejects(client.list('/things'), (error) => isHoldfastError(error, 'api_answer_invalid'))
  assert.deepEqual(other.asked, [])
  client.close()
})

test('What is no answer of the API, such as a page of a proxy, is told as that', async () => {
  await using server = await ScriptedServer.make(
    { status: 502, body: '<html>Bad gateway</html>' },
    { status: 200, body: '<html>Welcome</html>', headers: { 'content-type': 'application/json' } },
  )
  const client = await server.client()
  for (const path of ['/a', '/b'])
    await assert.rejects(client.get(path), (error) => isHoldfastError(error, 'api_answer_invalid'))
  client.close()
})

test('An operation is followed over a busy server to its error, with the share done on the way', async () => {
  const error = {
    code: 'SnapshotInstantLost',
    message: 'Lost.',
    details: [{ code: 'agent_frozen', message: 'Frozen.' }],
  }
  await using server = await ScriptedServer.make(
    { status: 202, headers: { 'azure-asyncoperation': '/ops/o-1?t=1', 'retry-after': '1' } },
    { status: 200, body: { status: 'InProgress', percentComplete: 40 }, headers: { 'retry-after': '2' } },
    failure(503, 'ServiceUnavailable'),
    { status: 200, body: { status: 'Failed', error } },
  )
  const client = await server.client()
  const shares: number[] = []
  const watching = {
    client,
    task: 'Taking',
    progress: ({ doneBytes }: { doneBytes: number }) => shares.push(doneBytes),
  }
  const answer = await client.ask('PUT', '/s1', {})
  await assert.rejects(followOperation(watching, answer), (thrown) => {
    assert.ok(isHoldfastError(thrown, 'SnapshotInstantLost'))
    assert.deepEqual(thrown.facts['details'], ['agent_frozen: Frozen.'])
    assert.equal(thrown.facts['operation'], 'o-1')
    return true
  })
  assert.ok(shares.includes(40))
  assert.deepEqual(server.sleptMs, [100, 2000, 1000])
  client.close()
})

test('An operation that only has a Location is followed to what the first request would have answered', async () => {
  await using server = await ScriptedServer.make(
    { status: 202, headers: { location: '/ops/o-2' } },
    { status: 202, headers: { location: '/ops/o-2' } },
    { status: 200, body: { accessSAS: 'https://x' } },
  )
  const client = await server.client()
  const followed = await followOperation(
    { client, task: 'Opening', progress: silentProgress },
    await client.ask('POST', '/d'),
  )
  assert.deepEqual(followed, { operation: 'o-2', output: { accessSAS: 'https://x' } })
  client.close()
})

test('A certificate that nobody vouches for is refused, with the remedy', async () => {
  await using server = await ScriptedServer.make()
  const address = {
    endpoint: server.endpoint,
    ca: undefined,
    clientId: 'me',
    clientSecretFile: secret ?? '',
    subscriptionId: 's',
  }
  const client = new ApiClient(address, { clock: systemClock, signal: new AbortController().signal })
  await assert.rejects(client.get('/a'), (error) => {
    assert.ok(isHoldfastError(error, 'api_unreachable'))
    assert.match(error.hint ?? '', /HOLDFAST_CA_FILE/)
    return true
  })
  client.close()
})
