/** holdfast serve: the server of one home, until it is told to end. */
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

export function serveHomeCommand(): Command {
  return makeHomeCommand({
    usage: 'serve',
    summary: 'run the server: durable jobs, and the worker that does their work',
    description:
      'Runs until SIGTERM, Ctrl-C or "holdfast stop". Says on stdout when it is ready. Its worker is a process of its own ' +
      'that goes on with what it does when the server ends, however it ends; the next server finds it again. Under systemd ' +
      'use KillMode=process.',
    examples: ['holdfast serve', 'holdfast serve --home /srv/holdfast'],
  }).action((options: HomeOptions) =>
    runCommandHandler(options, async ({ output }) => {
      const home = await homeOf(options)
      const { defineJobs, runServe } = await import('#server')
      // Jobs name files that hold keys; one in the environment would only be handed on to every process we start.
      for (const name of ['HOLDFAST_PASSPHRASE', 'HOLDFAST_NEW_PASSPHRASE']) delete process.env[name]
      const main = fileURLToPath(new URL('../main.ts', import.meta.url))
      await runServe({
        home,
        workerEntry: { program: process.execPath, args: [main, 'worker', '--home', home.folder] },
        say: (line) => output.result({ ready: true, home: home.folder, pid: process.pid }, () => line),
        prepare: (parts) => defineJobs(home, parts),
      })
    }),
  )
}
