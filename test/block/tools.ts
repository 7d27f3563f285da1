/** Runs other people's tools against our block part: private folders, processes that end with the test. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { BlockError, type NbdClient, openNbd, type OpenNbdOptions } from '#engine/block'
import { checkCommand, systemClock } from '#runtime'

/** What the end of the test file has to do, last made first undone. */
const endings: (() => Promise<void>)[] = []
after(async () => {
  for (const end of endings.reverse()) await end()
})

/** Has `end` called when the test file is done, whatever became of the test. */
export function endLater(end: () => Promise<void>): void {
  endings.push(end)
}

/** A folder that is removed when the test file is done. */
export async function testFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-block-'))
  endings.push(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Runs a tool to its end and gives what it printed. @throws CommandError with its last words */
export async function run(program: string, ...args: readonly string[]): Promise<string> {
  return (await checkCommand(program, args, { timeoutMs: 60_000 })).stdout.toString('utf8')
}

export type Started = Readonly<{ child: ChildProcess; stop: () => Promise<void> }>

/** Starts a server of others; it ends with stop(), and at the latest with the test file. */
export function start(program: string, ...args: readonly string[]): Started {
  const child = spawn(program, args, { stdio: 'ignore' })
  const ended = once(child, 'close')
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  endings.push(stop)
  return { child, stop }
}

/** Connects as soon as the server listens. */
export async function connectWhenUp(options: OpenNbdOptions): Promise<NbdClient> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await openNbd(options)
    } catch (error) {
      const notYet = error instanceof BlockError && error.code === 'nbd_unreachable'
      if (!notYet || attempt === 200) throw error
      await systemClock.sleep(25)
    }
  }
}

/** The code of the error that `work` fails with; "none" when it succeeds. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'none'
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}
