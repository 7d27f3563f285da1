/** holdfast protect group: machines of a vault that are backed up at one instant. */
import { Command } from 'commander'
import { textTable } from '../text-table.ts'
import { type ApiContext, makeApiCommand, runApiCommand, type Shown, type WaitOptions } from './api-command.ts'
import { concludeJob, withJobWaitOption } from './protect-jobs.ts'
import { itemIdOf, machineIdOf, pathOfId, vaultIdOf, type VaultOptions, withVaultOptions } from './protect-names.ts'
import { factLines, textCell, timeCell } from './words.ts'

type GroupJson = Readonly<{
  name: string
  properties: Readonly<{
    items: readonly string[]
    policyId?: string
    lastInstant?: Readonly<{ instant: string; time: string; skewMs: number }>
  }>
}>

function machineOf(itemId: string): string {
  return textCell(itemId.split(';').at(-1))
}

function groupTable(groups: readonly GroupJson[]): string {
  if (groups.length === 0) return 'The vault has no protection group.'
  const rows = groups.map(({ name, properties }) => [
    textCell(name),
    properties.items.map(machineOf).join(', '),
    textCell(properties.policyId?.split('/').at(-1)),
    timeCell(properties.lastInstant?.time),
  ])
  return textTable(['GROUP', 'MACHINES', 'POLICY', 'LAST INSTANT (UTC)'], rows)
}

function oneGroup(group: GroupJson): Shown {
  const { items, policyId, lastInstant } = group.properties
  const apart = lastInstant === undefined ? '' : `${lastInstant.skewMs} ms`
  return {
    value: group,
    table: () =>
      factLines([
        ['Group', textCell(group.name)],
        ['Machines', items.map(machineOf).join(', ')],
        ['Policy', textCell(policyId?.split('/').at(-1))],
        ['Last instant (UTC)', timeCell(lastInstant?.time)],
        ['Machines stopped within', apart],
      ]),
  }
}

async function pathIn(context: ApiContext, options: VaultOptions, name: string): Promise<string> {
  return `${pathOfId(await vaultIdOf(context, options))}/protectionGroups/${encodeURIComponent(name)}`
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: 'the protection groups of a vault',
    examples: ['holdfast protect group list -g web -v vault1'],
  })
  return withVaultOptions(command).action((options: VaultOptions) =>
    runApiCommand(options, async (context) => {
      const path = `${pathOfId(await vaultIdOf(context, options))}/protectionGroups`
      const groups = await context.client.list<GroupJson>(path)
      return { value: groups, table: () => groupTable(groups) }
    }),
  )
}

function showCommand(): Command {
  const command = makeApiCommand({
    usage: 'show <group>',
    summary: 'one protection group, and its last instant',
    examples: ['holdfast protect group show shop -g web -v vault1'],
  })
  return withVaultOptions(command).action((name: string, options: VaultOptions) =>
    runApiCommand(options, async (context) =>
      oneGroup(await context.client.get<GroupJson>(await pathIn(context, options, name))),
    ),
  )
}

function setCommand(): Command {
  const command = makeApiCommand({
    usage: 'set <group> <machines...>',
    summary: 'makes the group of these machines and no others; all must be protected, under one policy',
    examples: ['holdfast protect group set shop web1 db1 -g web -v vault1'],
  })
  return withVaultOptions(command).action((name: string, machines: string[], options: VaultOptions) =>
    runApiCommand(options, async (context) => {
      const vaultId = await vaultIdOf(context, options)
      const items = await Promise.all(
        machines.map(async (machine) => itemIdOf(vaultId, await machineIdOf(context, machine, options))),
      )
      const path = await pathIn(context, options, name)
      await context.client.ask('PUT', path, { properties: { items } })
      return oneGroup(await context.client.get<GroupJson>(path))
    }),
  )
}

function deleteCommand(): Command {
  const command = makeApiCommand({
    usage: 'delete <group>',
    summary: 'lets each machine be backed up by itself again; no point is lost',
    examples: ['holdfast protect group delete shop -g web -v vault1'],
  })
  return withVaultOptions(command).action((name: string, options: VaultOptions) =>
    runApiCommand(options, async (context) => {
      await context.client.ask('DELETE', await pathIn(context, options, name))
      return undefined
    }),
  )
}

function nowCommand(): Command {
  const command = makeApiCommand({
    usage: 'now <group>',
    summary: 'backs all its machines up now, at one instant',
    examples: ['holdfast protect group now shop -g web -v vault1'],
  })
  return withVaultOptions(withJobWaitOption(command)).action((name: string, options: VaultOptions & WaitOptions) =>
    runApiCommand(options, async (context) => {
      const vaultId = await vaultIdOf(context, options)
      const properties = { objectType: 'IaasVMBackupRequest' }
      const answer = await context.client.ask('POST', `${await pathIn(context, options, name)}/backup`, { properties })
      return concludeJob(context, options, answer, { vaultId, task: `Backing up ${name}` })
    }),
  )
}

export function protectGroupCommand(): Command {
  return new Command('group')
    .summary('machines that are backed up at one instant')
    .description('Makes and shows protection groups: machines of a vault whose recovery points are of one instant.')
    .addHelpText('after', '\nExamples:\n  holdfast protect group set shop web1 db1 -g web -v vault1')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(setCommand())
    .addCommand(deleteCommand())
    .addCommand(nowCommand())
}
