/**
 * Hydration of a disk that no machine runs on: a storage daemon opens the overlay, which holds QEMU's lock on it, and block-stream
 * moves in what still lies below. It may be ended at any moment: what was moved is in the overlay, and the next one moves the rest.
 *
 * The job is never let finish: once all data has moved the daemon ends, which flushes it, and only then the header is written that
 * says that nothing lies below (hydration.ts tells why).
 *
 * The daemon ends by itself when the thread that started it dies.
 */
import { spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { type Clock, GIB, isHoldfastError, messageOf } from '#base'
import { checkCommand } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { QmpClient } from '../qmp/client.ts'
import { isObject } from '../qmp/shape.ts'

const NODE = 'disk0'
const JOB = 'hydrate'
const ADDRESS_SPACE_BYTES_MAX = 8 * GIB
const START_MS_MAX = 20_000
const POLL_MS = 100
const STDERR_CHARS_MAX = 4_000

export type OfflineHydration = Readonly<{
  path: string
  /** Short, and nobody else's: the daemon's monitor. */
  monitorPath: string
  clock: Clock
  signal: AbortSignal
  progress: (doneBytes: number, totalBytes: number) => void
}>

class Daemon {
  readonly ended: Promise<number | null>
  readonly #child
  #hasEnded = false
  #said = ''

  constructor({ path, monitorPath }: OfflineHydration) {
    const file = { driver: 'file', filename: path }
    const node = { driver: 'qcow2', 'node-name': NODE, 'read-only': false, discard: 'unmap', file }
    const args = [
      `--as=${ADDRESS_SPACE_BYTES_MAX}`,
      'setpriv',
      '--pdeathsig',
      'TERM',
      'qemu-storage-daemon',
      '--blockdev',
      JSON.stringify(node),
      '--chardev',
      `socket,id=monitor,path=${monitorPath},server=on,wait=off`,
      '--monitor',
      'chardev=monitor',
    ]
    this.#child = spawn('prlimit', args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, LC_ALL: 'C' } })
    this.#child.stderr.on('data', (data: Buffer) => {
      this.#said = (this.#said + data.toString('utf8')).slice(-STDERR_CHARS_MAX)
    })
    this.ended = new Promise((resolve) => {
      const over = (code: number | null): void => {
        this.#hasEnded = true
        resolve(code)
      }
      this.#child.once('error', (error) => {
        this.#said += messageOf(error)
        over(-1)
      })
      this.#child.once('close', over)
    })
  }

  /** @throws HypervisorError `disk_in_use`, `instant_failed` */
  async monitor({ monitorPath, clock, path }: OfflineHydration): Promise<QmpClient> {
    const endMs = clock.monotonicMs() + START_MS_MAX
    for (;;) {
      if (this.#hasEnded) throw this.#failure(path)
      try {
        return await QmpClient.connect(monitorPath, { clock })
      } catch (error) {
        if (!isHoldfastError(error, 'qmp_unreachable') || clock.monotonicMs() > endMs) throw error
        await clock.sleep(POLL_MS / 5)
      }
    }
  }

  stop(): Promise<number | null> {
    this.#child.kill('SIGTERM')
    return this.ended
  }

  #failure(path: string): HypervisorError {
    const facts = { path, said: this.#said.trim() }
    if (/lock/.test(this.#said))
      return new HypervisorError('disk_in_use', `${path} is in use by another program.`, { facts, retry: 'later' })
    return new HypervisorError('instant_failed', `The storage daemon could not open ${path}.`, {
      facts,
      retry: 'later',
    })
  }
}

/**
 * Resolves when the job has ended, however, or the signal aborted: whether the disk is its own now stands in its header.
 * @throws HypervisorError `disk_in_use` when a machine has it, `instant_failed`
 */
export async function hydrateOffline(given: OfflineHydration): Promise<void> {
  const { clock, signal, progress, monitorPath } = given
  await rm(monitorPath, { force: true })
  const daemon = new Daemon(given)
  let isMoved = false
  try {
    const qmp = await daemon.monitor(given)
    try {
      await qmp.execute('block-stream', { 'job-id': JOB, device: NODE, 'on-error': 'report', 'auto-finalize': false })
      while (!signal.aborted) {
        const jobs = await qmp.execute('query-block-jobs')
        const job = Array.isArray(jobs) ? jobs.find((one) => isObject(one) && one['device'] === JOB) : undefined
        if (!isObject(job)) return
        if (job['status'] === 'pending') {
          isMoved = true
          return
        }
        progress(Number(job['offset']), Number(job['len']))
        await clock.sleep(POLL_MS)
      }
    } finally {
      await qmp.close()
    }
  } finally {
    const exitCode = await daemon.stop()
    await rm(monitorPath, { force: true })
    // One that did not leave in order has perhaps not flushed: the next one moves the rest.
    if (isMoved && exitCode === 0) await sayThatItRestsOnNothing(given.path)
  }
}

/** Nothing is lost when somebody has the disk by now, to start it or to read it: the next one finds nothing left to move. */
async function sayThatItRestsOnNothing(path: string): Promise<void> {
  try {
    await checkCommand('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-b', '', path])
  } catch (cause) {
    if (!isHoldfastError(cause, 'command_failed')) throw cause
    throw new HypervisorError('disk_in_use', `The header of ${path} could not be written: ${cause.message}`, {
      facts: { path },
      retry: 'later',
      cause,
    })
  }
}
