/** holdfast vault: where recovery points are kept. */
import { Command, Option } from 'commander'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { type ApiContext, makeApiCommand, runApiCommand, type WaitOptions, withWaitOption } from './api-command.ts'
import type { ConfirmOptions } from './confirm.ts'
import { change, deleteTargets, showTargets } from './one-or-many.ts'
import {
  type GroupOptions,
  idOf,
  listPath,
  locationFor,
  pathOfGroup,
  readTagOptions,
  type TargetOptions,
  withGroupOption,
  withTargetOptions,
} from './targets.ts'
import { vaultKeyCommand } from './vault-key.ts'
import { type DeletedVaultJson, deletedTable, VAULT, VAULT_TYPE, type VaultJson } from './vault-kind.ts'
import { vaultMirrorCommand } from './vault-mirror.ts'

type ListOptions = GroupOptions & Readonly<{ all?: boolean }>
type Settings = Readonly<{
  redundancy?: string
  crossRegionRestore?: boolean
  softDelete?: string
  softDeleteDays?: number
  immutability?: string
  immutableDays?: number
  tags?: readonly string[]
}>
type CreateOptions = WaitOptions & GroupOptions & Settings & Readonly<{ location?: string }>
type RegionOptions = GroupOptions & Readonly<{ location?: string }>

export function vaultCommand(): Command {
  return new Command('vault')
    .summary('where recovery points are kept')
    .description(
      'Makes, shows, changes and deletes vaults. A vault is a repository with a key of its own in its region.',
    )
    .addHelpText('after', '\nExamples:\n  holdfast vault create v1 -g web\n  holdfast vault list')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(createCommand())
    .addCommand(setCommand())
    .addCommand(deleteCommand())
    .addCommand(deletedCommand())
    .addCommand(undeleteCommand())
    .addCommand(vaultMirrorCommand())
    .addCommand(vaultKeyCommand())
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: 'vaults of a group, or of all groups',
    examples: ['holdfast vault list -g web', 'holdfast vault list --all -o json'],
  }).option('-a, --all', 'of all groups, whatever the default')
  return withGroupOption(command).action((options: ListOptions) =>
    runApiCommand(options, async (context) =>
      VAULT.many(await context.client.list<VaultJson>(await listPath(context, VAULT_TYPE, options))),
    ),
  )
}

function showCommand(): Command {
  const command = makeApiCommand({
    usage: 'show [name]',
    summary: 'one vault in full',
    examples: ['holdfast vault show v1 -g web'],
  })
  return withTargetOptions(command).action((name: string | undefined, options: TargetOptions) =>
    runApiCommand(options, (context) => showTargets(context, VAULT, name, options)),
  )
}

function withSettings(command: Command): Command {
  return command
    .addOption(
      new Option('--redundancy <kind>', 'GeoRedundant is mirrored to the paired region').choices([
        'LocallyRedundant',
        'GeoRedundant',
        'ZoneRedundant',
      ]),
    )
    .option('--cross-region-restore', 'restores in the paired region; for good')
    .addOption(new Option('--soft-delete <state>', 'AlwaysON is for good').choices(['Enabled', 'Disabled', 'AlwaysON']))
    .option('--soft-delete-days <days>', 'how long what is deleted is kept, 14 to 180', parseCount)
    .addOption(new Option('--immutability <state>', 'Locked is for good').choices(['Disabled', 'Unlocked', 'Locked']))
    .option('--immutable-days <days>', 'how long each point is kept at least (default: as its policy says)', parseCount)
    .option('--tags <name=value...>', 'its tags')
}

function settingsBody(options: Settings): Readonly<Record<string, unknown>> {
  const { redundancy, crossRegionRestore, softDelete, softDeleteDays, immutability, immutableDays } = options
  const tags = readTagOptions(options.tags)
  const soft = {
    ...(softDelete !== undefined && { softDeleteState: softDelete }),
    ...(softDeleteDays !== undefined && { softDeleteRetentionPeriodInDays: softDeleteDays }),
  }
  const immutable = {
    ...(immutability !== undefined && { state: immutability }),
    ...(immutableDays !== undefined && { configuration: { type: 'TimeBased', durationInDays: immutableDays } }),
  }
  return {
    ...(tags !== undefined && { tags }),
    properties: {
      redundancySettings: {
        ...(redundancy !== undefined && { standardTierStorageRedundancy: redundancy }),
        ...(crossRegionRestore === true && { crossRegionRestore: 'Enabled' }),
      },
      securitySettings: { softDeleteSettings: soft, immutabilitySettings: immutable },
    },
  }
}

function createCommand(): Command {
  const command = makeApiCommand({
    usage: 'create <name>',
    summary: 'make a vault',
    description:
      'Makes a vault in a region that has a store. Where the region is paired with another, it is GeoRedundant unless told otherwise.',
    examples: ['holdfast vault create v1 -g web', 'holdfast vault create v2 -g web --redundancy LocallyRedundant'],
  }).option('-l, --location <region>', "its region (default: the usual one, else the group's)")
  return withWaitOption(withGroupOption(withSettings(command))).action((name: string, options: CreateOptions) =>
    runApiCommand(options, async (context) => {
      const id = await idOf(context, name, VAULT_TYPE, options)
      if ((await context.client.find(id)) !== undefined)
        throw new CliError('usage_invalid', `There is a vault ${name} already.`, {
          hint: 'Change it with "holdfast vault set".',
        })
      const location = await locationFor(context, options)
      const body = { location, sku: { name: 'Standard' }, ...settingsBody(options) }
      return change(context, VAULT, options, { method: 'PUT', id, body, doing: 'Making' })
    }),
  )
}

function setCommand(): Command {
  const command = makeApiCommand({
    usage: 'set <name>',
    summary: 'change what a vault promises',
    description: 'Changes what is named and leaves the rest. What is for good is refused to be taken back.',
    examples: [
      'holdfast vault set v1 -g web --soft-delete-days 30',
      'holdfast vault set v1 -g web --immutability Unlocked',
    ],
  })
  return withWaitOption(withGroupOption(withSettings(command))).action(
    (name: string, options: WaitOptions & GroupOptions & Settings) =>
      runApiCommand(options, async (context) => {
        const id = await idOf(context, name, VAULT_TYPE, options)
        return change(context, VAULT, options, { method: 'PATCH', id, body: settingsBody(options), doing: 'Changing' })
      }),
  )
}

function deleteCommand(): Command {
  const command = makeApiCommand({
    usage: 'delete [name]',
    summary: 'delete vaults that protect no machine',
    description:
      'Deletes vaults. One that holds soft-deleted data is kept as a deleted vault until that is purged; one that protects a machine is refused. Asks first.',
    examples: ['holdfast vault delete v1 -g web', 'holdfast vault delete --yes --ids "$ID"'],
  }).option('-y, --yes', 'do not ask')
  return withWaitOption(withTargetOptions(command)).action(
    (name: string | undefined, options: TargetOptions & WaitOptions & ConfirmOptions) =>
      runApiCommand(options, (context) => deleteTargets(context, VAULT, name, options)),
  )
}

async function deletedPath({ client, defaults }: ApiContext, { location }: RegionOptions): Promise<string> {
  const region = location ?? defaults.location
  if (region === undefined)
    throw new CliError('usage_invalid', 'The region is not named.', {
      hint: 'Say -l, set HOLDFAST_LOCATION, or "holdfast configure --defaults location=...".',
    })
  const subscription = await client.subscription()
  return `/subscriptions/${subscription}/providers/Microsoft.RecoveryServices/locations/${encodeURIComponent(region)}/deletedVaults`
}

function deletedCommand(): Command {
  return makeApiCommand({
    usage: 'deleted',
    summary: 'deleted vaults of a region that are still kept',
    examples: ['holdfast vault deleted -l eastus'],
  })
    .option('-l, --location <region>', 'the region (default: the usual one)')
    .action((options: RegionOptions) =>
      runApiCommand(options, async (context) => {
        const vaults = await context.client.list<DeletedVaultJson>(await deletedPath(context, options))
        return { value: vaults, table: () => deletedTable(vaults) }
      }),
    )
}

function undeleteCommand(): Command {
  const command = makeApiCommand({
    usage: 'undelete <uid>',
    summary: 'bring a deleted vault back with all that it holds',
    examples: ['holdfast vault undelete 7d3e1c52-5a3b-4f6e-9d2b-0c1d2e3f4a5b -l eastus'],
  }).option('-l, --location <region>', 'its region (default: the usual one)')
  return withGroupOption(command).action((uid: string, options: RegionOptions) =>
    runApiCommand(options, async (context) => {
      const { client } = context
      const path = `${await deletedPath(context, options)}/${encodeURIComponent(uid)}/undelete`
      const into = options.group === undefined ? undefined : await pathOfGroup(context, options.group)
      const answer = await client.ask(
        'POST',
        path,
        into === undefined ? {} : { properties: { recoveryResourceGroupId: into } },
      )
      return VAULT.one(answer.body as VaultJson)
    }),
  )
}
