/** The processes of one home when they die: serve, its worker, both. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { must, PROGRAM_VERSION } from '#base'
import { Catalog } from '#catalog'
import { beatingWatchdog } from '#engine/hypervisor'
import { EmbeddedEngine, type JobView } from '#jobs'
import {
  identityOf,
  type ProcessIdentity,
  processState,
  RpcClient,
  silentLogger,
  systemClock,
  systemRandom,
} from '#runtime'
import { type Health, type SupervisedState, WorkerClient } from '#server'
import { killHard, until } from './processes.ts'

let home = ''
let catalog: Catalog
let engine: EmbeddedEngine
let serves: ChildProcess[] = []
const workers = new Map<number, ProcessIdentity>()

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'hf-serve-'))
  catalog = await Catalog.open(join(home, 'catalog.sqlite'), systemClock)
  const process = must(identityOf(), 'This process has an identity')
  engine = new EmbeddedEngine({ catalog, clock: systemClock, random: systemRandom, process, logger: silentLogger })
  engine.define({ name: 'backup', version: 1, run: () => assert.fail('the test runs no job itself') })
})
afterEach(async () => {
  for (const child of serves) await killHard(child)
  serves = []
  noteWorker()
  for (const worker of workers.values()) if (processState(worker) === 'alive') process.kill(worker.pid, 'SIGKILL')
  for (const worker of workers.values()) await until('the worker is gone', () => processState(worker) === 'dead')
  workers.clear()
  await catalog.close()
  await rm(home, { recursive: true })
})

/** The process that is on record, remembered so that it is ended with the test. */
function noteProcess(name: 'worker' | 'watchdog'): ProcessIdentity | undefined {
  const path = join(home, 'run', `${name}.json`)
  if (!existsSync(path)) return undefined
  const noted = JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity
  workers.set(noted.pid, noted)
  return noted
}

function noteWorker(): ProcessIdentity | undefined {
  noteProcess('watchdog')
  return noteProcess('worker')
}

type Output = { out: string; err: string }

function startServe(): Readonly<{ child: ChildProcess; output: Output }> {
  const path = new URL('./serve-process.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [path, 'serve', home], { stdio: ['ignore', 'pipe', 'pipe'] })
  serves.push(child)
  const output: Output = { out: '', err: '' }
  child.stdout.on('data', (data: Buffer) => (output.out += data.toString()))
  child.stderr.on('data', (data: Buffer) => (output.err += data.toString()))
  return { child, output }
}

async function ready(): Promise<ChildProcess> {
  const { child, output } = startServe()
  await until(`serve is ready; it said: ${output.err}`, () => output.out.includes('Holdfast is ready'))
  noteWorker()
  return child
}

function taskLog(): string[] {
  const path = join(home, 'task.log')
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
}

const letGo = (): void => writeFileSync(join(home, 'go'), '')
const begins = (): string[] => taskLog().filter((line) => line.startsWith('began'))

async function startBackup(): Promise<string> {
  const id = await engine.start('backup', { machine: 'db-1' })
  await until('the task begins', () => begins().length === 1)
  return id
}

function ended(id: string): Promise<JobView> {
  return until(`job ${id} ends`, async () => {
    const job = await engine.get(id)
    return job?.finishedMs === undefined ? undefined : job
  })
}

const workerOf = (): ProcessIdentity => must(noteWorker(), 'There is a worker on record')

test('kill -9 serve: the worker’s task goes on, a new serve attaches to it and completes the job', async () => {
  const first = await ready()
  const id = await startBackup()
  const worker = workerOf()
  await killHard(first)
  assert.equal(processState(worker), 'alive')
  await ready()
  await until('the new serve owns the job', async () => ((await engine.get(id))?.epoch ?? 0) >= 2)
  await until('the step is attended to again', async () => (await engine.steps(id))[0]?.attempts === 2)
  letGo()
  const job = await ended(id)
  assert.equal(job.status, 'succeeded')
  const { pid, input } = job.output as { pid: number; input: unknown }
  assert.deepEqual([pid, input], [worker.pid, { machine: 'db-1' }])
  assert.deepEqual(taskLog(), [`began ${worker.pid}`, `ended ${worker.pid}`])
  assert.equal(workerOf().pid, worker.pid)
  const client = new WorkerClient({ kind: 'unix', path: join(home, 'run', 'worker.sock') }, silentLogger)
  await until('the result is acknowledged', async () => (await client.list()).length === 0)
})

test('kill -9 serve, and the task ends meanwhile: the next serve takes its result and does not run it again', async () => {
  const first = await ready()
  const id = await startBackup()
  await killHard(first)
  letGo()
  await until('the task ends', () => taskLog().length === 2)
  await ready()
  assert.equal((await ended(id)).status, 'succeeded')
  assert.equal(begins().length, 1)
})

test('kill -9 the worker: serve starts another, and the step is run again', async () => {
  await ready()
  const id = await startBackup()
  const worker = workerOf()
  process.kill(worker.pid, 'SIGKILL')
  await until('the task begins again', () => begins().length === 2)
  letGo()
  const job = await ended(id)
  const second = workerOf()
  assert.notEqual(second.pid, worker.pid)
  assert.equal((job.output as { pid: number }).pid, second.pid)
  assert.ok(((await engine.steps(id))[0]?.attempts ?? 0) >= 2)
})

test('kill -9 both: the next serve starts a worker and completes the job', async () => {
  const first = await ready()
  const id = await startBackup()
  await killHard(first)
  process.kill(workerOf().pid, 'SIGKILL')
  await ready()
  await until('the task begins again', () => begins().length === 2)
  letGo()
  assert.equal((await ended(id)).status, 'succeeded')
})

test('SIGTERM: serve ends at once and well; the job goes back to its queue, the worker on with its task', async () => {
  const first = await ready()
  const id = await startBackup()
  const gone = once(first, 'exit')
  first.kill('SIGTERM')
  assert.deepEqual(await gone, [0, null])
  assert.equal((await engine.get(id))?.status, 'queued')
  assert.equal(processState(workerOf()), 'alive')
  letGo()
  await ready()
  assert.equal((await ended(id)).status, 'succeeded')
  assert.equal(begins().length, 1)
})

test('a cancelled job stops its task', async () => {
  await ready()
  const id = await startBackup()
  await until('progress is recorded', async () => (await engine.get(id))?.progress?.doneBytes === 512)
  await engine.cancel(id, 'wrong machine')
  assert.equal((await ended(id)).status, 'cancelled')
  assert.deepEqual(taskLog(), [`began ${workerOf().pid}`, `stopped ${workerOf().pid}`])
})

test('a worker that is asked to retire ends its task first, and serve starts the next one', async () => {
  await ready()
  const id = await startBackup()
  const worker = workerOf()
  const client = new WorkerClient({ kind: 'unix', path: join(home, 'run', 'worker.sock') }, silentLogger)
  await client.retire()
  assert.equal(processState(worker), 'alive')
  letGo()
  assert.equal((await ended(id)).status, 'succeeded')
  const next = await until('another worker is there', () => {
    const now = workerOf()
    return now.pid !== worker.pid && processState(worker) === 'dead' ? now : undefined
  })
  assert.equal(processState(next), 'alive')
  assert.equal(begins().length, 1)
})

/** What the running serve says of itself. */
async function healthOf(): Promise<Health> {
  const client = await RpcClient.open({ kind: 'unix', path: join(home, 'run', 'serve.sock') }, 'test', PROGRAM_VERSION)
  try {
    return (await client.call('health', null)) as Health
  } finally {
    client.close()
  }
}

async function stateOf(name: 'worker' | 'watchdog'): Promise<SupervisedState> {
  noteWorker()
  const { processes } = await healthOf()
  return must(
    processes.find((one) => one.name === name),
    `There is a ${name}`,
  )
}

test('a worker that hangs is ended while the watchdog is well; another does its task, and the health says why', async () => {
  await ready()
  const id = await startBackup()
  const worker = workerOf()
  process.kill(worker.pid, 'SIGSTOP')
  await until('the task begins again', () => begins().length === 2)
  letGo()
  assert.equal((await ended(id)).status, 'succeeded')
  const state = await until('the new one is well', async () => {
    const state = await stateOf('worker')
    return state.health === 'well' && state
  })
  assert.equal(processState(worker), 'dead')
  assert.notEqual(state.identity?.pid, worker.pid)
  assert.match(state.lastRestart?.reason ?? '', /did not answer 3 times/)
})

test('a watchdog that hangs or dies is replaced', async () => {
  await ready()
  for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
    const first = await until('it is well', async () => {
      const state = await stateOf('watchdog')
      return state.health === 'well' && state
    })
    const identity = must(first.identity, 'It runs')
    process.kill(identity.pid, signal)
    const second = await until('another one is well', async () => {
      const state = await stateOf('watchdog')
      return state.starts > first.starts && state.health === 'well' && state
    })
    assert.notEqual(second.identity?.pid, identity.pid)
    await until('the old one is gone', () => processState(identity) === 'dead')
    assert.match(second.lastRestart?.reason ?? '', signal === 'SIGSTOP' ? /did not answer/ : /SIGKILL|it died/)
    assert.deepEqual((await beatingWatchdog(systemClock, join(home, 'instants')))?.pid, second.identity?.pid)
  }
})

test('a worker of another version ends its task and makes way; a job that came meanwhile waits for the next one', async () => {
  writeFileSync(join(home, 'version'), '0.0.9')
  const path = new URL('./serve-process.ts', import.meta.url).pathname
  const old = spawn(process.execPath, [path, 'worker', home], { stdio: 'ignore' })
  serves.push(old)
  const address = { kind: 'unix', path: join(home, 'run', 'worker.sock') } as const
  const client = await until('the old worker answers', () =>
    existsSync(address.path) ? RpcClient.open(address, 'test', PROGRAM_VERSION).catch(() => undefined) : undefined,
  )
  const key = { job: 'earlier', step: 'copy', epoch: 1 }
  const earlier = client.call('task.run', { key, task: 'hold', input: null })
  await until('its task begins', () => begins().length === 1)
  rmSync(join(home, 'version'))
  await ready()
  await until('it is asked to make way', async () => (await stateOf('worker')).retiring)
  assert.equal((await stateOf('worker')).version, '0.0.9')
  const id = await engine.start('backup', { machine: 'db-1' })
  await until('the job runs', async () => (await engine.get(id))?.status === 'running')
  assert.equal(begins().length, 1, 'the old worker takes no new task')
  letGo()
  assert.equal(((await earlier) as { pid: number }).pid, old.pid, 'the task of the old one was not disturbed')
  client.close()
  const job = await ended(id)
  assert.equal(job.status, 'succeeded')
  const state = await stateOf('worker')
  assert.equal((job.output as { pid: number }).pid, state.identity?.pid)
  assert.deepEqual([state.version, state.lastRestart?.reason], [PROGRAM_VERSION, 'it made way when its work was done'])
})

test('a second serve of one home refuses by name; health is answered on a socket of mode 0600', async () => {
  const first = await ready()
  const { child, output } = startServe()
  const [code] = (await once(child, 'exit')) as [number]
  assert.notEqual(code, 0)
  assert.match(output.err, /Another Holdfast serves the home/)
  for (const name of ['serve.sock', 'worker.sock']) assert.equal(statSync(join(home, 'run', name)).mode & 0o777, 0o600)
  const health = await healthOf()
  assert.equal(health.pid, first.pid)
  assert.deepEqual(
    health.processes.map(({ name, alive }) => [name, alive]),
    [
      ['watchdog', true],
      ['worker', true],
    ],
  )
})
