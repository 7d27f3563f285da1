/** holdfast alert: what of the vaults somebody should look at. */
import { Command, Option } from 'commander'
import { textTable } from '../text-table.ts'
import { type ApiContext, makeApiCommand, runApiCommand, type Shown } from './api-command.ts'
import { type GroupOptions, idOf, withGroupOption } from './targets.ts'
import { factLines, textCell, timeCell } from './words.ts'

const VAULT_TYPE = 'Microsoft.RecoveryServices/vaults'
const PROVIDER = 'providers/Microsoft.AlertsManagement/alerts'

type AlertJson = Readonly<{
  id: string
  name: string
  properties: Readonly<{ essentials: Readonly<Record<string, string | undefined>>; context?: unknown }>
}>
type ListOptions = GroupOptions & Readonly<{ vault?: string; all?: boolean; range?: string }>

export function alertCommand(): Command {
  return new Command('alert')
    .summary('what of the vaults somebody should look at')
    .description('Lists, shows and closes alerts of vaults. What is over by itself is resolved by itself.')
    .addHelpText('after', '\nExamples:\n  holdfast alert list\n  holdfast alert list --vault v1 -g web --all')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(closeCommand())
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: 'alerts that are open; with --all also those that are over',
    examples: ['holdfast alert list', 'holdfast alert list --vault v1 -g web --all --range 7d'],
  })
    .option('--vault <name>', 'of one vault')
    .option('-a, --all', 'also those that are over')
    .addOption(new Option('--range <time>', 'raised within').choices(['1h', '1d', '7d', '30d']))
  return withGroupOption(command).action((options: ListOptions) =>
    runApiCommand(options, async (context) => {
      const query = [
        ...(options.all === true ? [] : ['monitorCondition=Fired']),
        ...(options.range === undefined ? [] : [`timeRange=${options.range}`]),
      ].join('&')
      const alerts = await context.client.list<AlertJson>(`${await pathOf(context, options)}?${query}`)
      return { value: alerts, table: () => alertTable(alerts) }
    }),
  )
}

async function pathOf(context: ApiContext, options: ListOptions): Promise<string> {
  if (options.vault === undefined) return `/subscriptions/${await context.client.subscription()}/${PROVIDER}`
  return `${await idOf(context, options.vault, VAULT_TYPE, options)}/${PROVIDER}`
}

function showCommand(): Command {
  return makeApiCommand({
    usage: 'show <id>',
    summary: 'one alert in full',
    examples: ['holdfast alert show 0d5f7c1e-5a3b-4f6e-9d2b-0c1d2e3f4a5b'],
  }).action((id: string, options: GroupOptions) =>
    runApiCommand(options, async (context) =>
      shown(await context.client.get<AlertJson>(await pathOfAlert(context, id))),
    ),
  )
}

function closeCommand(): Command {
  return makeApiCommand({
    usage: 'close <id>',
    summary: 'say that an alert is seen to',
    examples: ['holdfast alert close 0d5f7c1e-5a3b-4f6e-9d2b-0c1d2e3f4a5b'],
  }).action((id: string, options: GroupOptions) =>
    runApiCommand(options, async (context) => {
      const path = await pathOfAlert(context, id)
      await context.client.ask('POST', `${path}/changestate?newState=Closed`)
      return shown(await context.client.get<AlertJson>(path))
    }),
  )
}

async function pathOfAlert({ client }: ApiContext, id: string): Promise<string> {
  if (id.startsWith('/')) return id
  return `/subscriptions/${await client.subscription()}/${PROVIDER}/${encodeURIComponent(id)}`
}

function shown(alert: AlertJson): Shown {
  const { essentials } = alert.properties
  return {
    value: alert,
    table: () =>
      factLines([
        ['Alert', textCell(essentials['alertRule'])],
        ['Says', textCell(essentials['description'])],
        ['Severity', textCell(essentials['severity'])],
        ['State', textCell(essentials['monitorCondition'])],
        ['Vault', textCell(essentials['targetResource'])],
        ['Raised (UTC)', timeCell(essentials['startDateTime'])],
        ['Over (UTC)', timeCell(essentials['monitorConditionResolvedDateTime'])],
      ]),
  }
}

function alertTable(alerts: readonly AlertJson[]): string {
  if (alerts.length === 0) return 'There is no alert.'
  const rows = alerts.map(({ name, properties: { essentials } }) => [
    textCell(essentials['severity']),
    textCell(essentials['alertRule']),
    textCell(essentials['targetResourceName']),
    textCell(essentials['monitorCondition']),
    timeCell(essentials['startDateTime']),
    textCell(essentials['description']),
    textCell(name),
  ])
  return textTable(['SEVERITY', 'ALERT', 'VAULT', 'STATE', 'RAISED (UTC)', 'SAYS', 'ID'], rows)
}
