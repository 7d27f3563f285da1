/**
 * qemu-storage-daemon holds the locks of a stopped machine's images while they are read, so that starting the machine fails
 * ("Failed to get "write" lock") instead of changing bytes under the reader. It opens them read-only: killing it at any
 * moment harms nothing.
 *
 * qcow2 shares no writing while it is open. raw would, so a copy-before-write filter (which shares none either) sits on it;
 * it never copies, because nobody writes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { type Clock, errnoOf, must } from '#base'
import { type HostProcess, identityOf, isAlive } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { QmpClient } from '../qmp/client.ts'
import type { InstantHost } from './access.ts'
import type { Verdict } from './dismantle.ts'
import { removeFile } from './files.ts'
import type { StoppedImage, StoppedRecord } from './journal.ts'
import { settleImage } from './offline-image.ts'

const START_MS_MAX = 20_000
const END_MS_MAX = 5_000
const POLL_MS = 20
const ERROR_CHARACTERS_MAX = 4_000

function imageArguments(image: StoppedImage, sizeBytes: number): string[] {
  const node = `image${image.lun}`
  const file = { driver: 'file', filename: image.path }
  const args = ['--blockdev', JSON.stringify({ driver: image.format, 'node-name': node, 'read-only': true, file })]
  let exported = node
  if (image.format === 'raw') {
    exported = `lock${image.lun}`
    const target = { driver: 'null-co', size: sizeBytes }
    args.push('--blockdev', JSON.stringify({ driver: 'copy-before-write', 'node-name': exported, file: node, target }))
  }
  const { previous } = image.tracking
  const bitmaps = previous === undefined ? {} : { bitmaps: [{ node, name: previous }] }
  const one = { type: 'nbd', id: `export${image.lun}`, 'node-name': exported, name: image.exportName, ...bitmaps }
  return [...args, '--export', JSON.stringify(one)]
}

function startFailed(said: string): HypervisorError {
  if (/lock/.test(said)) {
    return new HypervisorError('disk_in_use', 'An image of the machine is in use by another program.', {
      facts: { said },
      retry: 'later',
      hint: 'The machine was started meanwhile: take the instant through its monitor.',
    })
  }
  return new HypervisorError('instant_failed', 'The storage daemon could not open the images of the machine.', {
    facts: { said },
  })
}

/** The daemon's exit as text of what it said; never rejects. */
function outcomeOf(child: ChildProcess): Promise<string> {
  let said = ''
  child.stderr?.on('data', (bytes: Buffer) => {
    said = (said + bytes.toString()).slice(-ERROR_CHARACTERS_MAX)
  })
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('close', () => resolve(said.trim()))
  })
}

/**
 * Starts the daemon over the images, on the record's socket, and waits until it serves them.
 * @throws `disk_in_use` when a lock is held by somebody else, `instant_failed`. No process is left then.
 */
export async function startStorageDaemon(
  host: Pick<InstantHost, 'clock' | 'processUser'>,
  record: StoppedRecord,
  sizesBytes: readonly number[],
): Promise<HostProcess> {
  const monitor = `${record.nbdSocketPath}.qmp`
  const args = ['--chardev', `socket,id=monitor,path=${monitor},server=on,wait=off`, '--monitor', 'chardev=monitor']
  args.push('--nbd-server', `addr.type=unix,addr.path=${record.nbdSocketPath}`)
  for (const [i, image] of record.images.entries()) args.push(...imageArguments(image, sizesBytes[i] ?? 0))
  const child = spawn('qemu-storage-daemon', args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
    ...host.processUser,
  })
  const outcome = outcomeOf(child)
  const ready = await Promise.race([outcome, listens(host.clock, monitor)])
  if (ready !== true) {
    child.kill('SIGKILL')
    await outcome
    await removeFile(monitor)
    throw startFailed(ready === false ? 'It did not answer in time.' : ready)
  }
  child.unref()
  await removeFile(monitor)
  return must(identityOf(must(child.pid, 'A started daemon has an id')), 'A daemon that answers is alive')
}

/** Its monitor answers only after all images are open and all exports are there. */
async function listens(clock: Clock, monitor: string): Promise<boolean> {
  const endMs = clock.monotonicMs() + START_MS_MAX
  while (clock.monotonicMs() < endMs) {
    try {
      const qmp = await QmpClient.connect(monitor, { clock })
      await qmp.execute('query-block-exports')
      await qmp.close()
      return true
    } catch (error) {
      if (!(error instanceof HypervisorError) || error.code !== 'qmp_unreachable') throw error
      await clock.sleep(POLL_MS)
    }
  }
  return false
}

async function signalUntilGone(clock: Clock, daemon: HostProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<boolean> {
  const endMs = clock.monotonicMs() + END_MS_MAX
  while (isAlive(daemon)) {
    if (clock.monotonicMs() > endMs) return false
    try {
      process.kill(daemon.pid, signal)
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH') throw error
    }
    await clock.sleep(POLL_MS)
  }
  return true
}

/** Ends the daemon, which gives the locks back. Idempotent. */
export async function stopStorageDaemon(clock: Clock, daemon: HostProcess | undefined): Promise<void> {
  if (daemon === undefined || (await signalUntilGone(clock, daemon, 'SIGTERM'))) return
  if (await signalUntilGone(clock, daemon, 'SIGKILL')) return
  throw new HypervisorError('instant_failed', 'The storage daemon does not end.', {
    facts: { pid: daemon.pid },
    retry: 'later',
  })
}

/** The daemon of an instant whose owner died before it wrote down which process that is: its command line names the socket. */
async function findDaemon(nbdSocketPath: string): Promise<HostProcess | undefined> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const words = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '') // it ended meanwhile: not the one
    if (!words.startsWith('qemu-storage-daemon\0') || !words.includes(`addr.path=${nbdSocketPath}\0`)) continue
    return identityOf(Number(name))
  }
  return undefined
}

/** Takes the instant of a stopped machine apart, as `dismantle` does that of a running one. Idempotent. */
export async function dismantleStopped(clock: Clock, record: StoppedRecord, verdict: Verdict): Promise<void> {
  await stopStorageDaemon(clock, record.daemon ?? (await findDaemon(record.nbdSocketPath)))
  await removeFile(record.nbdSocketPath)
  await removeFile(`${record.nbdSocketPath}.qmp`)
  if (verdict === 'undecided') return
  for (const image of record.images) await settleImage(image, verdict)
}
