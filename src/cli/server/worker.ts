/** holdfast worker: what `serve` starts to do the work of its jobs; not for people. */
import type { Command } from 'commander'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

export function workerCommand(): Command {
  return makeHomeCommand({
    usage: 'worker',
    summary: 'do the work of jobs; started by "holdfast serve"',
    examples: ['holdfast worker --home /srv/holdfast'],
  }).action((options: HomeOptions) =>
    runCommandHandler(options, async () => {
      const home = await homeOf(options)
      const { configPath, openNetworks, readConfigFile, runWorker, workerLogger, workerTasks } = await import('#server')
      const logger = workerLogger(home)
      const { tasksAtOnce } = (await readConfigFile(configPath(home))).limits
      const networks = openNetworks(home, logger)
      await runWorker({ home, logger, handlers: workerTasks(home, logger, networks), networks, tasksAtOnce })
    }),
  )
}
