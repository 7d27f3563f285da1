/** Hosts elsewhere, in one process: a server's door and lines, and the worker of another home that joins and dials. */
import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { PROGRAM_VERSION } from '#base'
import { findHostLink } from '#catalog'
import type { TaskHandler } from '#jobs'
import { processPace, RpcClient, silentLogger, systemClock } from '#runtime'
import { AdminWorld } from '../admin.fixture.ts'
import { issueCertificate } from '../face/certificates.ts'
import { type Home, openHome } from '../home.ts'
import type { HostView, Invitation } from '../places/host-methods.ts'
import type { Added, PoolView } from '../places/space-methods.ts'
import { secretsOf, withoutSecrets } from '../support/secrets.ts'
import { joinServer } from '../worker/join.ts'
import { type Joined, readJoined, writeJoined } from '../worker/joined.ts'
import { startWorker, type Worker } from '../worker/worker.ts'
import { fingerprintOf, newKeyPair } from './host-certificates.ts'
import { DOOR_NAME, JOIN_PROTOCOL, LINE_PROTOCOL } from './host-protocol.ts'
import { HostTasks, withKeys } from './host-tasks.ts'
import { digestOf, readJoinToken, writeJoinToken } from './join-token.ts'

type Added1 = HostView & Invitation
const FAR = { region: 'attic', name: 'far' }
const DAY_MS = 24 * 3_600_000

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = systemClock.monotonicMs() + 20_000
  while (!(await holds())) {
    if (systemClock.monotonicMs() > endMs) throw new Error(`Not so within 20 s: ${what}`)
    await systemClock.sleep(10)
  }
}

class Far {
  readonly home: Home
  #worker: Worker | undefined

  private constructor(home: Home) {
    this.home = home
  }

  static async make(): Promise<Far> {
    return new Far(openHome(await mkdtemp(join(tmpdir(), 'hfh-'))))
  }

  async start(handlers: ReadonlyMap<string, TaskHandler> = new Map(), aheadMs = 0): Promise<void> {
    const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs }
    const line = { clock, facts: () => ({ version: PROGRAM_VERSION, hostname: 'far' }) }
    this.#worker = await startWorker({ home: this.home, logger: silentLogger, handlers, line })
  }

  async stop(): Promise<void> {
    await this.#worker?.stop()
    this.#worker = undefined
  }

  async joined(): Promise<Joined> {
    const joined = await readJoined(this.home)
    assert.ok(joined !== undefined)
    return joined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await rm(this.home.folder, { recursive: true, force: true })
  }
}

async function worldWithHost(): Promise<Readonly<{ world: AdminWorld; made: Added1 }>> {
  const world = await AdminWorld.make()
  await world.ask('region.add', { name: 'attic' })
  return { world, made: await world.ask<Added1>('host.add', { ...FAR, driver: 'qemu' }) }
}

function stateOf(world: AdminWorld): Promise<string> {
  return world.ask<HostView>('host.show', FAR).then(({ state }) => state)
}

/** Joins, dials, and is there. */
async function connect(world: AdminWorld, far: Far, token: string): Promise<void> {
  await joinServer(far.home, token)
  await far.start()
  await until('connected', async () => (await stateOf(world)) === 'connected')
}

/** As the host that shows this certificate. */
function dialAs({ address, port, authority }: Joined, own: { certificate: string; privateKey: string }) {
  const dial = { host: address, port, authority, own, serverName: DOOR_NAME, protocol: LINE_PROTOCOL }
  return RpcClient.open({ kind: 'named-tls', dial }, 'worker', PROGRAM_VERSION)
}

test('A join token survives its text; one that is cut off, changed or something else is refused without being told', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  const token = readJoinToken(`  ${made.token}\n`)
  assert.deepEqual([token.host, token.address], ['attic/far', '127.0.0.1'])
  assert.match(token.authority, /BEGIN CERTIFICATE/)
  assert.equal(writeJoinToken(token), made.token)
  for (const bad of [
    '',
    'holdfast-join-1.',
    made.token.slice(0, -40),
    made.token.slice(3),
    `${made.token}${'A'.repeat(9000)}`,
  ])
    assert.throws(
      () => readJoinToken(bad),
      (error: Error & { code?: string }) =>
        error.code === 'join_token_invalid' && !error.message.includes(token.secret),
    )
})

test('host.add keeps no token: neither its secret nor its text is in any file of the home', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  const { secret } = readJoinToken(made.token)
  const found: string[] = []
  for (const entry of await readdir(world.home.folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const text = await readFile(join(entry.parentPath, entry.name), 'latin1')
    if (text.includes(secret) || text.includes(made.token.slice(20, 80))) found.push(entry.name)
  }
  assert.deepEqual(found, [])
})

test('A host joins and is connected; the same token lets nobody else in, not even while it is not used yet', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  await using other = await Far.make()
  assert.equal(made.state, 'invited')
  const joining = join(far.home.folder, 'tls', 'joining.json')
  const lost = join(far.home.folder, 'tls', 'host.json')
  const joined = await joinServer(far.home, made.token)
  // As if it had died before the answer came: the key that the token was used for is answered again.
  const publicKey = createPublicKey(joined.privateKey).export({ type: 'spki', format: 'pem' })
  await writeFile(joining, JSON.stringify({ publicKey, privateKey: joined.privateKey, token: digestOf(made.token) }))
  await rm(lost)
  assert.notEqual((await joinServer(far.home, made.token)).certificate, joined.certificate)
  await assert.rejects(joinServer(other.home, made.token), { code: 'join_refused' })
  assert.equal(await stateOf(world), 'away')
  await far.start()
  await until('connected', async () => (await stateOf(world)) === 'connected')
  const view = await world.ask<HostView>('host.show', FAR)
  assert.deepEqual([view.facts['hostname'], view.facts['version'], view.address], ['far', PROGRAM_VERSION, '127.0.0.1'])
  await far.stop()
  await until('away', async () => (await stateOf(world)) === 'away')
  await rm(join(far.home.folder, 'tls'), { recursive: true })
  await assert.rejects(joinServer(far.home, made.token), { code: 'join_refused' }, 'it was used')
})

test('A forged token, one of another host, an expired one and one that was replaced are refused', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  const token = readJoinToken(made.token)
  const secret = `${token.secret.slice(0, -2)}${token.secret.endsWith('AA') ? 'BB' : 'AA'}`
  for (const forged of [{ secret }, { host: 'attic/near' }, { host: 'attic/local' }, { host: 'cellar/far' }])
    await assert.rejects(joinServer(far.home, writeJoinToken({ ...token, ...forged })), { code: 'join_refused' })
  const second = await world.ask<Added1>('host.token', FAR)
  await assert.rejects(joinServer(far.home, made.token), { code: 'join_refused' })
  world.clock.advance(61 * 60_000)
  await assert.rejects(joinServer(far.home, second.token), { code: 'join_refused' })
  assert.equal(await stateOf(world), 'lost')
  assert.equal(await readJoined(far.home), undefined)
})

test('A token that names another authority leads nowhere: a server that only listens there learns no secret', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  const elsewhere = await worldWithHost()
  await using _elsewhere = elsewhere.world
  await using far = await Far.make()
  const [ours, theirs] = [readJoinToken(made.token), readJoinToken(elsewhere.made.token)]
  const led = writeJoinToken({ ...ours, port: theirs.port })
  await assert.rejects(joinServer(far.home, led), { code: 'rpc_unreachable' })
})

test('A removed host is refused at once: its line ends, and its certificate lets it in no more', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  await connect(world, far, made.token)
  const open = await RpcClient.open(world.hosts.lines.address('attic/far', 'worker'), 'control', PROGRAM_VERSION)
  await world.ask('host.remove', FAR)
  await assert.rejects(open.call('task.list', null), { code: 'rpc_closed' })
  assert.equal(world.hosts.state('attic/far'), undefined)
  const joined = await far.joined()
  await assert.rejects(dialAs(joined, joined), { code: 'host_refused' })
  await assert.rejects(world.hosts.lines.open('attic/far', 'worker'), { code: 'host_away', retry: 'later' })
})

test('host.token refuses what let the host in before; its pools stay', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  await connect(world, far, made.token)
  const path = join(far.home.folder, 'pool')
  await world.ask('pool.add', { region: 'attic', name: 'p', path, host: 'far' })
  const stolen = await far.joined()
  const again = await world.ask<Added1>('host.token', FAR)
  await assert.rejects(dialAs(stolen, stolen), { code: 'host_refused' })
  await far.stop()
  await connect(world, far, again.token)
  await assert.rejects(dialAs(stolen, stolen), { code: 'host_refused' })
  assert.equal((await world.ask<PoolView>('pool.show', { region: 'attic', name: 'p' })).host, 'far')
  await assert.rejects(world.ask('host.remove', FAR), { code: 'place_in_use', message: /pool p/ })
})

test('That a certificate is of our authority is not enough: one for another use, or not on record, is refused', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  const joined = await joinServer(far.home, made.token)
  const tls = join(world.home.folder, 'tls')
  for (const usage of ['clientAuth', 'serverAuth'] as const) {
    const { publicKey, privateKey } = newKeyPair()
    const subject = { O: 'Holdfast host', OU: 'attic', CN: 'far' }
    const certificate = await issueCertificate(tls, { publicKey, subject, usage, days: 1 })
    await assert.rejects(dialAs(joined, { certificate, privateKey }), {
      code: /^(host_refused|rpc_closed|rpc_unreachable)$/,
    })
  }
  const dial = { host: joined.address, port: joined.port, authority: joined.authority, serverName: DOOR_NAME }
  const bare = { kind: 'named-tls', dial: { ...dial, protocol: LINE_PROTOCOL } } as const
  await assert.rejects(RpcClient.open(bare, 'worker', PROGRAM_VERSION), { code: 'host_refused' })
  const join1 = { kind: 'named-tls', dial: { ...dial, protocol: JOIN_PROTOCOL } } as const
  const client = await RpcClient.open(join1, 'worker', PROGRAM_VERSION)
  await assert.rejects(client.call('host.attend', { facts: {} }), { code: 'rpc_method_unknown' })
  client.close()
})

test('A certificate is renewed before its end; the old one holds until the new one was used, and not longer', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  const old = await joinServer(far.home, made.token)
  await far.start(new Map(), 61 * DAY_MS)
  await until('another certificate', async () => (await far.joined()).certificate !== old.certificate)
  const isUsed = async (): Promise<boolean> => {
    const link = await findHostLink(world.catalog, 'attic', 'far')
    return link?.certificates.join() === fingerprintOf((await far.joined()).certificate)
  }
  await until('the new one is the only one', isUsed)
  await assert.rejects(dialAs(old, old), { code: 'host_refused' })
  await until('connected', async () => (await stateOf(world)) === 'connected')
})

test('A pool of a host lies in a folder of that host, tried and measured there; overlaps are judged by host', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  const add = (name: string, path: string, host?: string) =>
    world.ask<Added<PoolView>>('pool.add', { region: 'attic', name, path, host })
  await assert.rejects(add('p', '/x', 'nobody'), { code: 'place_not_found' })
  await assert.rejects(add('p', '/x', 'far'), { code: 'host_away' })
  await connect(world, far, made.token)
  const path = join(far.home.folder, 'pool')
  await world.ask('store.add', { region: 'attic', name: 's', location: world.folder('store') })
  const pool = await add('p', path, 'far')
  assert.ok((pool.space?.freeBytes ?? 0) > 0)
  assert.match(pool.space?.device ?? '', /^attic\/far:/)
  assert.match(pool.warnings.join(), /no snapshots of disks in this pool/)
  await assert.rejects(add('q', join(path, 'deeper'), 'far'), { code: 'place_invalid' })
  await assert.rejects(add('q', join(far.home.folder, 'tls', 'host.json'), 'far'), { code: 'place_unusable' })
  await add('same', path) // The same path on this host is another folder.
  await far.stop()
  await until('away', async () => (await stateOf(world)) === 'away')
  assert.equal((await world.ask<PoolView>('pool.show', { region: 'attic', name: 'p' })).space, undefined)
  await assert.rejects(world.ask('pool.remove', { region: 'attic', name: 'p' }), { code: 'host_away' })
})

test('A host that is lost can be removed with its pools; what waits for it is told, and a new one of its name has them again', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  await connect(world, far, made.token)
  const pool = { region: 'attic', name: 'p', host: 'far', path: join(far.home.folder, 'pool') }
  await world.ask('pool.add', pool)
  await far.stop()
  await world.ask('host.remove', { ...FAR, lost: true })
  const tasks = new HostTasks(world.catalog, { run: () => Promise.reject(new Error('not here')) }, () => {
    throw new Error('nobody is asked')
  })
  await assert.rejects(tasks.run({} as never, 'hold', {}, 'attic/far'), { code: 'host_unknown', retry: 'never' })
  assert.equal((await world.ask<PoolView>('pool.show', pool)).space, undefined)
  const again = await world.ask<Added1>('host.add', { ...FAR, driver: 'qemu' })
  await connect(world, far, again.token)
  assert.ok((await world.ask<PoolView>('pool.show', pool)).space !== undefined)
  await world.ask('host.remove', { ...FAR, lost: true })
  await world.ask('pool.remove', pool)
})

test('Limits of a host reach its worker when they are set, and when it is connected again', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  await joinServer(far.home, made.token)
  const gates: PromiseWithResolvers<unknown>[] = []
  const hold: TaskHandler = () => {
    const gate = Promise.withResolvers<unknown>()
    gates.push(gate)
    return gate.promise
  }
  await world.ask('host.set', { ...FAR, tasksAtOnce: 1, bytesPerSecond: 4096 })
  await far.start(new Map([['hold', hold]]))
  await until('the pace is set', () => processPace.take(1) !== undefined)
  const client = await RpcClient.open(world.hosts.lines.address('attic/far', 'worker'), 'control', PROGRAM_VERSION)
  const run = (job: string) => client.call('task.run', { key: { job, step: 's', epoch: 1 }, task: 'hold', input: null })
  const runs = [run('a'), run('b')]
  await until('one began', () => gates.length === 1)
  await world.ask('host.set', { ...FAR, tasksAtOnce: 2, bytesPerSecond: 0 })
  await until('the other began', () => gates.length === 2)
  assert.equal(processPace.take(1), undefined)
  for (const gate of gates) gate.resolve('done')
  assert.deepEqual(await Promise.all(runs), ['done', 'done'])
  client.close()
  await assert.rejects(world.ask('host.set', { ...FAR, tasksAtOnce: 0 }), { code: 'place_invalid' })
  const unset = await world.ask<HostView>('host.set', { ...FAR, tasksAtOnce: null, bytesPerSecond: null })
  assert.deepEqual(unset.limits, {})
})

test('What a bundle takes out of texts holds the key of a joined home and every join token', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  const { privateKey } = await joinServer(far.home, made.token)
  const secrets = await secretsOf(far.home.folder, {})
  const lines = privateKey.split('\n').filter((line) => line !== '' && !line.startsWith('-----'))
  assert.ok(lines.length > 0 && lines.every((line) => secrets.includes(line)))
  assert.equal(withoutSecrets(`got ${made.token} today`, []), 'got holdfast-join-1.[hidden] today')
})

test('A home of a server, or one whose worker runs, joins nothing', async () => {
  const { world, made } = await worldWithHost()
  await using _ = world
  await using far = await Far.make()
  await assert.rejects(joinServer(world.home, made.token), { code: 'home_is_server' })
  await writeJoined(far.home, { ...(await joinServer(far.home, made.token)), port: 1 })
  await far.start()
  await assert.rejects(joinServer(far.home, made.token), { code: 'home_in_use' })
})

test('withKeys() sends the key instead of its file, wherever it stands, and changes nothing else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hfh-'))
  try {
    const path = join(folder, 'k')
    await writeFile(path, Buffer.from([0, 255, 7]))
    const key = { kind: 'key-file', path }
    const input = { store: 's3://b/x', credential: key, bytes: [{ access: { credential: key } }, null, 5] }
    const sent = { kind: 'key', base64: 'AP8H' }
    assert.deepEqual(await withKeys(input), {
      store: 's3://b/x',
      credential: sent,
      bytes: [{ access: { credential: sent } }, null, 5],
    })
  } finally {
    await rm(folder, { recursive: true })
  }
})
