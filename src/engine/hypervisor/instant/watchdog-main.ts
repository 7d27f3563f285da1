/**
 * The watchdog's process: `node watchdog-main.ts journal|all FOLDER [IDLE_MS]`. Of one journal, it leaves after IDLE_MS
 * without an instant; of all journals in a folder, when besides the process is gone that `keeper.json` names.
 *
 * It beats as long as its looks come to an end: each has its deadlines, so one of LOOK_MS_MAX hangs.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, must } from '#base'
import { createRotatingFile, type HostProcess, identityOf, makeFolderDurable, systemClock } from '#runtime'
import { LOOK_EVERY_MS, Watchdog, type WatchdogReport } from './watchdog.ts'
import {
  announceWatchdog,
  BEAT_EVERY_MS,
  beatPath,
  hasKeeper,
  removeOldBeats,
  withdrawWatchdog,
} from './watchdog-process.ts'

const IDLE_MS_DEFAULT = 60_000
const LOOK_MS_MAX = 120_000
const LOG_BYTES_MAX = 1024 * 1024
const LOGS_KEPT = 2
/** Wide enough for any time; a beat always has the same length, so that it is rewritten where it lies. */
const BEAT_WIDTH = 24

type Watched = Readonly<{ folder: string; all: boolean; idleMs: number }>

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error
  }
}

class Beat {
  readonly #fd: number
  #lookBeganMs = systemClock.monotonicMs()

  constructor(path: string) {
    this.#fd = openSync(path, 'w', 0o600)
    this.#beat()
    setInterval(() => this.#beat(), BEAT_EVERY_MS).unref()
  }

  lookBegins(): void {
    this.#lookBeganMs = systemClock.monotonicMs()
  }

  close(): void {
    closeSync(this.#fd)
  }

  #beat(): void {
    const nowMs = systemClock.monotonicMs()
    if (nowMs - this.#lookBeganMs > LOOK_MS_MAX) return
    try {
      writeSync(this.#fd, nowMs.toFixed(3).padStart(BEAT_WIDTH), 0)
    } catch {
      // A beat that cannot be written is missed: then another watchdog is started beside this one, which is harmless.
    }
  }
}

/** The journals in the folder; itself, when it is the only one. */
async function journalsIn({ folder, all }: Watched): Promise<string[]> {
  if (!all) return [folder]
  const entries = await readdir(folder, { withFileTypes: true })
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
}

function makeLook(watched: Watched): () => Promise<number> {
  const log = createRotatingFile(join(watched.folder, 'watchdog.log'), { bytesMax: LOG_BYTES_MAX, kept: LOGS_KEPT })
  const report = (report: WatchdogReport): void => {
    log.write(`${JSON.stringify({ atMs: systemClock.nowMs(), ...report })}\n`)
  }
  const watchdogs = new Map<string, Watchdog>()
  return async () => {
    let open = 0
    for (const journalFolder of await journalsIn(watched)) {
      const known = watchdogs.get(journalFolder)
      const watchdog = known ?? new Watchdog({ clock: systemClock, journalFolder, endProcess, report })
      watchdogs.set(journalFolder, watchdog)
      open += await watchdog.look()
    }
    return open
  }
}

/** Looks until nothing was open for `idleMs` and nobody keeps us. */
async function watchUntilIdle(watched: Watched, look: () => Promise<number>): Promise<void> {
  let idleSinceMs = systemClock.monotonicMs()
  for (;;) {
    if ((await look()) > 0) idleSinceMs = systemClock.monotonicMs()
    const isIdle = systemClock.monotonicMs() - idleSinceMs >= watched.idleMs
    if (isIdle && !(watched.all && (await hasKeeper(watched.folder)))) return
    await systemClock.sleep(LOOK_EVERY_MS)
  }
}

async function main(watched: Watched, self: HostProcess): Promise<void> {
  const { folder, all } = watched
  await makeFolderDurable(folder)
  await removeOldBeats(folder)
  const beat = new Beat(beatPath(folder, self.pid))
  const lookAll = makeLook(watched)
  const look = (): Promise<number> => {
    beat.lookBegins()
    return lookAll()
  }
  do {
    await announceWatchdog(folder, self, all)
    await watchUntilIdle(watched, look)
    await withdrawWatchdog(folder, self)
  } while ((await look()) > 0)
  beat.close()
  await rm(beatPath(folder, self.pid), { force: true })
}

// It must survive the session and the terminal of whoever started it.
process.on('SIGHUP', () => {})
const [what, folder, idle] = process.argv.slice(2)
await main(
  {
    folder: must(folder, 'A folder is the second argument'),
    all: what === 'all',
    idleMs: Number(idle ?? IDLE_MS_DEFAULT),
  },
  must(identityOf(), 'This process is alive'),
)
