/** The watchdog's process: `node watchdog-main.ts JOURNAL_FOLDER [IDLE_MS]`. Leaves after IDLE_MS without an instant. */
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, must } from '#base'
import { identityOf, systemClock } from '#runtime'
import { LOOK_EVERY_MS, Watchdog } from './watchdog.ts'
import { announceWatchdog, withdrawWatchdog } from './watchdog-process.ts'

const IDLE_MS_DEFAULT = 60_000

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error
  }
}

/** Looks until the journal has been empty for `idleMs`. */
async function watchUntilIdle(watchdog: Watchdog, idleMs: number): Promise<void> {
  for (let idleSinceMs = systemClock.monotonicMs(); systemClock.monotonicMs() - idleSinceMs < idleMs;) {
    if ((await watchdog.look()) > 0) idleSinceMs = systemClock.monotonicMs()
    await systemClock.sleep(LOOK_EVERY_MS)
  }
}

async function main(journalFolder: string, idleMs: number): Promise<void> {
  const log = join(journalFolder, 'watchdog.log')
  const watchdog = new Watchdog({
    clock: systemClock,
    journalFolder,
    endProcess,
    report: (report) => {
      const line = `${JSON.stringify({ atMs: systemClock.nowMs(), ...report })}\n`
      appendFile(log, line).catch(() => {
        // The log is for people; a full disk must not keep the watchdog from its work.
      })
    },
  })
  const self = must(identityOf(), 'This process is alive')
  do {
    await announceWatchdog(journalFolder, self)
    await watchUntilIdle(watchdog, idleMs)
    await withdrawWatchdog(journalFolder)
  } while ((await watchdog.look()) > 0)
}

// It must survive the session and the terminal of whoever started it.
process.on('SIGHUP', () => {})
const [folder, idle] = process.argv.slice(2)
await main(must(folder, 'The journal folder is the first argument'), Number(idle ?? IDLE_MS_DEFAULT))
