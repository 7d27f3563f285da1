/**
 * A process that runs a job engine on a catalog, for the tests that kill it. Arguments: catalog, drill log, settings (JSON).
 *
 * The job `drill` has five steps; each appends "begin <n> <pid>" and "end <n> <pid>" to the log. In the step that the input
 * names it tells its parent where it is, and stays until it is told to go on.
 */
import { appendFileSync } from 'node:fs'
import { must } from '#base'
import { Catalog } from '#catalog'
import { EmbeddedEngine, type EngineTiming } from '#jobs'
import { identityOf, systemClock, systemRandom } from '#runtime'

export type DrillMessage = Readonly<{ kind: 'ready' | 'held' | 'log' | 'stopped'; text: string }>
export type DrillSettings = Readonly<{ timing: Partial<EngineTiming>; holds: boolean }>

const [catalogPath = '', logPath = '', settingsText = '{}'] = process.argv.slice(2)
const settings = JSON.parse(settingsText) as DrillSettings

function tell(kind: DrillMessage['kind'], text = ''): void {
  process.send?.({ kind, text } satisfies DrillMessage)
}

function released(): Promise<void> {
  return new Promise((resolve) => process.on('message', (message) => message === 'go on' && resolve()))
}

const record = (what: string, step: number): void =>
  appendFileSync(logPath, `${what} ${step} ${process.pid}\n`, { flush: true })

const log = (_facts: unknown, message: string): void => tell('log', message)
const catalog = await Catalog.open(catalogPath, systemClock)
const engine = new EmbeddedEngine({
  catalog,
  clock: systemClock,
  random: systemRandom,
  process: must(identityOf(), 'This process has an identity'),
  logger: { info: log, warn: log, error: log },
  timing: { pollMs: 20, ...settings.timing },
})
engine.queue('narrow', { concurrency: 2 })
engine.define({
  name: 'drill',
  version: 1,
  run: async (job, input: Readonly<{ holdIn: number }>) => {
    const pids: number[] = []
    for (let step = 1; step <= 5; step += 1) {
      const pid = await job.step(`step ${step}`, async () => {
        record('begin', step)
        if (settings.holds && step === input.holdIn) {
          tell('held', job.jobId)
          await released()
        }
        record('end', step)
        return process.pid
      })
      pids.push(pid)
    }
    return pids
  },
})
process.on('message', (message) => {
  if (message !== 'stop') return
  void engine
    .stop()
    .then(() => catalog.close())
    .then(() => {
      tell('stopped')
      process.disconnect()
    })
})
engine.run()
tell('ready')
