/** holdfast principal: who may log in. */
import { Command } from 'commander'
import type { NewPrincipal, PrincipalDetail, PrincipalView } from '#server'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { type HomeOptions, makeHomeCommand, withControl } from '../server/home-option.ts'
import { textTable } from '../text-table.ts'
import { addCertificateCommand, removeCredentialCommand } from './credential-commands.ts'
import { openSecretFile, type SecretFile } from './secret-file.ts'

type SecretOptions = HomeOptions & Readonly<{ secretFile?: string; days?: number; overlapHours?: number }>

export function principalCommand(): Command {
  return new Command('principal')
    .summary('who may log in to the API, and their secrets')
    .description('Adds, shows and removes service principals. A server must run: "holdfast serve".')
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast principal add ci --secret-file /etc/ci.secret\n  holdfast role assign Contributor ci',
    )
    .addCommand(addCommand())
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(removeCommand())
    .addCommand(resetCommand())
    .addCommand(addCertificateCommand())
    .addCommand(removeCredentialCommand())
}

/** The secret goes to the file where one was named, and is not shown then. */
async function makeWithSecret(
  options: SecretOptions,
  { output }: CommandContext,
  make: (call: (method: string, params: unknown) => Promise<unknown>) => Promise<unknown>,
): Promise<void> {
  const file: SecretFile | undefined =
    options.secretFile === undefined ? undefined : await openSecretFile(options.secretFile)
  try {
    await withControl(options, async (control) => {
      const made = (await make((method, params) => control.call(method, params))) as NewPrincipal
      const { secret, ...rest } = made
      await file?.write(secret)
      const shown = file === undefined ? made : { ...rest, secretFile: file.path }
      output.result(shown, () => describeNew(made, file?.path))
    })
  } finally {
    await file?.close()
  }
}

function describeNew({ name, clientId, id, secret, expiresAt }: NewPrincipal, path: string | undefined): string {
  const where = path === undefined ? `Its secret, shown once: ${secret}` : `Its secret is in ${path}.`
  const until = expiresAt === undefined ? '' : ` It ends at ${expiresAt}.`
  return `${name}: client id ${clientId}, object id ${id}.\n${where}${until}`
}

function withSecretOptions(command: Command): Command {
  return command
    .option('--secret-file <path>', 'write the secret to this new file, readable by you alone, and do not show it')
    .option('--days <count>', 'the secret ends after so many days (default: never)', parseCount)
}

function addCommand(): Command {
  return withSecretOptions(
    makeHomeCommand({
      usage: 'add <name>',
      summary: 'make a principal and its secret, which is shown once',
      description: 'Makes a service principal. It may log in, and may do nothing until it is given a role.',
      examples: ['holdfast principal add ci', 'holdfast principal add ci --secret-file /etc/ci.secret --days 365'],
    }),
  ).action((name: string, options: SecretOptions) =>
    runCommandHandler(options, (context) =>
      makeWithSecret(options, context, (call) => call('principal.add', { name, days: options.days })),
    ),
  )
}

function listCommand(): Command {
  return makeHomeCommand({
    usage: 'list',
    summary: 'principals',
    examples: ['holdfast principal list', 'holdfast principal list --output json'],
  }).action((options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const principals = (await control.call('principal.list')) as PrincipalView[]
        const rows = principals.map(({ name, clientId, id, createdAt }) => [name, clientId, id, createdAt])
        output.result(principals, () => textTable(['NAME', 'CLIENT ID', 'OBJECT ID', 'CREATED'], rows))
      }),
    ),
  )
}

function showCommand(): Command {
  return makeHomeCommand({
    usage: 'show <principal>',
    summary: 'one principal with its secrets’ ends and its roles; by name, client id or object id',
    examples: ['holdfast principal show administrator'],
  }).action((principal: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const shown = (await control.call('principal.show', { principal })) as PrincipalDetail
        output.result(shown, () => describe(shown))
      }),
    ),
  )
}

function describe({ name, clientId, id, credentials, roles }: PrincipalDetail): string {
  const secrets = credentials.map(({ id, kind, hint, createdAt, expiresAt }) => [
    id,
    kind,
    hint,
    createdAt,
    expiresAt ?? 'never',
  ])
  const given = roles.map(({ role, scope }) => [role, scope])
  return [
    `${name}: client id ${clientId}, object id ${id}.`,
    secrets.length === 0
      ? 'It has nothing to log in with.'
      : textTable(['ID', 'KIND', 'BEGINS', 'CREATED', 'ENDS'], secrets),
    given.length === 0 ? 'It has no role.' : textTable(['ROLE', 'SCOPE'], given),
  ].join('\n')
}

function removeCommand(): Command {
  return makeHomeCommand({
    usage: 'remove <principal>',
    summary: 'remove a principal with its secrets and roles',
    description: 'Its tokens are worthless at once. Refused for the last Owner of everything.',
    examples: ['holdfast principal remove ci'],
  }).action((principal: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const gone = (await control.call('principal.remove', { principal })) as PrincipalView
        output.result(gone, () => `The principal ${gone.name} is gone.`)
      }),
    ),
  )
}

function resetCommand(): Command {
  return withSecretOptions(
    makeHomeCommand({
      usage: 'reset-secret <principal>',
      summary: 'a new secret; the older ones work on for a while',
      description:
        'Makes a new secret. Older ones end after the overlap, so that programs can be changed over one by one; ' +
        '--overlap-hours 0 ends them at once. The administrator’s file in the home gets its new secret too.',
      examples: ['holdfast principal reset-secret ci', 'holdfast principal reset-secret ci --overlap-hours 0'],
    }),
  )
    .option('--overlap-hours <count>', 'older secrets work so long (default: 24)', parseHours)
    .action((principal: string, options: SecretOptions) =>
      runCommandHandler(options, (context) =>
        makeWithSecret(options, context, (call) => {
          const { days, overlapHours = 24 } = options
          return call('principal.reset-secret', { principal, days, overlapHours })
        }),
      ),
    )
}

function parseHours(text: string): number {
  return text === '0' ? 0 : parseCount(text)
}
