/**
 * Sees to it that exactly enough watchdog processes watch a journal: one. Two would be harmless (QEMU's monitor serves one at
 * a time, and taking apart can be repeated).
 *
 * `<journal>/watchdog.json` names the process. The watchdog leaves when the journal has been empty for a while: it removes
 * the file first and looks again, so that an instant whose owner saw the file before is not left unwatched.
 */
import { spawn } from 'node:child_process'
import { readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, errnoOf } from '#base'
import { type HostProcess, isAlive, makeFolderDurable, replaceFile } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { isObject } from '../qmp/shape.ts'

const START_MS_MAX = 10_000
const POLL_MS = 25

function pathIn(journalFolder: string): string {
  return join(journalFolder, 'watchdog.json')
}

/** The living watchdog of this journal. */
export async function findWatchdog(journalFolder: string): Promise<HostProcess | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(pathIn(journalFolder), 'utf8'))
    if (!isObject(value) || typeof value['pid'] !== 'number') return undefined
    const owner = value as HostProcess
    return isAlive(owner) ? owner : undefined
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined
    throw error
  }
}

export async function announceWatchdog(journalFolder: string, self: HostProcess): Promise<void> {
  await makeFolderDurable(journalFolder)
  await replaceFile(pathIn(journalFolder), [Buffer.from(JSON.stringify(self))])
}

export async function withdrawWatchdog(journalFolder: string): Promise<void> {
  try {
    await unlink(pathIn(journalFolder))
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

/** Starts a watchdog unless one lives, and waits until it watches. @throws `instant_failed`: then nothing may be frozen. */
export async function ensureWatchdog(clock: Clock, journalFolder: string): Promise<HostProcess> {
  const living = await findWatchdog(journalFolder)
  if (living !== undefined) return living
  const main = join(import.meta.dirname, 'watchdog-main.ts')
  // Detached: it must outlive us, also when our whole process group is killed.
  spawn(process.execPath, [main, journalFolder], { detached: true, stdio: 'ignore' })
    .on('error', () => {
      // It does not announce itself then, which is reported below.
    })
    .unref()
  const endMs = clock.monotonicMs() + START_MS_MAX
  while (clock.monotonicMs() < endMs) {
    const started = await findWatchdog(journalFolder)
    if (started !== undefined) return started
    await clock.sleep(POLL_MS)
  }
  throw new HypervisorError('instant_failed', 'The watchdog did not start, so no guest may be paused or frozen.', {
    facts: { journalFolder, program: main },
    retry: 'later',
  })
}
