/** holdfast group: resource groups. */
import { Command } from 'commander'
import { groupId } from '#contract'
import { CliError } from '../errors.ts'
import { textTable } from '../text-table.ts'
import {
  type ApiContext,
  type ApiOptions,
  conclude,
  makeApiCommand,
  runApiCommand,
  type Shown,
  type WaitOptions,
  withWaitOption,
} from './api-command.ts'
import { confirmed, type ConfirmOptions } from './confirm.ts'
import type { ResourceJson } from './resource-json.ts'
import { readTagOptions } from './targets.ts'
import { factLines, tagsCell, textCell } from './words.ts'

type ListOptions = ApiOptions & Readonly<{ tag?: string }>
type CreateOptions = ApiOptions & Readonly<{ location?: string; tags?: readonly string[] }>
type DeleteOptions = WaitOptions & ConfirmOptions

export function groupCommand(): Command {
  return new Command('group')
    .summary('resource groups')
    .description('Shows, makes and deletes resource groups. Every disk and snapshot lies in one.')
    .addHelpText('after', '\nExamples:\n  holdfast group create web -l eastus\n  holdfast group list')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(createCommand())
    .addCommand(deleteCommand())
}

async function pathOf({ client }: ApiContext, name: string): Promise<string> {
  return groupId(await client.subscription(), encodeURIComponent(name))
}

function shown(group: ResourceJson): Shown {
  const { name, location, tags, properties } = group
  const facts = [
    ['Name', textCell(name)],
    ['Location', textCell(location)],
    ['State', textCell(properties?.['provisioningState'])],
    ['Tags', tagsCell(tags)],
  ] as const
  return { value: group, table: () => factLines(facts) }
}

function listCommand(): Command {
  return makeApiCommand({
    usage: 'list',
    summary: 'resource groups',
    examples: ['holdfast group list', 'holdfast group list --tag owner=ops --query "[].name" -o tsv'],
  })
    .option('--tag <name[=value]>', 'only groups with this tag')
    .action((options: ListOptions) =>
      runApiCommand(options, async ({ client }) => {
        const filter = options.tag === undefined ? '' : `?$filter=${encodeURIComponent(tagFilter(options.tag))}`
        const path = `/subscriptions/${await client.subscription()}/resourceGroups${filter}`
        const groups = await client.list<ResourceJson>(path)
        return { value: groups, table: () => groupTable(groups) }
      }),
    )
}

function tagFilter(tag: string): string {
  const [name = '', ...rest] = tag.split('=')
  const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`
  const value = rest.length === 0 ? '' : ` and tagValue eq ${quoted(rest.join('='))}`
  return `tagName eq ${quoted(name)}${value}`
}

function groupTable(groups: readonly ResourceJson[]): string {
  if (groups.length === 0) return 'There is no such resource group.'
  const rows = groups.map(({ name, location, tags, properties }) => [
    textCell(name),
    textCell(location),
    textCell(properties?.['provisioningState']),
    tagsCell(tags),
  ])
  return textTable(['NAME', 'LOCATION', 'STATE', 'TAGS'], rows)
}

function showCommand(): Command {
  return makeApiCommand({
    usage: 'show <name>',
    summary: 'one resource group',
    examples: ['holdfast group show web'],
  }).action((name: string, options: ApiOptions) =>
    runApiCommand(options, async (context) => shown(await context.client.get(await pathOf(context, name)))),
  )
}

function createCommand(): Command {
  return makeApiCommand({
    usage: 'create <name>',
    summary: 'make a resource group, or change its tags',
    examples: [
      'holdfast group create web -l eastus',
      'holdfast group create web -l eastus --tags owner=ops stage=prod',
    ],
  })
    .option('-l, --location <region>', 'its region (default: HOLDFAST_LOCATION, else "holdfast configure")')
    .option('--tags <name=value...>', 'all its tags')
    .action((name: string, options: CreateOptions) =>
      runApiCommand(options, async (context) => {
        const location = options.location ?? context.defaults.location
        if (location === undefined)
          throw new CliError('usage_invalid', 'The location is not named.', {
            hint: 'Say -l, set HOLDFAST_LOCATION, or "holdfast configure --defaults location=...".',
          })
        const tags = readTagOptions(options.tags)
        const body = { location, ...(tags !== undefined && { tags }) }
        const { body: made } = await context.client.ask('PUT', await pathOf(context, name), body)
        return shown(made as ResourceJson)
      }),
    )
}

function deleteCommand(): Command {
  const command = makeApiCommand({
    usage: 'delete <name>',
    summary: 'delete a resource group and everything in it',
    description: 'Deletes the group and what is in it, in the order of dependence. Asks first, unless --yes is given.',
    examples: ['holdfast group delete web', 'holdfast group delete web --yes --no-wait'],
  }).option('-y, --yes', 'do not ask')
  return withWaitOption(command).action((name: string, options: DeleteOptions) =>
    runApiCommand(options, async (context) => {
      const path = await pathOf(context, name)
      await confirmed(options, `Delete the group ${name} and everything in it?`)
      const answer = await context.client.ask('DELETE', path)
      return conclude(context, options, answer, {
        task: `Deleting group ${name}`,
        show: () => Promise.resolve(undefined),
      })
    }),
  )
}
