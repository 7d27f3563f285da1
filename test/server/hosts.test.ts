/**
 * A second host, as its administrator sets it up: another home with a worker of its own, which joins and dials. Its disks, their
 * bytes by URL, their snapshots; and both sides killed in the middle.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { GIB, MIB } from '#base'
import type { HostView, JobView, PoolView, StepView } from '#server'
import { run } from '../cli/command-line.ts'
import { killHard, until } from '../jobs/processes.ts'
import { ServedHome } from './served-home.ts'

type Resource = Readonly<{ name: string; properties: Readonly<Record<string, unknown>> }>
type Begun = Readonly<{ operation: string }>
type Shown = Readonly<{ job: JobView; steps: readonly StepView[] }>

const PROGRAM = resolve(import.meta.dirname, '../../bin/holdfast')
const CONNECTED_MS_MAX = 60_000

/** Sectors that say where they belong; every fourth MiB is a hole. */
function image(bytes: number, disk: number): Buffer {
  const made = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; at += 512)
    if (Math.floor(at / MIB) % 4 !== 3) made.write(`disk ${disk} sector ${at / 512}\n`.repeat(16), at, 512, 'latin1')
  return made
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  await new Promise((done) => server.close(done))
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** The other host. */
class FarHost {
  readonly folder: string
  readonly home: string
  #child: ChildProcess | undefined
  said = ''

  constructor(served: ServedHome) {
    this.folder = served.folder
    this.home = join(served.folder, 'far')
  }

  /** @param token on standard input: to join first */
  start(token?: string): void {
    const args = ['worker', '--home', this.home, ...(token === undefined ? [] : ['--join', '-'])]
    const env = { PATH: process.env['PATH'], HOME: this.folder, TMPDIR: join(this.folder, 'tmp') }
    const child = spawn(PROGRAM, args, { cwd: this.folder, stdio: ['pipe', 'ignore', 'pipe'], env })
    child.stderr.on('data', (data: Buffer) => (this.said += data.toString()))
    child.stdin.end(token)
    this.#child = child
  }

  async kill(): Promise<void> {
    if (this.#child !== undefined) await killHard(this.#child)
    this.#child = undefined
  }

  async log(): Promise<string> {
    return readFile(join(this.home, 'log', 'worker.log'), 'utf8').catch(() => '')
  }

  /** How often its worker began a task of the job. */
  async began(job: string, task: string): Promise<number> {
    const lines = (await this.log()).split('\n').filter((line) => line.includes('a task began'))
    return lines.filter((line) => line.includes(job) && line.includes(`"${task}"`)).length
  }
}

async function stateOf(home: ServedHome): Promise<string> {
  return (await home.run<HostView>('host', 'show', 'attic', 'far')).state
}

function connected(home: ServedHome): Promise<unknown> {
  return until('the host is connected', async () => (await stateOf(home)) === 'connected', CONNECTED_MS_MAX)
}

async function succeeded(home: ServedHome, id: string): Promise<JobView> {
  const { job } = await until(
    `job ${id} is over`,
    async () => {
      const shown = await home.run<Shown>('job', 'show', id)
      return ['succeeded', 'failed', 'cancelled'].includes(shown.job.status) ? shown : undefined
    },
    120_000,
  )
  assert.equal(job.status, 'succeeded', JSON.stringify(job.error))
  return job
}

async function assertBytes(home: ServedHome, kind: 'disk' | 'snapshot', name: string, expected: Buffer): Promise<void> {
  const to = join(home.folder, `${name}.back`)
  await home.run(kind, 'export', name, '-g', 'web', '--to', to, '--format', 'raw')
  const found = await readFile(to)
  await rm(to)
  assert.equal(found.length, expected.length)
  const at = Buffer.compare(found, expected) === 0 ? -1 : found.findIndex((byte, i) => byte !== expected[i])
  assert.equal(at, -1, `${kind} ${name}: the first other byte is at ${at}`)
}

test('A host elsewhere: joined, worked, killed in the middle, and sent away', async (t) => {
  await using home = await ServedHome.make()
  const far = new FarHost(home)
  await mkdir(home.home, { recursive: true })
  const settings = `hosts:\n  port: ${await freePort()}\nreserve:\n  pool: 1MiB\n  store: 1MiB\n`
  await writeFile(join(home.home, 'holdfast.yaml'), settings, { mode: 0o600 })
  const content = image(24 * MIB, 1)
  const raw = join(home.folder, 'disk.raw')
  await writeFile(raw, content)
  t.after(() => far.kill())
  await home.serve()

  await t.test('it joins by the token that host add wrote, once, and says what it is', async () => {
    await home.run('region', 'add', 'attic')
    const tokenFile = join(home.folder, 'far.token')
    const added = await home.run<Record<string, unknown>>('host', 'add', 'attic', 'far', '--token-file', tokenFile)
    assert.equal(added['token'], undefined, 'what went to a file is not shown')
    assert.equal((await stat(tokenFile)).mode & 0o777, 0o600)
    const token = await readFile(tokenFile, 'utf8')
    far.start(token)
    await connected(home)
    assert.match(far.said, /This is the host attic\/far of the server at 127\.0\.0\.1:/)
    const other = join(home.folder, 'other')
    const refused = await run(home.folder, ['worker', '--home', other, '--join', tokenFile, '-o', 'json'])
    assert.match(refused.stderr, /join_refused/)
    assert.equal(refused.code, 5)
    const { facts } = await home.run<HostView>('host', 'show', 'attic', 'far')
    assert.ok(Number(facts['cpus']) > 0 && Array.isArray(facts['capabilities']))
    const secret = token.slice(40, 140)
    for (const folder of [home.home, far.home])
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
        if (entry.isFile() && /\.(log|out)/.test(entry.name))
          assert.ok(!(await readFile(join(entry.parentPath, entry.name), 'latin1')).includes(secret), entry.name)
  })

  await t.test('a disk is uploaded to a pool of it and comes back byte for byte, all through the server', async () => {
    const path = join(far.home, 'disks')
    const pool = await home.run<PoolView>('pool', 'add', 'attic', 'fast', '--path', path, '--host', 'far')
    assert.equal(pool.host, 'far')
    await home.run('group', 'create', 'web', '-l', 'attic')
    await home.run('disk', 'import', 'd1', raw, '-g', 'web', '-l', 'attic')
    assert.equal((await readdir(join(path, 'disks'))).length, 1, 'it lies there, and the upload is gone')
    await assertBytes(home, 'disk', 'd1', content)
    const refused = await home.fail('host', 'remove', 'attic', 'far')
    assert.equal(refused.code, 'place_in_use')
  })

  await t.test(
    'its snapshots need a store that it reaches; from one a disk is made on this host, and the other way',
    async () => {
      await home.run('store', 'add', 'attic', 'own', '--location', join(home.folder, 'own-store'))
      const unreached = await home.fail('snapshot', 'create', 's0', '-g', 'web', '--source', 'd1')
      assert.match(unreached.message, /cannot reach the store attic\/own/)
      await rm(join(home.folder, 'own-store'), { recursive: true, force: true })
      await home.run('store', 'remove', 'attic', 'own')
      await home.run('store', 'add', 'attic', 'both', '--location', join(home.folder, 'store'), '--shared')
      await home.run('snapshot', 'create', 's1', '-g', 'web', '--source', 'd1')
      await assertBytes(home, 'snapshot', 's1', content)
      await home.run('pool', 'add', 'attic', 'near', '--path', join(home.folder, 'near'))
      await home.run('disk', 'create', 'here', '-g', 'web', '-l', 'attic', '--source', 's1')
      await assertBytes(home, 'disk', 'here', content)
      assert.equal((await readdir(join(home.folder, 'near', 'disks'))).length, 1, 'without a wish, on this host')
      await home.run('disk', 'create', 'there', '-g', 'web', '-l', 'attic', '--source', 's1', '--pool', 'fast')
      await assertBytes(home, 'disk', 'there', content)
      const apart = await home.fail(
        'disk',
        'create',
        'x',
        '-g',
        'web',
        '-l',
        'attic',
        '--source',
        'here',
        '--pool',
        'fast',
      )
      assert.match(apart.message, /on another host/)
    },
  )

  await t.test('its worker killed in the middle: the job waits, and goes on there when it is back', async () => {
    await home.run('host', 'set', 'attic', 'far', '--rate', '4MiB')
    const begun = await home.run<Begun>('disk', 'create', 'copy1', '-g', 'web', '--source', 'd1', '--no-wait')
    const id = begun.operation.split('/').at(-1)?.split('?')[0] ?? ''
    await until('the copy is on its way', async () => (await far.began(id, 'make-disk')) === 1)
    await far.kill()
    await until('the host is away', async () => (await stateOf(home)) === 'away', CONNECTED_MS_MAX)
    await until('the job waits for it', async () => {
      const { steps } = await home.run<Shown>('job', 'show', id)
      return steps.some(({ status, error }) => status === 'retrying' && error?.code === 'host_away')
    })
    const late = await home.fail('snapshot', 'create', 's2', '-g', 'web', '--source', 'd1')
    assert.match(late.message, /not connected/)
    await home.run('host', 'set', 'attic', 'far', '--rate', '0')
    far.start()
    await succeeded(home, id)
    assert.equal(await far.began(id, 'make-disk'), 2)
    await assertBytes(home, 'disk', 'copy1', content)
  })

  await t.test(
    'the server killed in the middle: the worker goes on, and the next server attaches to its task',
    async () => {
      await home.run('host', 'set', 'attic', 'far', '--rate', '2MiB')
      const begun = await home.run<Begun>('disk', 'create', 'copy2', '-g', 'web', '--source', 'd1', '--no-wait')
      const id = begun.operation.split('/').at(-1)?.split('?')[0] ?? ''
      await until('the copy is on its way', async () => (await far.began(id, 'make-disk')) === 1)
      await home.killServe()
      await home.serve()
      await connected(home)
      await home.run('host', 'set', 'attic', 'far', '--rate', 'default')
      await succeeded(home, id)
      assert.equal(await far.began(id, 'make-disk'), 1, 'it was not begun again')
      await assertBytes(home, 'disk', 'copy2', content)
    },
  )

  await t.test('sent away once its disks are deleted: nothing is left there, and it is let in no more', async () => {
    const grown = await home.run<Resource>('disk', 'grow', 'd1', '-g', 'web', '--size', '2G')
    assert.equal(grown.properties['diskSizeBytes'], 2 * GIB)
    const args = ['disk', 'delete', '--yes', '--ids', ...(await ids(home))]
    const deleted = await run(home.folder, args, { env: home.env, passphrase: undefined })
    assert.equal(deleted.code, 0, deleted.stderr)
    assert.deepEqual(await readdir(join(far.home, 'disks', 'disks')), [])
    await rm(join(far.home, 'disks', 'disks'), { recursive: true })
    await home.run('pool', 'remove', 'attic', 'fast')
    await home.run('host', 'remove', 'attic', 'far')
    await until('it hears of it', async () => (await far.log()).includes('does not let this host in'), CONNECTED_MS_MAX)
    const gone = await home.fail('host', 'show', 'attic', 'far')
    assert.equal(gone.code, 'place_not_found')
    await home.run('stop', '--all')
  })
})

async function ids(home: ServedHome): Promise<string[]> {
  const disks = await home.run<(Resource & { id: string })[]>('disk', 'list', '-g', 'web')
  return disks.map(({ id }) => id)
}
