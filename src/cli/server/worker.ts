/** holdfast worker: what `serve` starts to do the work of its jobs; by people, on a host elsewhere that is to do it too. */
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import { messageOf } from '#base'
import { runCommandHandler } from '../command.ts'
import { CliError } from '../errors.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

type WorkerOptions = HomeOptions & Readonly<{ join?: string }>

export function workerCommand(): Command {
  return makeHomeCommand({
    usage: 'worker',
    summary: 'do the work of jobs: started by "holdfast serve", and by you on hosts elsewhere',
    description:
      'On the server, "holdfast serve" starts it by itself. On another host, --join lets it in with the token of "holdfast host ' +
      'add"; from then on the same command without --join connects again. It dials the server and stays connected, whatever ' +
      'ends on either side; nothing listens here. Its home is its own: keep it apart from that of any server.',
    examples: [
      'holdfast worker --home /srv/holdfast',
      'holdfast worker --join /root/join.token --home /var/lib/holdfast-host',
    ],
  })
    .option('--join <file>', 'a file with the join token, or - for standard input')
    .action((options: WorkerOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const home = await homeOf(options)
        const server = await import('#server')
        const { configPath, hostFacts, joinServer, openNetworks, readConfigFile, readJoined } = server
        const { runWorker, workerLogger, workerTasks } = server
        if (options.join !== undefined) {
          const { host, address, port } = await joinServer(home, await tokenFrom(options.join))
          output.note(`This is the host ${host} of the server at ${address}:${port} now.`)
        }
        const { systemClock: clock } = await import('#runtime')
        const logger = workerLogger(home)
        const { tasksAtOnce } = (await readConfigFile(configPath(home))).limits
        const networks = openNetworks(home, logger)
        const handlers = workerTasks(home, logger, networks)
        const isElsewhere = (await readJoined(home)) !== undefined
        const line = isElsewhere ? { line: { clock, facts: hostFacts(home, clock, handlers.keys()) } } : {}
        await runWorker({ home, logger, handlers, networks, tasksAtOnce, ...line })
      }),
    )
}

/** @throws CliError `usage_invalid` */
async function tokenFrom(path: string): Promise<string> {
  if (path === '-') return text(process.stdin)
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw new CliError('usage_invalid', `The join token cannot be read from ${path}: ${messageOf(cause)}`, {
      facts: { path },
      hint: 'Name the file that holds it, or - to give it on standard input. The token itself is no argument.',
    })
  })
}
