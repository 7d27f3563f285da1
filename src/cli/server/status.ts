/** holdfast status: how the server of a home is. */
import type { Command } from 'commander'
import type { Health } from '#server'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, makeHomeCommand, withControl } from './home-option.ts'

export function statusCommand(): Command {
  return makeHomeCommand({
    usage: 'status',
    summary: 'how the server is: its processes, its jobs by state',
    description: 'Says how the server is. Exits 6 when none answers.',
    examples: ['holdfast status', 'holdfast status --output json'],
  }).action((options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const health = (await control.call('health')) as Health
        output.result(health, () => describe(health))
      }),
    ),
  )
}

function describe({ version, pid, home, jobs, processes }: Health): string {
  const children = processes.map(
    ({ name, identity, alive }) => `The ${name} ${alive ? `runs (process ${identity?.pid})` : 'does not run'}.`,
  )
  const counts = Object.entries(jobs).map(([status, count]) => `${count} ${status}`)
  const line = counts.length === 0 ? 'There was no job yet.' : `Jobs: ${counts.join(', ')}.`
  return [`Holdfast ${version} serves ${home} (process ${pid}).`, ...children, line].join('\n')
}
