/**
 * The processes of a home for the kill matrix: `serve` or `worker`, then the home.
 *
 * The task `instant` takes an instant, stands still at the step that it is told and says so by making the file `held`; it
 * goes on when there is a file `go`. Begun again it waits for `go`, recovers what was left, and takes it without standing
 * still. So a test may kill any process while any step is under way.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, toHex } from '#base'
import { openRunningInstant, openStoppedInstant, recoverInstants } from '#engine/hypervisor'
import type { TaskHandler } from '#jobs'
import { systemClock, systemRandom } from '#runtime'
import { openHome, runServe, runWorker } from '#server'
import type { OwnerRequest } from '../hypervisor/instant-owner.ts'

export type CellRequest = OwnerRequest & Readonly<{ cellFolder: string }>

async function untilFile(clock: Clock, path: string): Promise<void> {
  while (!existsSync(path)) await clock.sleep(10)
}

const takeInstant: TaskHandler = async (given) => {
  const request = given as CellRequest
  const [held, go] = [join(request.cellFolder, 'held'), join(request.cellFolder, 'go')]
  if (existsSync(held)) await untilFile(systemClock, go)
  const { journalFolder } = request.host
  const recovered = await recoverInstants({
    clock: systemClock,
    journalFolder,
    isCommitted: () => Promise.resolve(false),
  })
  for (const { outcome, error } of recovered) if (outcome === 'failed') throw error ?? new Error('not recovered')
  const onStep = async (step: string): Promise<void> => {
    if (step !== request.dieAt || existsSync(held)) return
    writeFileSync(held, '')
    await untilFile(systemClock, go)
  }
  const host = { ...request.host, clock: systemClock, random: systemRandom, onStep }
  // Each attempt begins a generation of its own, as a backup does.
  const tracking = { ...request.tracking, next: toHex(systemRandom.bytes(6)) }
  const options = { consistency: request.consistency, tracking }
  const instant = await (request.stopped === true
    ? openStoppedInstant(host, { description: request.machine.description, stoppedCleanly: true }, options)
    : openRunningInstant(host, request.machine, options))
  await (request.end === 'commit' ? instant.commit() : instant.abort('as asked'))
  return null
}

const [role = '', folder = ''] = process.argv.slice(2)
if (role === 'worker') {
  await runWorker({ home: openHome(folder), handlers: new Map([['instant', takeInstant]]) })
} else if (role === 'serve') {
  await runServe({
    home: openHome(folder),
    workerEntry: { program: process.execPath, args: [import.meta.filename, 'worker', folder] },
    say: (line) => process.stdout.write(`${line}\n`),
    timing: { pollMs: 50, leaseMs: 600_000 },
    supervision: { watchMs: 50, steadyMs: 0 },
    prepare: ({ engine, tasks }) => {
      engine.define({
        name: 'instant',
        version: 1,
        run: (job, input) =>
          job.step('take', (step) => tasks.run(step, 'instant', input), {
            retry: { attemptsMax: 100, delayMs: 50, delayMsMax: 200 },
          }),
      })
    },
  })
}
