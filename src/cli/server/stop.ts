/** holdfast stop: ends the server of a home in order. */
import type { Command } from 'commander'
import type { Stopped } from '#server'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

type StopOptions = HomeOptions & Readonly<{ worker?: boolean; all?: boolean }>

export function stopCommand(): Command {
  return makeHomeCommand({
    usage: 'stop',
    summary: 'end the server; its jobs go on with the next one',
    description:
      'Ends the server and waits until it is gone. Jobs wait for the next server; what the worker does it goes on with, and ' +
      'keeps the results. With --worker the worker ends too, once its tasks have ended. With --all everything ends now: tasks ' +
      'are given up in order and begin again with the next server, and no instant stays open. Guests go on in any case.',
    examples: ['holdfast stop', 'holdfast stop --all --home /srv/holdfast'],
  })
    .option('--worker', 'let the worker end as soon as it has nothing to do')
    .option('--all', 'end worker and watchdog too')
    .action((options: StopOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const home = await homeOf(options)
        const { stopAll, stopServe, WorkerClient } = await import('#server')
        const { silentLogger, systemClock } = await import('#runtime')
        if (options.all === true) {
          const stopped = await stopAll(home, systemClock)
          return output.result({ stopped, home: home.folder }, () => describe(stopped))
        }
        const { pid } = await stopServe(home, systemClock)
        if (options.worker === true) await new WorkerClient(home.socket('worker'), silentLogger).retire()
        output.result({ stopped: true, home: home.folder, pid }, () => `The server (process ${pid}) has ended.`)
      }),
    )
}

function describe(stopped: readonly Stopped[]): string {
  if (stopped.length === 0) return 'Nothing of this home ran.'
  return stopped.map(({ name, pid }) => `The ${name} (process ${pid}) has ended.`).join('\n')
}
