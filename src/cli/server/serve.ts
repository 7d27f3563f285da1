/** holdfast serve: the server of one home, until it is told to end. */
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { runCommandHandler } from '../command.ts'
import { parsePort } from '../count.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

type ServeOptions = HomeOptions & Readonly<{ port?: number; address?: string }>

export function serveHomeCommand(): Command {
  return makeHomeCommand({
    usage: 'serve',
    summary: 'run the server: the API, durable jobs, and the worker that does their work',
    description:
      'Runs until SIGTERM, Ctrl-C or "holdfast stop". Says on stdout when it is ready. Its worker is a process of its own ' +
      'that goes on with what it does when the server ends, however it ends; the next server finds it again. Under systemd ' +
      'use KillMode=process.',
    examples: ['holdfast serve', 'holdfast serve --home /srv/holdfast --port 9443'],
  })
    .option('--port <port>', 'where the API listens; 0 for any free one (default: as configured, else 8443)', parsePort)
    .option('--address <address>', 'the address that it listens on (default: as configured, else 127.0.0.1)')
    .action((options: ServeOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const home = await homeOf(options)
        const { configPath, defineJobs, faceOptionsOf, readConfigFile, runServe, scheduleJobs, writeConfigOnce } =
          await import('#server')
        await writeConfigOnce(configPath(home))
        const config = await readConfigFile(configPath(home))
        // Jobs name files that hold keys; one in the environment would only be handed on to every process we start.
        for (const name of ['HOLDFAST_PASSPHRASE', 'HOLDFAST_NEW_PASSPHRASE']) delete process.env[name]
        const main = fileURLToPath(new URL('../main.ts', import.meta.url))
        await runServe({
          home,
          workerEntry: { program: process.execPath, args: [main, 'worker', '--home', home.folder] },
          config,
          face: faceOptionsOf(config, options),
          say: (line, face) =>
            output.result(
              { ready: true, home: home.folder, pid: process.pid, endpoint: face?.record.endpoint },
              () => line,
            ),
          prepare: async (parts) => {
            defineJobs(home, parts)
            await scheduleJobs(parts)
          },
        })
      }),
    )
}
