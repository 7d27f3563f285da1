/** holdfast pool and holdfast store: where disks lie, and where their versions are kept. */
import { resolve } from 'node:path'
import { Command } from 'commander'
import { formatBytes } from '#base'
import type { Added, PoolView, StoreView } from '#server'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { type HomeOptions, makeHomeCommand, withControl } from '../server/home-option.ts'
import { parseSize } from '../size.ts'
import { textTable } from '../text-table.ts'
import { freeText, placeText } from './space-text.ts'

type OfRegion = HomeOptions & Readonly<{ region?: string }>
type AddPoolOptions = HomeOptions & Readonly<{ path: string; host?: string; reserve?: number }>
type AddStoreOptions = HomeOptions & Readonly<{ location: string; shared?: boolean; failureDomains?: number }>

type Kind = Readonly<{ name: 'pool' | 'store'; table: (places: readonly never[]) => string }>

const POOL: Kind = {
  name: 'pool',
  table: (pools: readonly PoolView[]) =>
    textTable(
      ['REGION', 'POOL', 'RESERVE', 'SPACE', 'PATH'],
      pools.map(({ region, name, reserveBytes, space, path, host }) => [
        region,
        name,
        formatBytes(reserveBytes),
        space === undefined ? 'NOT READABLE' : freeText(space),
        placeText(path, host),
      ]),
    ),
}
const STORE: Kind = {
  name: 'store',
  table: (stores: readonly StoreView[]) =>
    textTable(
      ['REGION', 'STORE', 'SPACE', 'LOCATION'],
      stores.map(({ region, name, space, location }) => [region, name, freeText(space), location]),
    ),
}

function warn({ output }: CommandContext, warnings: readonly string[]): void {
  for (const warning of warnings) output.note(`Warning: ${warning}`)
}

export function poolCommand(): Command {
  const add = makeHomeCommand({
    usage: 'add <region> <name>',
    summary: 'let a region keep disks in a folder',
    description:
      'Makes the folder where it is missing and tries it: it must be writable, keep a rename over a power cut, and have more ' +
      'free than the reserve. The reserve stays free: work that would use it is refused, so that guests do not stop.',
    examples: [
      'holdfast pool add eastus fast --path /srv/fast',
      'holdfast pool add eastus big --path /srv/big --reserve 50GiB',
      'holdfast pool add eastus far --path /srv/far --host rack2',
    ],
  })
    .requiredOption('--path <folder>', 'where the disks are to lie')
    .option('--host <name>', 'the host of the region where it lies (default: this one)')
    .option('--reserve <size>', 'what is to stay free there (default: as configured, else 2GiB)', parseSize)
    .action((region: string, name: string, options: AddPoolOptions) =>
      runCommandHandler(options, (context) =>
        withControl(options, async (control) => {
          const { path, host, reserve: reserveBytes } = options
          const params = { region, name, path: host === undefined ? resolve(path) : path, host, reserveBytes }
          const pool = (await control.call('pool.add', params)) as Added<PoolView>
          warn(context, pool.warnings)
          context.output.result(pool, () => `The region ${pool.region} has the pool ${pool.name} at ${pool.path}.`)
        }),
      ),
    )
  const made = group(
    POOL,
    'folders where the disks of a region lie',
    'holdfast pool add eastus fast --path /srv/fast',
    add,
  )
  return made.addCommand(reserveCommand())
}

function reserveCommand(): Command {
  return makeHomeCommand({
    usage: 'reserve <region> <name> <size>',
    summary: 'change what is to stay free in a pool',
    examples: ['holdfast pool reserve eastus default 20GiB'],
  }).action((region: string, name: string, size: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const reserveBytes = sizeOf(size)
        const pool = (await control.call('pool.reserve', { region, name, reserveBytes })) as PoolView
        output.result(pool, () => POOL.table([pool] as never))
      }),
    ),
  )
}

/** @throws CliError `usage_invalid` */
function sizeOf(text: string): number {
  try {
    return parseSize(text)
  } catch (cause) {
    throw new CliError('usage_invalid', `"${text}" is no size such as 64KiB or 10G.`, { cause })
  }
}

export function storeCommand(): Command {
  const add = makeHomeCommand({
    usage: 'add <region> <name>',
    summary: 'let a region keep versions of disks in a folder or bucket',
    description:
      'A folder is made where it is missing, and tried; a bucket must be there and answer. Credentials for S3 come from the ' +
      'environment of "holdfast serve", and of "holdfast worker" on hosts elsewhere.',
    examples: [
      'holdfast store add eastus vault --location /mnt/backup/east',
      'holdfast store add westus vault --location "s3://bucket/west?endpoint=https://s3.example.org"',
    ],
  })
    .requiredOption('--location <store>', 'a folder, or s3://bucket/prefix?endpoint=...')
    .option('--shared', 'the folder is mounted at the same path on all hosts of the region')
    .option(
      '--failure-domains <count>',
      'you declare that what it holds survives the loss of any one of so many parts: vaults may be ZoneRedundant',
      parseCount,
    )
    .action((region: string, name: string, options: AddStoreOptions) =>
      runCommandHandler(options, (context) =>
        withControl(options, async (control) => {
          const { location: given, shared, failureDomains } = options
          const location = /^[a-z][a-z0-9+.-]*:/i.test(given) ? given : resolve(given)
          const store = (await control.call('store.add', {
            region,
            name,
            location,
            shared,
            failureDomains,
          })) as Added<StoreView>
          warn(context, store.warnings)
          context.output.result(
            store,
            () => `The region ${store.region} has the store ${store.name} at ${store.location}.`,
          )
        }),
      ),
    )
  return group(STORE, 'where versions of a region’s disks are kept', 'holdfast store list', add)
}

function group(kind: Kind, summary: string, example: string, add: Command): Command {
  const { name } = kind
  return new Command(name)
    .summary(summary)
    .description(`Adds, shows and removes ${name}s. A server must run: "holdfast serve".`)
    .addHelpText('after', `\nExamples:\n  ${example}\n  holdfast ${name} show eastus default`)
    .addCommand(add)
    .addCommand(listCommand(kind))
    .addCommand(oneCommand(kind, 'show'))
    .addCommand(oneCommand(kind, 'remove'))
}

function listCommand({ name, table }: Kind): Command {
  return makeHomeCommand({
    usage: 'list',
    summary: `${name}s with their space`,
    examples: [`holdfast ${name} list`, `holdfast ${name} list --region eastus --output json`],
  })
    .option('--region <region>', 'only of this region')
    .action((options: OfRegion) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const places = (await control.call(`${name}.list`, { region: options.region })) as never[]
          output.result(places, () => (places.length === 0 ? `There is no ${name}.` : table(places)))
        }),
      ),
    )
}

function oneCommand({ name: kind, table }: Kind, verb: 'show' | 'remove'): Command {
  const summary = verb === 'show' ? `one ${kind} in full` : `forget a ${kind} that is not used; deletes nothing in it`
  return makeHomeCommand({
    usage: `${verb} <region> <name>`,
    summary,
    examples: [`holdfast ${kind} ${verb} eastus default`],
  }).action((region: string, name: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const place = (await control.call(`${kind}.${verb}`, { region, name })) as never
        output.result(place, () => (verb === 'show' ? table([place]) : `The ${kind} ${region}/${name} is forgotten.`))
      }),
    ),
  )
}
