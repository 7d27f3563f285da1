/** holdfast policy: when machines are backed up, and how long their points are kept. */
import { Command, Option } from 'commander'
import { CliError } from '../errors.ts'
import { type ApiContext, makeApiCommand, runApiCommand } from './api-command.ts'
import { confirmed, type ConfirmOptions } from './confirm.ts'
import { type PolicyOptions, policyBody, withPolicyOptions } from './policy-options.ts'
import { type GroupOptions, idOf, withGroupOption } from './targets.ts'
import { POLICY, type PolicyJson, VAULT_TYPE } from './vault-kind.ts'

type VaultOptions = GroupOptions & Readonly<{ vault: string }>

export function policyCommand(): Command {
  return new Command('policy')
    .summary('when machines are backed up, and how long that is kept')
    .description('Makes, shows, changes and deletes the backup policies of a vault.')
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast policy list --vault v1 -g web\n  holdfast policy create night --vault v1 -g web --daily 22:00 --keep-days 30',
    )
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(writeCommand('create'))
    .addCommand(writeCommand('set'))
    .addCommand(deleteCommand())
}

function withVault(command: Command): Command {
  return withGroupOption(
    command.addOption(new Option('--vault <name>', 'the vault, by name or id').makeOptionMandatory()),
  )
}

async function pathOf(context: ApiContext, options: VaultOptions, name?: string): Promise<string> {
  const vault = await idOf(context, options.vault, VAULT_TYPE, options)
  return `${vault}/backupPolicies${name === undefined ? '' : `/${encodeURIComponent(name)}`}`
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: 'the policies of a vault',
    examples: ['holdfast policy list --vault v1 -g web'],
  })
  return withVault(command).action((options: VaultOptions) =>
    runApiCommand(options, async (context) =>
      POLICY.many(await context.client.list<PolicyJson>(await pathOf(context, options))),
    ),
  )
}

function showCommand(): Command {
  const command = makeApiCommand({
    usage: 'show <name>',
    summary: 'one policy in full',
    examples: ['holdfast policy show DefaultPolicy --vault v1 -g web'],
  })
  return withVault(command).action((name: string, options: VaultOptions) =>
    runApiCommand(options, async (context) =>
      POLICY.one(await context.client.get<PolicyJson>(await pathOf(context, options, name))),
    ),
  )
}

const TEXTS = {
  create: ['make a policy', 'Makes a policy of its schedule and of how long each kind of point is kept.'],
  set: [
    'change a policy',
    'Writes the policy anew. What it says holds for the points that are there already: longer keeps them longer, shorter soft-deletes them.',
  ],
} as const

function writeCommand(verb: 'create' | 'set'): Command {
  const [summary, description] = TEXTS[verb]
  const command = makeApiCommand({
    usage: `${verb} <name>`,
    summary,
    description,
    examples: [
      `holdfast policy ${verb} night --vault v1 -g web --daily 22:00 --keep-days 30 --keep-weeks 12 --on Sunday`,
      `holdfast policy ${verb} often --vault v1 -g web --every 4 --from 08:00 --window 12 --keep-days 30 --time-zone Europe/Berlin`,
      `holdfast policy ${verb} like --vault v1 -g web --file policy.json`,
    ],
  })
  return withVault(withPolicyOptions(command)).action((name: string, options: VaultOptions & PolicyOptions) =>
    runApiCommand(options, async (context) => {
      const path = await pathOf(context, options, name)
      const body = await policyBody(options)
      const isThere = (await context.client.find(path)) !== undefined
      if (isThere !== (verb === 'set'))
        throw new CliError(
          'usage_invalid',
          `There is ${isThere ? 'a policy' : 'no policy'} ${name}${isThere ? ' already' : ''}.`,
          {
            hint: isThere ? 'Change it with "holdfast policy set".' : 'Make it with "holdfast policy create".',
          },
        )
      return POLICY.one((await context.client.ask('PUT', path, body)).body as PolicyJson)
    }),
  )
}

function deleteCommand(): Command {
  const command = makeApiCommand({
    usage: 'delete <name>',
    summary: 'delete a policy that protects no machine',
    examples: ['holdfast policy delete night --vault v1 -g web'],
  }).option('-y, --yes', 'do not ask')
  return withVault(command).action((name: string, options: VaultOptions & ConfirmOptions) =>
    runApiCommand(options, async (context) => {
      await confirmed(options, `Delete the policy ${name}?`)
      await context.client.ask('DELETE', await pathOf(context, options, name))
      return undefined
    }),
  )
}
