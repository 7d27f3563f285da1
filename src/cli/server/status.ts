/** holdfast status: how the server of a home is. */
import type { Command } from 'commander'
import type { Health, LinkView, SupervisedState } from '#server'
import { runCommandHandler } from '../command.ts'
import { timeText } from '../time-text.ts'
import { type HomeOptions, makeHomeCommand, withControl } from './home-option.ts'

export function statusCommand(): Command {
  return makeHomeCommand({
    usage: 'status',
    summary: 'how the server is: its processes, its jobs by state, linked servers',
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

const HEALTH = {
  well: 'runs',
  silent: 'runs and has not answered yet',
  hung: 'HANGS: it lives and does not answer',
  dead: 'does not run; it is started again',
} as const satisfies Record<SupervisedState['health'], string>

function describeProcess({ name, identity, health, version, retiring, lastRestart }: SupervisedState): string {
  const facts = [
    ...(identity === undefined ? [] : [`process ${identity.pid}`]),
    ...(version === undefined ? [] : [`version ${version}`]),
  ]
  const notes = [
    ...(retiring ? [' It makes way for a new one as soon as its work is done.'] : []),
    ...(lastRestart === undefined ? [] : [` Last replaced ${timeText(lastRestart.atMs)} UTC: ${lastRestart.reason}.`]),
  ]
  return `The ${name} ${HEALTH[health]}${facts.length > 0 ? ` (${facts.join(', ')})` : ''}.${notes.join('')}`
}

function describeLink({ endpoint, regions, state, lastSeen, why }: LinkView): string {
  const seen = lastSeen === undefined ? '' : `, last seen ${timeText(globalThis.Date.parse(lastSeen))} UTC`
  return `The linked server ${endpoint} (${regions.join(', ')}) is ${state}${seen}.${why === undefined ? '' : ` ${why}`}`
}

function describe({ version, pid, home, jobs, processes, alarms, links }: Health): string {
  const children = processes.map(describeProcess)
  const counts = Object.entries(jobs).map(([status, count]) => `${count} ${status}`)
  const line = counts.length === 0 ? 'There was no job yet.' : `Jobs: ${counts.join(', ')}.`
  return [
    `Holdfast ${version} serves ${home} (process ${pid}).`,
    ...children,
    line,
    ...links.map(describeLink),
    ...alarms.map(({ says }) => `ALARM: ${says}`),
  ].join('\n')
}
