/** Child processes of a test: started, listened to, killed by their own pid, never left behind. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { systemClock } from '#runtime'
import type { DrillMessage, DrillSettings } from './engine-process.ts'

const DEADLINE_MS = 30_000
const LOOK_MS = 20

/** Looks until `holds` gives something; fails with `what` when it never does. */
export async function until<T>(
  what: string,
  holds: () => Promise<T | undefined | false> | T | undefined | false,
  deadlineMs = DEADLINE_MS,
): Promise<T> {
  const deadline = systemClock.monotonicMs() + deadlineMs
  for (;;) {
    const value = await holds()
    if (value !== undefined && value !== false) return value
    if (systemClock.monotonicMs() > deadline) throw new Error(`It did not come to pass: ${what}`)
    await systemClock.sleep(LOOK_MS)
  }
}

export const fileExists = (path: string) => (): boolean => existsSync(path)

/** Ends a process that this test started (or that was started for it), if it still lives, and waits until it is gone. */
export async function killHard(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/** An engine process and what it has told so far. */
export class Drill {
  readonly child: ChildProcess
  readonly told: DrillMessage[] = []

  constructor(catalog: string, log: string, settings: DrillSettings) {
    const path = new URL('./engine-process.ts', import.meta.url).pathname
    this.child = fork(path, [catalog, log, JSON.stringify(settings)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.child.on('message', (message) => this.told.push(message as DrillMessage))
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  hears(kind: DrillMessage['kind'], text?: string): Promise<DrillMessage> {
    return until(`process ${this.pid} says ${kind} ${text ?? ''}`, () =>
      this.told.find((message) => message.kind === kind && (text === undefined || message.text === text)),
    )
  }
}
