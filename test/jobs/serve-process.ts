/**
 * The processes of a home, for the tests that kill them: `serve` or `worker`, then the home.
 *
 * The task `hold` appends "began <pid>" to <home>/task.log and stays until <home>/go exists or it is cancelled; then it
 * appends "ended <pid>" or "stopped <pid>" and gives its pid. The job `backup` has it as its one step on the worker.
 * A worker says that it is of the version that <home>/version holds, if there is one.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TaskHandler } from '#jobs'
import { systemClock } from '#runtime'
import { openHome, runServe, runWorker } from '#server'

const [role = '', folder = ''] = process.argv.slice(2)
const home = openHome(folder)

const hold: TaskHandler = async (input, { signal, progress, epoch }) => {
  const record = (what: string): void =>
    appendFileSync(join(folder, 'task.log'), `${what} ${process.pid}\n`, { flush: true })
  record('began')
  progress({ task: 'Reading disk 0', doneBytes: 512, totalBytes: 4096 })
  while (!existsSync(join(folder, 'go'))) {
    if (signal.aborted) {
      record('stopped')
      throw signal.reason
    }
    await systemClock.sleep(20)
  }
  record('ended')
  return { pid: process.pid, input, epoch: epoch() }
}

if (role === 'worker') {
  const version = existsSync(join(folder, 'version')) ? { version: readFileSync(join(folder, 'version'), 'utf8') } : {}
  await runWorker({ home, handlers: new Map([['hold', hold]]), ...version })
} else {
  await runServe({
    home,
    workerEntry: { program: process.execPath, args: [import.meta.filename, 'worker', folder] },
    say: (line) => process.stdout.write(`${line}\n`),
    timing: { pollMs: 50, leaseMs: 600_000 },
    supervision: { watchMs: 50, lookEveryMs: 200, looksMissedMax: 3, answerMs: 1_000 },
    prepare: ({ engine, tasks }) => {
      engine.define({
        name: 'backup',
        version: 1,
        run: (job, input) =>
          job.step('copy', (step) => tasks.run(step, 'hold', input), {
            retry: { attemptsMax: 50, delayMs: 50, delayMsMax: 200 },
          }),
      })
    },
  })
}
