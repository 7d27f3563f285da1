/** holdfast machine: virtual machines. */
import { Command } from 'commander'
import {
  type ApiContext,
  conclude,
  makeApiCommand,
  runApiCommand,
  type Shown,
  type WaitOptions,
  withWaitOption,
} from './api-command.ts'
import { CliError } from '../errors.ts'
import { deleteCommand, type KindWords, listing, type ListOptions } from './kind-commands.ts'
import { createCommand } from './machine-create.ts'
import { MACHINE, MACHINE_TYPE, type MachineJson } from './machine-kind.ts'
import { consoleCommand, runCommandCommand, screenshotCommand } from './machine-look.ts'
import {
  deallocateCommand,
  generalizeCommand,
  resizeCommand,
  restartCommand,
  showMachines,
  startCommand,
  stopCommand,
} from './machine-power.ts'
import {
  DISK_TYPE,
  type GroupOptions,
  idOf,
  listPath,
  type TargetOptions,
  targetsOf,
  withGroupOption,
  withTargetOptions,
} from './targets.ts'

type AttachOptions = GroupOptions & WaitOptions & Readonly<{ disk: readonly string[]; lun?: number }>

const DELETE_WORDS: KindWords = {
  description:
    'Ends machines without asking their guests, and deletes them. Disks stay, except those that were made to go with their ' +
    'machine. A machine that was adopted is only forgotten. Asks first.',
  examples: ['holdfast machine delete web1 -g web', 'holdfast machine delete --yes --no-wait --ids "$ID1" "$ID2"'],
}

export function machineCommand(): Command {
  return new Command('machine')
    .summary('virtual machines')
    .description('Makes, starts, stops, changes and looks into virtual machines.')
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast machine create web1 -g web --disk web1-os\n  holdfast machine list -g web\n  holdfast machine console web1 -g web',
    )
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(createCommand())
    .addCommand(startCommand())
    .addCommand(stopCommand())
    .addCommand(deallocateCommand())
    .addCommand(restartCommand())
    .addCommand(deleteCommand(MACHINE, DELETE_WORDS))
    .addCommand(attachCommand())
    .addCommand(detachCommand())
    .addCommand(resizeCommand())
    .addCommand(runCommandCommand())
    .addCommand(consoleCommand())
    .addCommand(screenshotCommand())
    .addCommand(generalizeCommand())
}

function listCommand(): Command {
  const examples = ['holdfast machine list -g web', 'holdfast machine list --all --query "[].name" -o tsv'] as const
  return listing(MACHINE, examples).action((options: ListOptions) =>
    runApiCommand(options, async (context) => {
      const path = await listPath(context, MACHINE_TYPE, options)
      return MACHINE.many(await context.client.list<MachineJson>(`${path}?$expand=instanceView`))
    }),
  )
}

function showCommand(): Command {
  const command = makeApiCommand({
    usage: 'show [name]',
    summary: 'one machine in full, with its power state and whether its guest is ready',
    examples: ['holdfast machine show web1 -g web', 'holdfast machine show web1 -g web -o json'],
  })
  return withTargetOptions(command).action((name: string | undefined, options: TargetOptions) =>
    runApiCommand(options, async (context) =>
      showMachines(context, await targetsOf(context, name, MACHINE_TYPE, options)),
    ),
  )
}

async function changeDisks(
  context: ApiContext,
  name: string,
  options: AttachOptions,
  what: 'attach' | 'detach',
): Promise<Shown | undefined> {
  const { disk, lun } = options
  if (lun !== undefined && disk.length > 1) throw new CliError('usage_invalid', '--lun is for one disk.')
  const id = await idOf(context, name, MACHINE_TYPE, options)
  const ids = await Promise.all(disk.map((one) => idOf(context, one, DISK_TYPE, options)))
  const entries = ids.map((diskId) => ({ diskId, ...(lun !== undefined && { lun }) }))
  const body = what === 'attach' ? { dataDisksToAttach: entries } : { dataDisksToDetach: entries }
  const answer = await context.client.ask('POST', `${id}/attachDetachDataDisks`, body)
  const task = `${what === 'attach' ? 'Attaching disks to' : 'Detaching disks from'} ${name}`
  return conclude(context, options, answer, { task, show: () => showMachines(context, [id]) })
}

function attachCommand(): Command {
  const command = makeApiCommand({
    usage: 'attach <name>',
    summary: 'attach data disks, also while the machine runs',
    examples: ['holdfast machine attach web1 -g web --disk data1 data2'],
  })
    .requiredOption('--disk <disk...>', 'names in the group, or ids')
    .option('--lun <lun>', 'its lun (default: the first that is free)', Number)
  return withWaitOption(withGroupOption(command)).action((name: string, options: AttachOptions) =>
    runApiCommand(options, (context) => changeDisks(context, name, options, 'attach')),
  )
}

function detachCommand(): Command {
  const command = makeApiCommand({
    usage: 'detach <name>',
    summary: 'detach data disks; a guest that runs is asked to let go of them',
    examples: ['holdfast machine detach web1 -g web --disk data1'],
  }).requiredOption('--disk <disk...>', 'names in the group, or ids')
  return withWaitOption(withGroupOption(command)).action((name: string, options: AttachOptions) =>
    runApiCommand(options, (context) => changeDisks(context, name, options, 'detach')),
  )
}
