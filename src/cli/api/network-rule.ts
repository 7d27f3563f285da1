/** Rules of a network security group: added or changed one by one, and deleted. */
import { type Command, Option } from 'commander'
import { parseCount } from '../count.ts'
import {
  type ApiContext,
  conclude,
  makeApiCommand,
  runApiCommand,
  type Shown,
  type WaitOptions,
  withWaitOption,
} from './api-command.ts'
import { NSG, type NetworkJson } from './network-kind.ts'
import { type GroupOptions, idOf, withGroupOption } from './targets.ts'

type RuleOptions = WaitOptions &
  GroupOptions &
  Readonly<{
    priority: number
    deny?: boolean
    outbound?: boolean
    protocol: string
    ports: readonly string[]
    peer: readonly string[]
  }>

function ruleBody({ priority, deny, outbound, protocol, ports, peer }: RuleOptions): unknown {
  const [here, there] = outbound === true ? ['source', 'destination'] : ['destination', 'source']
  return {
    properties: {
      priority,
      protocol: protocol === 'any' ? '*' : protocol,
      access: deny === true ? 'Deny' : 'Allow',
      direction: outbound === true ? 'Outbound' : 'Inbound',
      sourcePortRange: '*',
      destinationPortRanges: ports,
      [`${here}AddressPrefix`]: '*',
      [`${there}AddressPrefixes`]: peer,
    },
  }
}

async function shownGroup(context: ApiContext, id: string): Promise<Shown> {
  return NSG.one(await context.client.get<NetworkJson>(id))
}

export function rulePutCommand(): Command {
  const command = makeApiCommand({
    usage: 'rule-put <nsg> <rule>',
    summary: 'add a rule, or change it',
    description:
      'Without further words inbound, and allowed. Rules are tried by priority, the smallest first; the first that matches ' +
      'decides. What is allowed from the Internet gets a port of the host where the card has a public address.',
    examples: [
      'holdfast network nsg rule-put web ssh -g web --priority 1000 --protocol tcp --ports 22',
      'holdfast network nsg rule-put web no-mail -g web --priority 200 --deny --outbound --ports 25',
    ],
  })
    .requiredOption('--priority <number>', '100 to 4096', parseCount)
    .option('--ports <range...>', 'ports at the receiving end: 22, 8000-8080', ['*'])
    .addOption(new Option('--protocol <name>', 'of what').choices(['any', 'tcp', 'udp', 'icmp']).default('any'))
    .option('--peer <address...>', 'who is at the other end: address, prefix, VirtualNetwork or Internet', ['*'])
    .option('--outbound', 'of what leaves')
    .option('--deny', 'turn it away')
  return withWaitOption(withGroupOption(command)).action((nsg: string, rule: string, options: RuleOptions) =>
    runApiCommand(options, async (context) => {
      const id = await idOf(context, nsg, NSG.type, options)
      const answer = await context.client.ask(
        'PUT',
        `${id}/securityRules/${encodeURIComponent(rule)}`,
        ruleBody(options),
      )
      return conclude(context, options, answer, { task: `Changing ${nsg}`, show: () => shownGroup(context, id) })
    }),
  )
}

export function ruleDeleteCommand(): Command {
  const command = makeApiCommand({
    usage: 'rule-delete <nsg> <rule>',
    summary: 'take a rule away',
    examples: ['holdfast network nsg rule-delete web ssh -g web'],
  })
  return withWaitOption(withGroupOption(command)).action(
    (nsg: string, rule: string, options: WaitOptions & GroupOptions) =>
      runApiCommand(options, async (context) => {
        const id = await idOf(context, nsg, NSG.type, options)
        const answer = await context.client.ask('DELETE', `${id}/securityRules/${encodeURIComponent(rule)}`)
        return conclude(context, options, answer, { task: `Changing ${nsg}`, show: () => shownGroup(context, id) })
      }),
  )
}
