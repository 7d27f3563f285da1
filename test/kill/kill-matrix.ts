/**
 * Acceptance: kill -9 of each of our processes at each step of an instant; within seconds the machine is well again
 * (subjects.ts says what that is), nothing of the instant is left, and what was under way completes or can be done again.
 *
 *   command          the process of a command, which takes the instant itself, without a server
 *   worker, serve,   a server's: the instant is a task of a durable job, which must succeed in the end
 *   watchdog
 *   storage daemon   QEMU's, which holds the images of a stopped machine
 *
 * Each cell stands still at the step, kills, and measures how long it takes. The matrix is printed at the end.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { errnoOf, must, toHex } from '#base'
import { Catalog } from '#catalog'
import { recordedWatchdog, type TrackingRequest } from '#engine/hypervisor'
import { EmbeddedEngine, type JobView } from '#jobs'
import { argumentsOf, identityOf, type ProcessIdentity, processState } from '#runtime'
import { silentLogger, systemClock, systemRandom } from '#runtime'
import type { OwnerRequest } from '../hypervisor/instant-owner.ts'
import { killHard, until } from '../jobs/processes.ts'
import type { CellRequest } from './kill-process.ts'
import type { Subject } from './subjects.ts'

export const VICTIMS = ['command', 'worker', 'serve', 'watchdog', 'storage daemon'] as const
export type Victim = (typeof VICTIMS)[number]

const OWNER = join(import.meta.dirname, '../hypervisor/instant-owner.ts')
const PROCESS = join(import.meta.dirname, 'kill-process.ts')
const WELL_MS_MAX = 20_000

function track(): TrackingRequest {
  return { tracker: 'a1b2c3d4', next: toHex(systemRandom.bytes(6)), committed: {}, granularityBytes: 65_536 }
}

/** Of a record that may be removed at any moment: then as if it were dismantled. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '"step":"dismantled"'
    throw error
  }
}

/** One home with its server, and one machine that all cells of a matrix use. */
class Scene {
  readonly #subject: Subject
  readonly #home: string
  readonly #catalog: Catalog
  readonly #engine: EmbeddedEngine
  readonly #others = new Map<number, ProcessIdentity>()
  #serve: ChildProcess | undefined
  #cells = 0

  private constructor(subject: Subject, home: string, catalog: Catalog) {
    this.#subject = subject
    this.#home = home
    this.#catalog = catalog
    const self = must(identityOf(), 'This process has an identity')
    const parts = { catalog, clock: systemClock, random: systemRandom, process: self, logger: silentLogger }
    this.#engine = new EmbeddedEngine(parts)
    this.#engine.define({ name: 'instant', version: 1, run: () => assert.fail('the test runs no job itself') })
  }

  static async make(makeSubject: () => Promise<Subject>): Promise<Scene> {
    const home = await mkdtemp(join(tmpdir(), 'hf-kill-'))
    return new Scene(await makeSubject(), home, await Catalog.open(join(home, 'catalog.sqlite'), systemClock))
  }

  /** Kills, and gives the milliseconds until the machine was well. */
  async run(victim: Victim, step: string): Promise<number> {
    this.#cells += 1
    const cellFolder = join(this.#home, `cell-${this.#cells}`)
    await mkdir(cellFolder)
    const tookMs =
      victim === 'command' ? await this.#killCommand(step) : await this.#killOther(victim, step, cellFolder)
    await until('nothing of the instant is left', () => this.#leftovers().length === 0)
    assert.ok(await this.#subject.isWell())
    return tookMs
  }

  /** Open instants on record; those whose bitmaps alone wait for the next backup do not count. */
  #leftovers(): string[] {
    const folders = [join(this.#home, 'instants', 'test'), join(this.#home, 'journal')].filter((one) => existsSync(one))
    const names = folders.flatMap((one) => readdirSync(one).map((name) => join(one, name)))
    const records = names.filter((name) => name.endsWith('.instant.json'))
    return records.filter((name) => !textOf(name).includes('"step":"dismantled"'))
  }

  #request(step: string, journalFolder: string): OwnerRequest {
    const { machine, folder, consistency, stopped } = this.#subject
    const host = {
      journalFolder,
      scratchFolder: join(folder, 'scratch'),
      runFolder: join(folder, 'run'),
      scratchFloorBytes: 0,
      watchdog: 'start',
    } as const
    const end = step === 'abort' ? 'abort' : 'commit'
    return { machine, host, consistency, stopped, tracking: track(), dieAt: step, end }
  }

  async #killCommand(step: string): Promise<number> {
    const request = { ...this.#request(step, join(this.#home, 'journal')), dieAt: `hang:${step}` }
    const owner = spawn(process.execPath, [OWNER, JSON.stringify(request)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const isStopped = (): boolean => / T /.test(readFileSync(`/proc/${owner.pid}/stat`, 'utf8').replace(/^.*\)/, ''))
    await until(`the command is at ${step}`, () => {
      assert.equal(owner.exitCode, null, `the command ended before ${step}`)
      return isStopped()
    })
    const gone = once(owner, 'exit')
    owner.kill('SIGKILL')
    await gone
    return this.#untilWell()
  }

  async #killOther(victim: Exclude<Victim, 'command'>, step: string, cellFolder: string): Promise<number> {
    await this.#ensureServe()
    const request: CellRequest = { ...this.#request(step, join(this.#home, 'instants', 'test')), cellFolder }
    const id = await this.#engine.start('instant', request)
    await until(`the worker is at ${step}`, () => existsSync(join(cellFolder, 'held')))
    await this.#kill(victim)
    // A worker that was killed is begun again only when the machine was seen to be well without it.
    if (victim !== 'worker') writeFileSync(join(cellFolder, 'go'), '')
    const tookMs = await this.#untilWell()
    if (victim === 'worker') writeFileSync(join(cellFolder, 'go'), '')
    await this.#ensureServe()
    const job = await until('the job ends', () => this.#endedJob(id))
    assert.equal(job.status, 'succeeded', JSON.stringify(job.error))
    return tookMs
  }

  async #endedJob(id: string): Promise<JobView | undefined> {
    const job = await this.#engine.get(id)
    return job?.finishedMs === undefined ? undefined : job
  }

  async #untilWell(): Promise<number> {
    const beganMs = systemClock.monotonicMs()
    await until('the machine is well', () => this.#subject.isWell())
    const tookMs = systemClock.monotonicMs() - beganMs
    assert.ok(tookMs < WELL_MS_MAX, `It took ${tookMs} ms`)
    return tookMs
  }

  async #kill(victim: Exclude<Victim, 'command'>): Promise<void> {
    if (victim === 'serve') return killHard(must(this.#serve, 'It serves'))
    const pid = victim === 'storage daemon' ? this.#daemonPid() : must(this.#note(victim), `There is a ${victim}`).pid
    process.kill(pid, 'SIGKILL')
  }

  /** The storage daemon over this machine's images. */
  #daemonPid(): number {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
    const isIt = (pid: string): boolean => {
      const words = argumentsOf(Number(pid))
      return words[0] === 'qemu-storage-daemon' && words.some((word) => word.includes(this.#subject.folder))
    }
    return Number(must(pids.find(isIt), 'There is a storage daemon'))
  }

  #note(name: 'worker' | 'watchdog'): ProcessIdentity | undefined {
    const path = join(this.#home, 'run', `${name}.json`)
    if (!existsSync(path)) return undefined
    const found = JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity
    this.#others.set(found.pid, found)
    return found
  }

  async #ensureServe(): Promise<void> {
    if (this.#serve?.exitCode === null && this.#serve.signalCode === null) return
    const child = spawn(process.execPath, [PROCESS, 'serve', this.#home], { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#serve = child
    let said = ''
    child.stdout.on('data', (data: Buffer) => (said += data.toString()))
    await until('the server is ready', () => said.includes('Holdfast is ready'))
  }

  async end(): Promise<void> {
    if (this.#serve !== undefined) await killHard(this.#serve)
    for (const name of ['worker', 'watchdog'] as const) this.#note(name)
    for (const one of this.#others.values()) if (processState(one) === 'alive') process.kill(one.pid, 'SIGKILL')
    for (const folder of [join(this.#home, 'journal'), join(this.#home, 'instants')]) {
      const watchdog = existsSync(folder) ? await recordedWatchdog(folder) : undefined
      if (watchdog !== undefined) process.kill(watchdog.pid, 'SIGKILL')
    }
    await this.#subject.end()
    await this.#catalog.close()
    await rm(this.#home, { recursive: true, force: true, maxRetries: 5 })
  }
}

export type Matrix = Readonly<{
  what: string
  subject: () => Promise<Subject>
  steps: readonly string[]
  victims: readonly Victim[]
  /** Steps at which a victim is not there to be killed. */
  absent?: Readonly<Partial<Record<Victim, readonly string[]>>>
}>

function print(t: TestContext, { what, steps, victims }: Matrix, cells: ReadonlyMap<string, string>): void {
  const width = 16
  const row = (words: readonly string[]): string => `| ${words.map((word) => word.padEnd(width)).join('')}`
  t.diagnostic(`| ${what}: ms from kill -9 until the machine was well`)
  t.diagnostic(row(['step', ...victims]))
  for (const step of steps) {
    t.diagnostic(row([step, ...victims.map((victim) => cells.get(`${victim} ${step}`) ?? 'FAILED')]))
  }
}

export function killMatrix(matrix: Matrix): void {
  test(`${matrix.what} survives kill -9 of each process at each step of an instant`, async (t) => {
    const scene = await Scene.make(matrix.subject)
    const cells = new Map<string, string>()
    try {
      for (const step of matrix.steps) {
        for (const victim of matrix.victims) {
          if (matrix.absent?.[victim]?.includes(step) === true) {
            cells.set(`${victim} ${step}`, '-')
            continue
          }
          await t.test(`${victim} at ${step}`, async () => {
            cells.set(`${victim} ${step}`, (await scene.run(victim, step)).toFixed(0))
          })
        }
      }
    } finally {
      print(t, matrix, cells)
      await scene.end()
    }
  })
}
