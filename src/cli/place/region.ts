/** holdfast region: where things are. */
import { Command } from 'commander'
import type { LinkedRegionDetail, RegionDetail, RegionView } from '#server'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, makeHomeCommand, withControl } from '../server/home-option.ts'
import { textTable } from '../text-table.ts'
import { inviteCommand, linkCommand, ownerText, unlinkCommand } from './region-link.ts'
import { freeText, placeText } from './space-text.ts'

type AddOptions = HomeOptions & Readonly<{ displayName?: string; pair?: string; geography?: string }>

export function regionCommand(): Command {
  return new Command('region')
    .summary('regions: names of your own, each with pools, stores and hosts; links to the servers of others')
    .description(
      'Adds, shows and removes regions, and links the servers of several. A server must run: "holdfast serve".',
    )
    .addHelpText('after', '\nExamples:\n  holdfast region add cellar --pair attic\n  holdfast region list')
    .addCommand(addCommand())
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(pairCommand())
    .addCommand(removeCommand())
    .addCommand(inviteCommand())
    .addCommand(linkCommand())
    .addCommand(unlinkCommand())
}

function addCommand(): Command {
  return makeHomeCommand({
    usage: 'add <name>',
    summary: 'make a region',
    description:
      'Makes a region, with this host in it. Disks need a pool there ("holdfast pool add") and versions a store ' +
      '("holdfast store add"). A pair holds both ways: what is copied for safety goes there.',
    examples: ['holdfast region add attic --display-name "The attic"', 'holdfast region add cellar --pair attic'],
  })
    .option('--display-name <words>', 'for people (default: the name)')
    .option('--pair <region>', 'a region without a pair so far')
    .option('--geography <words>', 'regions of one geography are shown together (default: Private)')
    .action((name: string, options: AddOptions) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const { displayName, pair, geography } = options
          const made = (await control.call('region.add', { name, displayName, pair, geography })) as RegionView
          output.result(made, () => `The region ${made.name} is there. Next: holdfast pool add ${made.name} ...`)
        }),
      ),
    )
}

function listCommand(): Command {
  return makeHomeCommand({
    usage: 'list',
    summary: 'regions, their pairs, and whose they are',
    description: 'Lists the regions of this server and of those linked with it, and whether those answer now.',
    examples: ['holdfast region list', 'holdfast region list --output json'],
  }).action((options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const regions = (await control.call('region.list')) as RegionView[]
        const rows = regions.map((one) => [
          one.name,
          one.displayName,
          one.pair ?? '',
          one.geography,
          ownerText(one.link),
        ])
        output.result(regions, () => textTable(['REGION', 'NAME', 'PAIR', 'GEOGRAPHY', 'SERVER'], rows))
      }),
    ),
  )
}

function showCommand(): Command {
  return makeHomeCommand({
    usage: 'show <name>',
    summary: 'one region with its pools, stores and hosts',
    examples: ['holdfast region show eastus'],
  }).action((name: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const region = (await control.call('region.show', { name })) as RegionDetail | LinkedRegionDetail
        output.result(region, () => describe(region))
      }),
    ),
  )
}

function describe(region: RegionDetail | LinkedRegionDetail): string {
  return 'pools' in region ? describeOwn(region) : describeLinked(region)
}

function describeLinked({ name, displayName, pair, geography, link }: LinkedRegionDetail): string {
  const paired = pair === undefined ? 'It has no pair.' : `Its pair is ${pair}.`
  const lines = [
    `${name} (${displayName}, ${geography}): a region of ${ownerText(link)}. ${paired}`,
    `Its resources are in the subscription ${link.subscription}; ours are ${link.granted ?? 'nothing'} there at most, theirs ${link.role} here.`,
    ...(link.why === undefined ? [] : [link.why]),
  ]
  return lines.join('\n')
}

function describeOwn({ name, displayName, pair, geography, resources, pools, stores, hosts }: RegionDetail): string {
  const rows = [
    ...pools.map((pool) => ['pool', pool.name, placeText(pool.path, pool.host), freeText(pool.space)]),
    ...stores.map((store) => ['store', store.name, store.location, freeText(store.space)]),
    ...hosts.map((host) => ['host', host.name, host.address, host.state]),
  ]
  const paired = pair === undefined ? 'It has no pair.' : `Its pair is ${pair}.`
  const head = `${name} (${displayName}, ${geography}): ${resources} resources. ${paired}`
  return rows.length === 0 ? head : `${head}\n${textTable(['KIND', 'NAME', 'WHERE', ''], rows)}`
}

function pairCommand(): Command {
  return makeHomeCommand({
    usage: 'pair <name> [pair]',
    summary: 'give a region another pair, or none',
    description: 'Pairs two regions, both ways. Whom they were paired with before has no pair then. Moves nothing.',
    examples: ['holdfast region pair cellar attic', 'holdfast region pair cellar'],
  }).action((name: string, pair: string | undefined, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const region = (await control.call('region.pair', { name, pair })) as RegionView
        output.result(region, () => `The region ${region.name} has ${region.pair ?? 'nothing'} as its pair.`)
      }),
    ),
  )
}

function removeCommand(): Command {
  return makeHomeCommand({
    usage: 'remove <name>',
    summary: 'forget a region that is not used',
    description: 'Forgets the region. Refused while it has resources, pools, stores or other hosts than this one.',
    examples: ['holdfast region remove attic'],
  }).action((name: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const gone = (await control.call('region.remove', { name })) as RegionView
        output.result(gone, () => `The region ${gone.name} is gone.`)
      }),
    ),
  )
}
