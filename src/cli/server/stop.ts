/** holdfast stop: ends the server of a home in order. */
import type { Command } from 'commander'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

type StopOptions = HomeOptions & Readonly<{ worker?: boolean }>

export function stopCommand(): Command {
  return makeHomeCommand({
    usage: 'stop',
    summary: 'end the server; its jobs go on with the next one',
    description:
      'Ends the server and waits until it is gone. Jobs wait for the next server; what the worker does it goes on with, and ' +
      'keeps the results. With --worker the worker ends too, once its tasks have ended.',
    examples: ['holdfast stop', 'holdfast stop --worker --home /srv/holdfast'],
  })
    .option('--worker', 'let the worker end as soon as it has nothing to do')
    .action((options: StopOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const home = await homeOf(options)
        const { stopServe, WorkerClient } = await import('#server')
        const { silentLogger, systemClock } = await import('#runtime')
        const { pid } = await stopServe(home, systemClock)
        if (options.worker === true) await new WorkerClient(home.socket('worker'), silentLogger).retire()
        output.result({ stopped: true, home: home.folder, pid }, () => `The server (process ${pid}) has ended.`)
      }),
    )
}
