/**
 * A home with its server, worked by the command line as a user would. Everything lies in one folder; the server, its worker
 * and the watchdogs are ended with it, by the ids that they have on record.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { must } from '#base'
import { recordedWatchdog } from '#engine/hypervisor'
import { type ProcessIdentity, processState } from '#runtime'
import type { FaceRecord, Health } from '#server'
import { runFailing, runJson } from '../cli/command-line.ts'
import { killHard, until } from '../jobs/processes.ts'

/** A first start makes keys and certificates, and the machine may be busy. */
const READY_MS_MAX = 120_000
const PROGRAM = resolve(import.meta.dirname, '../../bin/holdfast')

export class ServedHome {
  readonly folder: string
  readonly #through: readonly string[]
  readonly #workers: ProcessIdentity[] = []
  #serve: ChildProcess | undefined

  private constructor(folder: string, through: readonly string[]) {
    this.folder = folder
    this.#through = through
  }

  /** @param through words before the server's own, which become it by exec */
  static async make(through: readonly string[] = []): Promise<ServedHome> {
    const made = new ServedHome(await mkdtemp(join(tmpdir(), 'hfs-')), through)
    await mkdir(join(made.folder, 'tmp'))
    await writeFile(join(made.folder, 'pass'), 'correct horse\n', { mode: 0o600 })
    return made
  }

  get home(): string {
    return join(this.folder, 'home')
  }

  get env(): Record<string, string> {
    const { folder, home } = this
    const pass = join(folder, 'pass')
    return { HOLDFAST_HOME: home, HOLDFAST_PASSPHRASE_FILE: pass, TMPDIR: join(folder, 'tmp') }
  }

  run<T>(...args: string[]): Promise<T> {
    return runJson<T>(this.folder, args, { env: this.env, passphrase: undefined })
  }

  fail(...args: string[]): ReturnType<typeof runFailing> {
    return runFailing(this.folder, args, { env: this.env, passphrase: undefined })
  }

  /** Starts a server and waits until it says that it is ready. */
  async serve(): Promise<void> {
    const env = { PATH: process.env['PATH'], HOME: this.folder, ...this.env }
    const [program, ...args] = [...this.#through, PROGRAM, 'serve', '--port', '0']
    const child = spawn(program, args, { cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'], env })
    this.#serve = child
    let said = ''
    let complained = ''
    child.stdout.on('data', (data: Buffer) => (said += data.toString()))
    child.stderr.on('data', (data: Buffer) => (complained += data.toString()))
    const isReady = (): boolean => {
      if (child.exitCode !== null) throw new Error(`The server ended: ${complained}`)
      return said.includes('Holdfast is ready')
    }
    await until('the server is ready', isReady, READY_MS_MAX)
    await this.worker()
  }

  /** Where the Azure face of the running server is, and who may log in. */
  async face(): Promise<FaceRecord> {
    return JSON.parse(await readFile(join(this.home, 'run', 'face.json'), 'utf8')) as FaceRecord
  }

  async killServe(): Promise<void> {
    await killHard(must(this.#serve, 'A server was started'))
  }

  async worker(): Promise<ProcessIdentity> {
    const { processes } = await this.run<Health>('status')
    const { identity } = must(
      processes.find(({ name }) => name === 'worker'),
      'A server has a worker',
    )
    return this.#note(must(identity, 'It was started'))
  }

  #note(worker: ProcessIdentity): ProcessIdentity {
    this.#workers.push(worker)
    return worker
  }

  async journals(): Promise<string[]> {
    const folder = join(this.home, 'instants')
    if (!existsSync(folder)) return []
    const entries = await readdir(folder, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
  }

  /** The steps at which the instants on record are. */
  async instants(): Promise<string[]> {
    const steps: string[] = []
    for (const journal of await this.journals()) {
      for (const name of await readdir(journal)) {
        if (!name.endsWith('.instant.json')) continue
        const text = readFileSync(join(journal, name), 'utf8')
        steps.push((JSON.parse(text) as { step: string }).step)
      }
    }
    return steps
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#serve !== undefined) await killHard(this.#serve)
    for (const name of ['worker', 'watchdog']) {
      const record = join(this.home, 'run', `${name}.json`)
      if (existsSync(record)) this.#note(JSON.parse(readFileSync(record, 'utf8')) as ProcessIdentity)
    }
    for (const worker of this.#workers) if (processState(worker) === 'alive') process.kill(worker.pid, 'SIGKILL')
    for (const worker of this.#workers) await until('the worker is gone', () => processState(worker) === 'dead')
    for (const journal of await this.journals()) {
      const watchdog = await recordedWatchdog(journal)
      if (watchdog !== undefined) process.kill(watchdog.pid, 'SIGKILL')
    }
    await rm(this.folder, { recursive: true, force: true })
  }
}
