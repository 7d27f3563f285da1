/** holdfast machine start, stop, deallocate, restart, generalize, resize: what a machine is to be. */
import type { Command } from 'commander'
import {
  type ApiContext,
  conclude,
  makeApiCommand,
  runApiCommand,
  type Shown,
  type WaitOptions,
  withWaitOption,
} from './api-command.ts'
import { confirmed, type ConfirmOptions } from './confirm.ts'
import { MACHINE, MACHINE_TYPE, type MachineJson } from './machine-kind.ts'
import {
  type GroupOptions,
  idOf,
  nameOf,
  type TargetOptions,
  targetsOf,
  withGroupOption,
  withTargetOptions,
} from './targets.ts'

type PowerOptions = TargetOptions & WaitOptions

export async function showMachines(context: ApiContext, ids: readonly string[]): Promise<Shown> {
  const machines: MachineJson[] = []
  for (const id of ids) machines.push(await context.client.get<MachineJson>(`${id}?$expand=instanceView`))
  const [only] = machines
  return only !== undefined && machines.length === 1 ? MACHINE.one(only) : MACHINE.many(machines)
}

/** All are begun before the first is waited for. */
async function command(
  context: ApiContext,
  name: string | undefined,
  options: PowerOptions,
  { action, doing }: Readonly<{ action: string; doing: string }>,
): Promise<Shown | undefined> {
  const ids = await targetsOf(context, name, MACHINE_TYPE, options)
  const begun: (readonly [id: string, answer: Awaited<ReturnType<ApiContext['client']['ask']>>])[] = []
  for (const id of ids) {
    const [path = '', query] = action.split('?')
    begun.push([id, await context.client.ask('POST', `${id}/${path}${query === undefined ? '' : `?${query}`}`)])
  }
  let last: Shown | undefined
  for (const [id, answer] of begun) {
    const show = (): Promise<Shown> => showMachines(context, ids)
    last = await conclude(context, options, answer, { task: `${doing} machine ${nameOf(id)}`, show })
  }
  return last
}

function powerCommand(
  text: Readonly<{ word: string; summary: string; description?: string; doing: string }>,
  action: (options: PowerOptions & Readonly<{ force?: boolean }>) => string,
): Command {
  const { word, summary, description, doing } = text
  const made = makeApiCommand({
    usage: `${word} [name]`,
    summary,
    ...(description !== undefined && { description }),
    examples: [`holdfast machine ${word} web1 -g web`, `holdfast machine ${word} --no-wait --ids "$ID1" "$ID2"`],
  })
  return withWaitOption(withTargetOptions(made)).action((name: string | undefined, options: PowerOptions) =>
    runApiCommand(options, (context) => command(context, name, options, { action: action(options), doing })),
  )
}

export function startCommand(): Command {
  const text = { word: 'start', summary: 'start machines', doing: 'Starting' }
  return powerCommand(text, () => 'start')
}

export function stopCommand(): Command {
  const description =
    'Asks the guest to shut down, and pulls the plug when it does not within 90 seconds. The machine keeps its room on the host; ' +
    '"deallocate" gives it back.'
  const text = { word: 'stop', summary: 'stop machines', description, doing: 'Stopping' }
  return powerCommand(text, ({ force }) => (force === true ? 'powerOff?skipShutdown=true' : 'powerOff')).option(
    '--force',
    'do not ask the guest',
  )
}

export function deallocateCommand(): Command {
  const summary = 'stop machines and give their room on the host back'
  return powerCommand({ word: 'deallocate', summary, doing: 'Deallocating' }, () => 'deallocate')
}

export function restartCommand(): Command {
  return powerCommand(
    { word: 'restart', summary: 'shut machines down and start them again', doing: 'Restarting' },
    () => 'restart',
  )
}

export function generalizeCommand(): Command {
  const made = makeApiCommand({
    usage: 'generalize [name]',
    summary: 'say that a machine’s system has no identity any more: it is a source of images, and starts no more',
    description: 'The machine must be stopped or deallocated, and generalized from within before. Asks first.',
    examples: ['holdfast machine generalize golden -g web --yes'],
  }).option('-y, --yes', 'do not ask')
  return withWaitOption(withTargetOptions(made)).action(
    (name: string | undefined, options: PowerOptions & ConfirmOptions) =>
      runApiCommand(options, async (context) => {
        const ids = await targetsOf(context, name, MACHINE_TYPE, options)
        await confirmed(options, `Generalize ${ids.map(nameOf).join(', ')}? A generalized machine starts no more.`)
        return command(context, name, options, { action: 'generalize', doing: 'Generalizing' })
      }),
  )
}

export function resizeCommand(): Command {
  const made = makeApiCommand({
    usage: 'resize <name>',
    summary: 'give a machine another size; one that runs is restarted',
    examples: ['holdfast machine resize web1 -g web --size Standard_B2s'],
  }).requiredOption('-s, --size <name>', 'a size of Azure, or Holdfast_<processors>x<MiB>')
  return withWaitOption(withGroupOption(made)).action(
    (name: string, options: GroupOptions & WaitOptions & Readonly<{ size: string }>) =>
      runApiCommand(options, async (context) => {
        const id = await idOf(context, name, MACHINE_TYPE, options)
        const body = { properties: { hardwareProfile: { vmSize: options.size } } }
        const answer = await context.client.ask('PATCH', id, body)
        const show = (): Promise<Shown> => showMachines(context, [id])
        return conclude(context, options, answer, { task: `Resizing machine ${name}`, show })
      }),
  )
}
