/**
 * Serves one image over NBD with qemu-storage-daemon (a VHD with qemu-nbd), for images that cannot be read or written in
 * place. The daemon holds QEMU's image locks, so a machine cannot start on the image meanwhile.
 *
 * Its socket lies in a private folder. It ends with close(), and by itself (SIGTERM) when the thread that started it dies.
 * close() of a writable one resolves only when the daemon has flushed the image and left with exit code 0. How one ends that
 * was only read from tells nothing about what was read, so it is not asked for.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { type Clock, GIB, messageOf } from '#base'
import { systemClock } from '#runtime'
import { BlockError } from '../errors.ts'
import { type NbdClient, openNbd } from '../nbd/client.ts'
import { blockdevOf, type OpenableImage, qemuImgError } from './qemu-img.ts'

const EXPORT_NAME = 'disk'
const CONNECTIONS_MAX = 32
const ADDRESS_SPACE_BYTES_MAX = 8 * GIB
const START_TIMEOUT_MS = 15_000
const STOP_TIMEOUT_MS = 120_000
const POLL_MS = 10
const STDERR_CHARS_MAX = 64 * 1024

/** `connections` is how many the connected client uses. */
export type StorageDaemonOptions = Readonly<{
  clock?: Clock
  writable?: boolean
  connections?: number
  signal?: AbortSignal
}>

/** Where the image is served; `client` is connected already and is closed by close(). */
export type ServedImage = Readonly<{
  socketPath: string
  exportName: string
  client: NbdClient
  close: () => Promise<void>
}>

/** @throws BlockError image_in_use, image_invalid, nbd_timed_out, … */
export async function serveImage(image: OpenableImage, options: StorageDaemonOptions = {}): Promise<ServedImage> {
  const clock = options.clock ?? systemClock
  const folder = await mkdtemp(join(tmpdir(), 'hf-'))
  const socketPath = join(folder, 'nbd')
  const daemon = new Daemon(image, socketPath, options.writable === true)
  try {
    const client = await daemon.connect(clock, options)
    const close = async (): Promise<void> => {
      try {
        await client.close()
        await daemon.stop(clock)
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    }
    return { socketPath, exportName: EXPORT_NAME, client, close }
  } catch (error) {
    await daemon.kill()
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

class Daemon {
  readonly #image: OpenableImage
  readonly #socketPath: string
  readonly #writable: boolean
  readonly #child: ChildProcessByStdio<null, null, Readable>
  readonly #exited: Promise<number | null>
  #hasExited = false
  #stderr = ''

  constructor(image: OpenableImage, socketPath: string, writable: boolean) {
    this.#image = image
    this.#socketPath = socketPath
    this.#writable = writable
    const args = [`--as=${ADDRESS_SPACE_BYTES_MAX}`, 'setpriv', '--pdeathsig', 'TERM']
    args.push(...(image.format === 'vpc' ? vhdServer(image, socketPath) : imageServer(image, socketPath, writable)))
    this.#child = spawn('prlimit', args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, LC_ALL: 'C' } })
    this.#child.stderr.on('data', (data: Buffer) => {
      if (this.#stderr.length < STDERR_CHARS_MAX) this.#stderr += data.toString('utf8')
    })
    this.#exited = new Promise((resolve) => {
      const ended = (code: number | null): void => {
        this.#hasExited = true
        resolve(code)
      }
      this.#child.once('error', (error) => {
        this.#stderr += messageOf(error)
        ended(-1)
      })
      this.#child.once('close', ended)
    })
  }

  /** Connects as soon as the daemon listens. */
  async connect(clock: Clock, options: StorageDaemonOptions): Promise<NbdClient> {
    const startMs = clock.monotonicMs()
    const address = { socketPath: this.#socketPath, exportName: EXPORT_NAME, clock }
    const { connections, signal } = options
    for (;;) {
      if (this.#hasExited) throw qemuImgError(this.#image.path, this.#stderr)
      try {
        return await openNbd({ ...address, ...(connections && { connections }), ...(signal && { signal }) })
      } catch (error) {
        const notYet = error instanceof BlockError && error.code === 'nbd_unreachable'
        if (!notYet || clock.monotonicMs() - startMs > START_TIMEOUT_MS) throw error
      }
      await clock.sleep(POLL_MS, signal)
    }
  }

  /** Asks the daemon to flush and leave. @throws BlockError block_io_error when a writable one did not do so in order. */
  async stop(clock: Clock): Promise<void> {
    this.#child.kill('SIGTERM')
    const patience = new AbortController()
    const tooLate = clock.sleep(STOP_TIMEOUT_MS, patience.signal).then(
      () => 'late' as const,
      () => 'late' as const,
    )
    const code = await Promise.race([this.#exited, tooLate])
    patience.abort()
    if (code === 0) return
    await this.kill()
    if (!this.#writable) return
    const how = code === 'late' ? 'did not end' : `ended with ${code ?? this.#child.signalCode}`
    throw new BlockError(
      'block_io_error',
      `The storage daemon of ${this.#image.path} ${how}: it may not have flushed.`,
      {
        facts: { path: this.#image.path, exitCode: code, said: this.#stderr.slice(-1000) },
      },
    )
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }
}

function imageServer(image: OpenableImage, socketPath: string, writable: boolean): string[] {
  const node = { ...alone(blockdevOf(image)), 'node-name': 'disk0', 'read-only': !writable, discard: 'unmap' }
  const nbdExport = { type: 'nbd', id: 'e0', 'node-name': 'disk0', name: EXPORT_NAME, writable }
  const listen = { addr: { type: 'unix', path: socketPath }, 'max-connections': CONNECTIONS_MAX }
  const blockdev = ['--blockdev', JSON.stringify(node), '--nbd-server', optionText(listen)]
  return ['qemu-storage-daemon', ...blockdev, '--export', JSON.stringify(nbdExport)]
}

/**
 * A VHD that is not flat is only read, and by qemu-nbd: which size it has depends on an option that the storage daemon does
 * not take (`force_size_calc`). Without it QEMU believes the geometry of VHDs that Virtual PC and VirtualBox made, which may
 * be less than they hold.
 */
function vhdServer(image: OpenableImage, socketPath: string): string[] {
  const quoted = (text: string): string => text.replaceAll(',', ',,')
  const options = `driver=vpc,force_size_calc=current_size,file.driver=file,file.filename=${quoted(image.path)}`
  const shared = ['--read-only', '--persistent', `--shared=${CONNECTIONS_MAX}`, `--socket=${socketPath}`]
  return ['qemu-nbd', ...shared, `--export-name=${EXPORT_NAME}`, '--image-opts', options]
}

/**
 * A raw node hands the permissions of those above it down as they are, and an export lets others write, so QEMU would read
 * a raw image under a running machine, and two would write one, without a word. blkdebug, which does nothing else here,
 * refuses other writers (`image_in_use`).
 */
function alone(node: Record<string, unknown>): Record<string, unknown> {
  if (node['driver'] !== 'raw') return node
  return { ...node, file: { driver: 'blkdebug', 'unshare-child-perms': ['write', 'resize'], image: node['file'] } }
}

/** --nbd-server takes no JSON, so the path's commas are doubled as QEMU's option syntax wants it. */
function optionText(listen: Readonly<{ addr: { type: string; path: string }; 'max-connections': number }>): string {
  const path = listen.addr.path.replaceAll(',', ',,')
  return `addr.type=${listen.addr.type},addr.path=${path},max-connections=${listen['max-connections']}`
}
