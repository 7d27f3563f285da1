/**
 * Saved machine states: a guest that booted once is resumed in a quarter of a second instead of booting in five.
 *
 * A state fits only the QEMU version and the command line that it was saved with, so its folder in the cache is named after
 * a hash of both (paths left out) and of the guest's image. It holds `state` and `os.qcow2`, the system disk of that moment,
 * which resumed guests use through overlays and never write. (A resumed guest has a file /run/saved.) Two tests that make the same state at once do the work twice;
 * the first to rename its folder into place wins. A crash leaves a folder `warm-*.tmp-*`, which nobody reads; it goes when the
 * next state is made. At most WARM_STATES_MAX are kept, the last used ones: a test may use one that was used within an hour.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { isObject } from '#engine/hypervisor'
import { checkCommand, systemClock } from '#runtime'
import { eventually } from './deadline.ts'
import { type GuestCommand, guestArguments } from './guest-command.ts'
import { RunningGuest } from './guest-process.ts'
import { CACHE_FOLDER, microImage } from './micro-image.ts'

export type WarmState = Readonly<{ stateFile: string; osDisk: string }>

const SAVE_MS_MAX = 60_000
/** Each has about 90 MiB. */
const WARM_STATES_MAX = 12
const IN_USE_MS = 60 * 60_000

async function keyOf(command: GuestCommand, sizesMib: readonly number[]): Promise<string> {
  const version = await checkCommand('qemu-system-x86_64', ['--version'])
  const shape = guestArguments({ ...command, name: 'x', forwards: [] }).map((argument) =>
    argument.replaceAll(command.paths.folder, '@'),
  )
  const hash = createHash('sha256')
  // The same inputs built twice give the same guest but not the same bytes: hence the time as well.
  const image = await microImage()
  const { mtimeMs } = await stat(image)
  hash.update(JSON.stringify([version.stdout.toString('utf8'), basename(image), mtimeMs, shape, sizesMib]))
  return hash.digest('hex').slice(0, 12)
}

/** Lets the next client of the socket fill the file; resolves when that client has closed. */
async function receiveInto(file: string, socketPath: string): Promise<{ done: Promise<void> }> {
  const server = createServer()
  server.listen(socketPath)
  await once(server, 'listening')
  const receive = async (): Promise<void> => {
    const connection = new Promise<Socket>((resolve) => server.once('connection', resolve))
    await pipeline(await connection, createWriteStream(file, { flags: 'wx' }))
    server.close()
  }
  return { done: receive() }
}

/** Saves the running guest's state into `file` and ends it. (The sandbox forbids QEMU to start a program for that.) */
async function save(guest: RunningGuest, file: string): Promise<void> {
  const socketPath = join(guest.paths.folder, 'state')
  const received = await receiveInto(file, socketPath)
  await guest.rig(async (qmp) => {
    await qmp.execute('stop')
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': 4 * 1024 ** 3 })
    await qmp.execute('migrate', { uri: `unix:${socketPath}` })
    await eventually('the saved state', SAVE_MS_MAX, async () => {
      const answer = await qmp.execute('query-migrate')
      const status = isObject(answer) ? answer['status'] : undefined
      if (status === 'failed') throw new Error(`Saving the state failed: ${JSON.stringify(answer)}`)
      return status === 'completed' ? true : undefined
    })
    await received.done
    await qmp.execute('quit')
  })
  await guest.waitExit()
}

/** Makes room for one more: leftovers of crashes go, and the states used longest ago. */
async function evict(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.startsWith('warm-'))
  const states = await Promise.all(
    names.map(async (name) => ({
      name,
      usedMs: (await stat(join(folder, name)).catch(() => undefined))?.mtimeMs ?? 0,
    })),
  )
  const idle = states.filter(({ usedMs }) => systemClock.nowMs() - usedMs > IN_USE_MS)
  const [broken, whole] = [
    idle.filter(({ name }) => name.includes('.tmp-')),
    idle.filter(({ name }) => !name.includes('.tmp-')),
  ]
  const kept = states.filter(({ name }) => !name.includes('.tmp-')).length
  const oldest = whole.toSorted((a, b) => a.usedMs - b.usedMs).slice(0, Math.max(0, kept - WARM_STATES_MAX + 1))
  for (const { name } of [...broken, ...oldest]) await rm(join(folder, name), { recursive: true, force: true })
}

/**
 * The saved state that fits `command`, made now (one cold boot) if there is none.
 * @param command a guest whose disk 0 is a fresh overlay and whose other disks, of `sizesMib`, are blank. Its folder is used
 *   for making the state, and can be used again: only disk 0 was written.
 */
export async function warmState(command: GuestCommand, sizesMib: readonly number[]): Promise<WarmState> {
  const folder = join(CACHE_FOLDER, 'guest', `warm-${await keyOf(command, sizesMib)}`)
  const found = { stateFile: join(folder, 'state'), osDisk: join(folder, 'os.qcow2') }
  if (existsSync(folder)) {
    const now = systemClock.nowMs() / 1000
    await utimes(folder, now, now)
    return found
  }
  await mkdir(join(CACHE_FOLDER, 'guest'), { recursive: true })
  await evict(join(CACHE_FOLDER, 'guest'))
  const making = await mkdtemp(`${folder}.tmp-`)
  const guest = await RunningGuest.launch(command)
  guest.keepFolder()
  try {
    await guest.waitReady()
    await guest.run('touch /run/saved; sync')
    await save(guest, join(making, 'state'))
    await copyFile(command.disks[0]?.path ?? '', join(making, 'os.qcow2'))
    await rename(making, folder)
  } catch (error) {
    await rm(making, { recursive: true, force: true })
    if (!existsSync(folder)) throw error
  } finally {
    await guest.destroy()
  }
  return found
}
