/** holdfast host: this host and others, which join by a token and do the work on their own disks. */
import { Command } from 'commander'
import { formatBytes } from '#base'
import type { HostView, Invitation } from '#server'
import { openSecretFile, type SecretFile } from '../access/secret-file.ts'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { type HomeOptions, makeHomeCommand, withControl } from '../server/home-option.ts'
import { parseSize } from '../size.ts'
import { textTable } from '../text-table.ts'

type OfRegion = HomeOptions & Readonly<{ region?: string }>
type InviteOptions = HomeOptions & Readonly<{ server?: string; minutes?: number; tokenFile?: string }>
type AddOptions = InviteOptions & Readonly<{ driver: string }>
type SetOptions = HomeOptions & Readonly<{ tasksAtOnce?: string; rate?: string }>

export function hostCommand(): Command {
  return new Command('host')
    .summary('hosts of a region: this one, and others that join')
    .description(
      'Adds, shows, limits and removes hosts. A region begins with this one, called "local". Another one joins by a token, and ' +
        'its worker does the work on the disks of its pools ("holdfast pool add --host").',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast host list\n  holdfast host add eastus rack2 --token-file rack2.token',
    )
    .addCommand(addCommand())
    .addCommand(tokenCommand())
    .addCommand(setCommand())
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(removeCommand())
}

function withInviteOptions(command: Command): Command {
  return command
    .option('--server <address>', 'where the host reaches this server, as NAME or NAME:PORT (default: as configured)')
    .option('--minutes <count>', 'how long the token holds (default: 60)', parseCount)
    .option('--token-file <file>', 'write the token to this new file instead of showing it')
}

function addCommand(): Command {
  return withInviteOptions(
    makeHomeCommand({
      usage: 'add <region> <name>',
      summary: 'let a region use a host; one elsewhere gets a token to join by',
      description:
        'Prints a join token, which works once and for an hour, and the command that is to be run on the other host. The token ' +
        'says where the server is, whom to trust, and a secret: hand it over as you would a password. The host dials this ' +
        'server (hosts.address and hosts.port of the settings); it needs no open port itself.',
      examples: [
        'holdfast host add eastus rack2 --server backup.example.org --token-file rack2.token',
        'holdfast host add eastus local',
      ],
    }),
  )
    .option('--driver <driver>', 'what runs its machines', 'qemu')
    .action((region: string, name: string, options: AddOptions) =>
      runCommandHandler(options, (context) =>
        invited(context, options, 'host.add', { region, name, driver: options.driver }),
      ),
    )
}

function tokenCommand(): Command {
  return withInviteOptions(
    makeHomeCommand({
      usage: 'token <region> <name>',
      summary: 'let a host join anew, and refuse what let it in before',
      description:
        'For a host that lost its home, was away longer than its certificate held, or is not trusted any more: from now on it ' +
        'is refused until somebody joins with the new token. Its pools and disks stay.',
      examples: ['holdfast host token eastus rack2 --token-file rack2.token'],
    }),
  ).action((region: string, name: string, options: InviteOptions) =>
    runCommandHandler(options, (context) => invited(context, options, 'host.token', { region, name })),
  )
}

/** @throws CliError `usage_invalid` */
function serverOf(given: string | undefined): Readonly<{ address?: string; port?: number }> {
  if (given === undefined) return {}
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*))(?::(\d{1,5}))?$/.exec(
    given,
  )
  const address = match?.[1] ?? match?.[2]
  if (address === undefined) throw new CliError('usage_invalid', `"${given}" is no NAME, NAME:PORT or [IPV6]:PORT.`)
  return { address, ...(match?.[3] !== undefined && { port: Number(match[3]) }) }
}

async function invited(
  context: CommandContext,
  options: InviteOptions,
  method: string,
  names: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { tokenFile, minutes, server } = options
  const file = tokenFile === undefined ? undefined : await openSecretFile(tokenFile)
  try {
    await withControl(options, async (control) => {
      const answer = await control.call(method, { ...names, minutes, ...serverOf(server) })
      await tell(context, answer as HostView & Partial<Invitation>, file)
    })
  } finally {
    await file?.close()
  }
}

async function tell({ output }: CommandContext, made: HostView & Partial<Invitation>, file: SecretFile | undefined) {
  const { token, loopback, expiresAt, ...host } = made
  if (token === undefined) return output.result(host, () => `The region ${made.region} uses the host ${made.name}.`)
  await file?.write(token)
  const command = 'holdfast worker --join - --home /var/lib/holdfast-host'
  const shown = { ...host, expiresAt, command, ...(file === undefined ? { token } : { tokenFile: file.path }) }
  if (loopback === true)
    output.note('Warning: hosts.address is a loopback address; no other host reaches this server. See the settings.')
  const head = `The host ${made.region}/${made.name} may join until ${expiresAt}, by dialling ${made.server}.`
  const where =
    file === undefined ? `Then give it this token, in one line:\n\n${token}` : `The token is in ${file.path}.`
  output.result(shown, () => `${head} On the host run\n\n  ${command} < TOKEN-FILE\n\n${where}`)
}

function setCommand(): Command {
  return makeHomeCommand({
    usage: 'set <region> <name>',
    summary: 'limit what a host takes on',
    description:
      'Limits what the worker of a host does at once, and how much it reads and writes a second, disks and stores together. Holds ' +
      'at once, also for what runs. "default" takes the limit of the settings. The worker of this host serves all regions: ' +
      'the narrowest of their limits for "local" holds.',
    examples: [
      'holdfast host set eastus rack2 --rate 200MiB --tasks-at-once 8',
      'holdfast host set eastus local --rate 0',
    ],
  })
    .option('--tasks-at-once <count>', 'tasks at once; further ones wait')
    .option('--rate <size>', 'bytes a second, such as 200MiB; 0: no limit')
    .action((region: string, name: string, options: SetOptions) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const { tasksAtOnce, rate } = options
          if (tasksAtOnce === undefined && rate === undefined)
            throw new CliError('usage_invalid', 'Give --tasks-at-once, --rate or both.')
          const limits = { tasksAtOnce: limitOf(tasksAtOnce, parseCount), bytesPerSecond: limitOf(rate, rateOf) }
          const host = (await control.call('host.set', { region, name, ...limits })) as HostView
          output.result(host, () => describe(host))
        }),
      ),
    )
}

/** Null: as configured. @throws CliError `usage_invalid` */
function limitOf(given: string | undefined, parse: (text: string) => number): number | null | undefined {
  if (given === undefined) return undefined
  if (given === 'default') return null
  try {
    return parse(given)
  } catch (cause) {
    throw new CliError('usage_invalid', `"${given}" is no limit: give a number, a size such as 200MiB, or default.`, {
      cause,
    })
  }
}

function rateOf(text: string): number {
  return text === '0' ? 0 : parseSize(text)
}

function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

function hostTable(hosts: readonly HostView[]): string {
  if (hosts.length === 0) return 'There is no host.'
  const rows = hosts.map(({ region, name, state, seenAt, facts, address }) => [
    region,
    name,
    state,
    seenAt ?? '',
    textOf(facts['version']),
    textOf(facts['accelerator']),
    address,
  ])
  return textTable(['REGION', 'HOST', 'STATE', 'SEEN', 'VERSION', 'ACCEL', 'ADDRESS'], rows)
}

function describe(host: HostView): string {
  const { limits, facts } = host
  const lines = Object.entries(facts)
    .filter(([name]) => !['version', 'accelerator', 'from', 'capabilities'].includes(name))
    .map(([name, value]) => `${name}: ${name === 'memoryBytes' ? formatBytes(Number(value)) : textOf(value)}`)
  const { tasksAtOnce, bytesPerSecond } = limits
  const tasks = tasksAtOnce === undefined ? 'as configured' : String(tasksAtOnce)
  const rate =
    bytesPerSecond === undefined
      ? 'as configured'
      : bytesPerSecond === 0
        ? 'no limit'
        : `${formatBytes(bytesPerSecond)}/s`
  const { capabilities } = facts
  const can = Array.isArray(capabilities) ? [`can: ${capabilities.join(', ')}`] : []
  return [hostTable([host]), `tasks at once: ${tasks}`, `rate: ${rate}`, ...lines, ...can].join('\n')
}

function listCommand(): Command {
  return makeHomeCommand({
    usage: 'list',
    summary: 'hosts, whether they are connected, and what they are',
    examples: ['holdfast host list --region eastus'],
  })
    .option('--region <region>', 'only of this region')
    .action((options: OfRegion) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const hosts = (await control.call('host.list', { region: options.region })) as HostView[]
          output.result(hosts, () => hostTable(hosts))
        }),
      ),
    )
}

function showCommand(): Command {
  return makeHomeCommand({
    usage: 'show <region> <name>',
    summary: 'one host in full',
    examples: ['holdfast host show eastus rack2'],
  }).action((region: string, name: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const host = (await control.call('host.show', { region, name })) as HostView
        output.result(host, () => describe(host))
      }),
    ),
  )
}

function removeCommand(): Command {
  return makeHomeCommand({
    usage: 'remove <region> <name>',
    summary: 'forget a host that nothing uses, and refuse it from now on',
    description:
      'Ends its connections and refuses its certificate. Refused itself while a pool or a disk is there. With --lost it is forgotten ' +
      'all the same: what lies there is out of reach until a host of this name joins again; its disks and pools can be deleted.',
    examples: ['holdfast host remove eastus rack2'],
  })
    .option('--lost', 'the host does not come back')
    .action((region: string, name: string, options: HomeOptions & Readonly<{ lost?: boolean }>) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const { lost } = options
          const host = (await control.call('host.remove', { region, name, lost })) as HostView
          output.result(host, () => `${host.region} uses ${host.name} no more.`)
        }),
      ),
    )
}
