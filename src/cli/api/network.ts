/** holdfast network: virtual networks, subnets, network cards, public addresses, security groups. */
import { Command, Option } from 'commander'
import { parseIdOfType } from '#contract'
import { CliError } from '../errors.ts'
import { makeApiCommand, runApiCommand, type WaitOptions, withWaitOption } from './api-command.ts'
import type { ConfirmOptions } from './confirm.ts'
import { NIC, type NetworkJson, NSG, PUBLIC_IP, SUBNET, VNET } from './network-kind.ts'
import { ruleDeleteCommand, rulePutCommand } from './network-rule.ts'
import { change, deleteTargets, type Kind, showTargets } from './one-or-many.ts'
import {
  type GroupOptions,
  idOf,
  listPath,
  locationFor,
  readTagOptions,
  type TargetOptions,
  withGroupOption,
  withTargetOptions,
} from './targets.ts'

type ListOptions = GroupOptions & Readonly<{ all?: boolean }>
type CreateOptions = WaitOptions & GroupOptions & Readonly<{ location?: string; tags?: readonly string[] }>

export function networkCommand(): Command {
  return new Command('network')
    .summary('virtual networks of machines')
    .description('Shows, makes and deletes what machines are connected by. What is true on the host follows at once.')
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast network vnet create net1 -g web --prefix 10.0.0.0/16\n  holdfast network ip list -g web',
    )
    .addCommand(vnetCommand())
    .addCommand(subnetCommand())
    .addCommand(nicCommand())
    .addCommand(ipCommand())
    .addCommand(nsgCommand())
}

/** What every kind has: list, show, delete. */
function commandsOf(word: string, summary: string, kind: Kind<NetworkJson>): Command {
  const name = `holdfast network ${word}`
  const list = makeApiCommand({
    usage: 'list',
    summary: `of a group, or of all groups`,
    examples: [`${name} list -g web`, `${name} list --all -o json`],
  }).option('-a, --all', 'of all groups, whatever the default')
  const show = makeApiCommand({ usage: 'show [name]', summary: 'one in full', examples: [`${name} show n1 -g web`] })
  const remove = makeApiCommand({
    usage: 'delete [name]',
    summary: 'delete what nothing uses',
    description: 'What is still in use is refused; the message says by whom. Asks first.',
    examples: [`${name} delete n1 -g web --yes`],
  }).option('-y, --yes', 'do not ask')
  return new Command(word)
    .summary(summary)
    .addHelpText('after', `\nExamples:\n  ${name} list -g web`)
    .addCommand(
      withGroupOption(list).action((options: ListOptions) =>
        runApiCommand(options, async (context) =>
          kind.many(await context.client.list<NetworkJson>(await listPath(context, kind.type, options))),
        ),
      ),
    )
    .addCommand(
      withTargetOptions(show).action((one: string | undefined, options: TargetOptions) =>
        runApiCommand(options, (context) => showTargets(context, kind, one, options)),
      ),
    )
    .addCommand(
      withWaitOption(withTargetOptions(remove)).action(
        (one: string | undefined, options: TargetOptions & WaitOptions & ConfirmOptions) =>
          runApiCommand(options, (context) => deleteTargets(context, kind, one, options)),
      ),
    )
}

function withCreateOptions(command: Command): Command {
  return withWaitOption(withGroupOption(command))
    .option('-l, --location <region>', "its region (default: the usual one, else the group's)")
    .option('--tags <name=value...>', 'its tags')
}

type Wish<O> = Readonly<{
  /** The id of a name in the same group. */
  id: (type: string, name: string) => Promise<string>
  options: O
  existing: NetworkJson | undefined
}>
type Made<O> = (wish: Wish<O>) => Promise<Record<string, unknown>>

/** PUT of a new one, or of a known one anew. `make` gives what stands beside location and tags. */
function createCommand<O extends CreateOptions>(command: Command, kind: Kind<NetworkJson>, make: Made<O>): Command {
  return withCreateOptions(command).action((name: string, options: O) =>
    runApiCommand(options, async (context) => {
      const id = await idOf(context, name, kind.type, options)
      const existing = await context.client.find<NetworkJson>(id)
      const tags = readTagOptions(options.tags) ?? existing?.tags
      const idOfOther = (type: string, other: string): Promise<string> => idOf(context, other, type, options)
      const body = {
        location: await locationFor(context, options, existing),
        ...(tags !== undefined && { tags }),
        ...(await make({ id: idOfOther, options, existing })),
      }
      return change(context, kind, options, { method: 'PUT', id, body, doing: 'Creating' })
    }),
  )
}

function vnetCommand(): Command {
  type Options = CreateOptions & Readonly<{ prefix: readonly string[]; dns?: readonly string[] }>
  const create = makeApiCommand({
    usage: 'create <name>',
    summary: 'make a virtual network, or change its prefixes',
    examples: ['holdfast network vnet create net1 -g web --prefix 10.0.0.0/16'],
  })
    .requiredOption('--prefix <cidr...>', 'its address space, such as 10.0.0.0/16')
    .option('--dns <address...>', 'name servers that its machines are told of (default: their gateway)')
  return commandsOf('vnet', 'virtual networks', VNET).addCommand(
    createCommand<Options>(create, VNET, async ({ options: { prefix, dns } }) => ({
      properties: {
        addressSpace: { addressPrefixes: prefix },
        ...(dns !== undefined && { dhcpOptions: { dnsServers: dns } }),
      },
    })),
  )
}

/** `vnet/subnet`, or a whole id. @throws CliError `usage_invalid` */
async function subnetId(id: (type: string, name: string) => Promise<string>, text: string): Promise<string> {
  if (text.startsWith('/')) return parseIdOfType(text, SUBNET.type).text
  const [vnet, name, ...more] = text.split('/')
  if (vnet !== undefined && name !== undefined && name !== '' && more.length === 0)
    return `${await id(VNET.type, vnet)}/subnets/${name}`
  throw new CliError('usage_invalid', `"${text}" is no subnet; write VNET/SUBNET or its id.`)
}

type SubnetOptions = WaitOptions & GroupOptions & Readonly<{ prefix: string; sealed?: boolean; nsg?: string }>

function subnetCommand(): Command {
  const create = makeApiCommand({
    usage: 'create <vnet/subnet>',
    summary: 'make a subnet, or change it',
    examples: ['holdfast network subnet create net1/front -g web --prefix 10.0.0.0/24 --sealed'],
  })
    .requiredOption('--prefix <cidr>', 'its addresses, such as 10.0.0.0/24')
    .option('--sealed', 'its machines reach nothing outside of their network')
    .option('--nsg <name>', 'the security group that holds for all of it')
  const show = makeApiCommand({
    usage: 'show <vnet/subnet>',
    summary: 'one in full',
    examples: ['holdfast network subnet show net1/front -g web'],
  })
  const list = makeApiCommand({
    usage: 'list <vnet>',
    summary: 'of a virtual network',
    examples: ['holdfast network subnet list net1 -g web'],
  })
  const remove = makeApiCommand({
    usage: 'delete <vnet/subnet>',
    summary: 'delete one in which no card is',
    examples: ['holdfast network subnet delete net1/front -g web --yes'],
  }).option('-y, --yes', 'do not ask')
  return new Command('subnet')
    .summary('subnets of virtual networks')
    .addHelpText('after', '\nExamples:\n  holdfast network subnet list net1 -g web')
    .addCommand(
      withGroupOption(list).action((vnet: string, options: GroupOptions) =>
        runApiCommand(options, async (context) =>
          SUBNET.many(await context.client.list(`${await idOf(context, vnet, VNET.type, options)}/subnets`)),
        ),
      ),
    )
    .addCommand(
      withGroupOption(show).action((text: string, options: GroupOptions) =>
        runApiCommand(options, async (context) => {
          const id = await subnetId((type, name) => idOf(context, name, type, options), text)
          return SUBNET.one(await context.client.get<NetworkJson>(id))
        }),
      ),
    )
    .addCommand(
      withWaitOption(withGroupOption(create)).action((text: string, options: SubnetOptions) =>
        runApiCommand(options, async (context) => {
          const idOfOne = (type: string, name: string): Promise<string> => idOf(context, name, type, options)
          const { prefix, sealed, nsg } = options
          const properties = {
            addressPrefix: prefix,
            defaultOutboundAccess: sealed !== true,
            ...(nsg !== undefined && { networkSecurityGroup: { id: await idOfOne(NSG.type, nsg) } }),
          }
          const id = await subnetId(idOfOne, text)
          return change(context, SUBNET, options, { method: 'PUT', id, body: { properties }, doing: 'Creating' })
        }),
      ),
    )
    .addCommand(
      withWaitOption(withGroupOption(remove)).action(
        (text: string, options: WaitOptions & GroupOptions & ConfirmOptions) =>
          runApiCommand(options, async (context) => {
            const id = await subnetId((type, name) => idOf(context, name, type, options), text)
            return deleteTargets(context, SUBNET, undefined, { ...options, ids: [id] })
          }),
      ),
    )
}

function nicCommand(): Command {
  type Options = CreateOptions & Readonly<{ subnet: string; address?: string; publicIp?: string; nsg?: string }>
  const create = makeApiCommand({
    usage: 'create <name>',
    summary: 'make a network interface, or change it',
    examples: ['holdfast network nic create web1 -g web --subnet net1/front --public-ip web1 --nsg web'],
  })
    .requiredOption('--subnet <vnet/subnet>', 'where it is, or the id of a subnet')
    .option('--address <ip>', 'its address there (default: the lowest free one)')
    .option('--public-ip <name>', 'the public address by whose ports it is reached')
    .option('--nsg <name>', 'its security group')
  return commandsOf('nic', 'network interfaces', NIC).addCommand(
    createCommand<Options>(create, NIC, async ({ id, options: { subnet, address, publicIp, nsg } }) => ({
      properties: {
        ...(nsg !== undefined && { networkSecurityGroup: { id: await id(NSG.type, nsg) } }),
        ipConfigurations: [
          {
            name: 'ipconfig1',
            properties: {
              subnet: { id: await subnetId(id, subnet) },
              ...(address !== undefined && { privateIPAllocationMethod: 'Static', privateIPAddress: address }),
              ...(publicIp !== undefined && { publicIPAddress: { id: await id(PUBLIC_IP.type, publicIp) } }),
            },
          },
        ],
      },
    })),
  )
}

function ipCommand(): Command {
  const create = makeApiCommand({
    usage: 'create <name>',
    summary: 'make a public IP address',
    description:
      'The address is that of the host; ports of it stand for ports of the machine. With Standard only those that a ' +
      'security group opens, with Basic also, without a group, the usual ones.',
    examples: ['holdfast network ip create web1 -g web'],
  }).addOption(
    new Option('--sku <sku>', 'what is let in without a group').choices(['Standard', 'Basic']).default('Standard'),
  )
  return commandsOf('ip', 'public IP addresses', PUBLIC_IP).addCommand(
    createCommand<CreateOptions & Readonly<{ sku: string }>>(create, PUBLIC_IP, async ({ options: { sku } }) => ({
      sku: { name: sku },
      properties: { publicIPAllocationMethod: 'Static' },
    })),
  )
}

/** What a PUT leaves out it takes away. */
function rulesOf(existing: NetworkJson | undefined): Record<string, unknown> {
  return { securityRules: existing?.properties['securityRules'] ?? [] }
}

function nsgCommand(): Command {
  const create = makeApiCommand({
    usage: 'create <name>',
    summary: 'make a network security group; one that is there keeps its rules',
    examples: ['holdfast network nsg create web -g web'],
  })
  return commandsOf('nsg', 'network security groups', NSG)
    .addCommand(createCommand(create, NSG, async ({ existing }) => ({ properties: rulesOf(existing) })))
    .addCommand(rulePutCommand())
    .addCommand(ruleDeleteCommand())
}
