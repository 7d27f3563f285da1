/**
 * One running test guest: a QEMU process of ours, its sockets and its agent.
 *
 * The process is killed by its pid when the guest is destroyed and when the test process exits in any way but SIGKILL.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { open, readFile, rm } from 'node:fs/promises'
import { guestExec, QmpClient, shutDownGuest, withAgent } from '#engine/hypervisor'
import { systemClock } from '#runtime'
import { eventually } from './deadline.ts'
import { type GuestCommand, type GuestPaths, guestArguments } from './guest-command.ts'

export type LaunchOptions = Readonly<{
  /** A saved state to go on from. The guest is paused until `cont`. */
  incomingFile?: string
}>
export type GuestOutput = Readonly<{ exitCode: number; stdout: string; stderr: string }>

const READY_MS_MAX = 120_000
const EXEC_MS_DEFAULT = 60_000
const EXIT_MS_MAX = 60_000

const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

async function spawnQemu(command: GuestCommand, options: LaunchOptions): Promise<ChildProcess> {
  const log = await open(command.paths.log, 'w')
  const state = options.incomingFile === undefined ? undefined : await open(options.incomingFile, 'r')
  try {
    const incoming = state === undefined ? [] : ['-incoming', 'fd:3']
    const child = spawn('qemu-system-x86_64', [...guestArguments(command), ...incoming], {
      stdio: ['ignore', log.fd, log.fd, ...(state === undefined ? [] : [state.fd])],
    })
    alive.add(child)
    child.once('exit', () => alive.delete(child))
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    return child
  } finally {
    await log.close()
    await state?.close()
  }
}

export class RunningGuest {
  readonly name: string
  readonly paths: GuestPaths
  readonly command: GuestCommand
  /** Resolves when the process is gone, with its exit code (null: by a signal). */
  readonly exited: Promise<number | null>
  readonly #child: ChildProcess
  #removesFolder = true

  private constructor(command: GuestCommand, child: ChildProcess) {
    this.name = command.name
    this.command = command
    this.paths = command.paths
    this.#child = child
    this.exited = new Promise((resolve) => child.once('exit', (code) => resolve(code)))
  }

  /** Starts the process and waits until its rig monitor answers. @throws with QEMU's own words when it gives up. */
  static async launch(command: GuestCommand, options: LaunchOptions = {}): Promise<RunningGuest> {
    const guest = new RunningGuest(command, await spawnQemu(command, options))
    try {
      await guest.#whileRunning(
        'its monitor',
        guest.rig(() => Promise.resolve(true)),
      )
      return guest
    } catch (error) {
      await guest.kill9()
      throw error
    }
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Leaves the guest's folder in place when it is destroyed. */
  keepFolder(): void {
    this.#removesFolder = false
  }

  /** Waits for the guest agent's first answer: the guest has booted. */
  async waitReady(timeoutMs = READY_MS_MAX): Promise<void> {
    const options = { clock: systemClock, readyTimeoutMs: timeoutMs }
    await this.#whileRunning(
      'the agent',
      withAgent(this.paths.agent, options, () => Promise.resolve()),
    )
  }

  /** Talks QMP through the rig's own monitor. */
  async rig<T>(talk: (qmp: QmpClient) => Promise<T>): Promise<T> {
    const qmp = await eventually(`the monitor of ${this.name}`, 10_000, async () => {
      if (!this.isRunning) throw await this.#goneWhile('starting')
      // Until QEMU has made the socket there is nothing to connect to; any other fault shows at the deadline.
      return QmpClient.connect(this.paths.rigQmp, { clock: systemClock }).catch(() => undefined)
    })
    try {
      return await talk(qmp)
    } finally {
      await qmp.close()
    }
  }

  /** Runs a shell command in the guest. */
  async exec(command: string, timeoutMs = EXEC_MS_DEFAULT): Promise<GuestOutput> {
    const result = await withAgent(this.paths.agent, { clock: systemClock, readyTimeoutMs: timeoutMs }, (agent) =>
      guestExec(agent, systemClock, { path: '/bin/sh', args: ['-c', command], timeoutMs }),
    )
    return { exitCode: result.exitCode, stdout: result.stdout.toString('utf8'), stderr: result.stderr.toString('utf8') }
  }

  /** As `exec`, and its standard output. @throws when the command fails. */
  async run(command: string, timeoutMs?: number): Promise<string> {
    const { exitCode, stdout, stderr } = await this.exec(command, timeoutMs)
    if (exitCode === 0) return stdout
    throw new Error(`In guest ${this.name}, exit code ${exitCode} from: ${command}\n${stdout}${stderr}`)
  }

  /** Starts a command that goes on in the guest. */
  async start(command: string): Promise<void> {
    await this.run(`setsid sh -c '${command.replaceAll("'", String.raw`'\''`)}' < /dev/null > /dev/null 2>&1 &`)
  }

  /** Shuts the guest down through its agent and waits until the process has ended. */
  async shutdown(timeoutMs = EXIT_MS_MAX): Promise<void> {
    await withAgent(this.paths.agent, { clock: systemClock, readyTimeoutMs: 10_000 }, (agent) =>
      shutDownGuest(agent, 'powerdown'),
    )
    await this.waitExit(timeoutMs)
  }

  async waitExit(timeoutMs = EXIT_MS_MAX): Promise<void> {
    await eventually(`the end of ${this.name}`, timeoutMs, () => (this.isRunning ? undefined : true))
    await this.exited
  }

  /** Ends the process as a power cut would: nothing is flushed, no bitmap is stored. */
  async kill9(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exited
  }

  /** Kills what still runs and removes the guest's folder. Idempotent. */
  async destroy(): Promise<void> {
    await this.kill9()
    if (this.#removesFolder) await rm(this.paths.folder, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy()
  }

  async #whileRunning<T>(what: string, work: Promise<T>): Promise<T> {
    const gone = this.exited.then(async () => {
      throw await this.#goneWhile(`waiting for ${what}`)
    })
    gone.catch(() => {
      // Only raced against; who waits for `work` gets this error.
    })
    return Promise.race([work, gone])
  }

  async #goneWhile(when: string): Promise<Error> {
    const log = await readFile(this.paths.log, 'utf8').catch(() => '')
    return new Error(`QEMU of ${this.name} ended while ${when}: ${log.trim() || 'it said nothing'}`)
  }
}
