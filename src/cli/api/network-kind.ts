/** What is in virtual networks, as the commands show it. */
import { textTable } from '../text-table.ts'
import type { Kind } from './one-or-many.ts'
import type { ResourceJson } from './resource-json.ts'
import { groupIn, nameOf } from './targets.ts'
import { factLines, tagsCell, textCell } from './words.ts'

export type NetworkJson = ResourceJson & Readonly<{ properties: Readonly<Record<string, unknown>> }>
type Column = readonly [heading: string, cell: (one: NetworkJson) => string]

function at(value: unknown, path: string): unknown {
  let found = value
  for (const name of path.split('.'))
    found = typeof found === 'object' && found !== null ? (found as Record<string, unknown>)[name] : undefined
  return found
}

/** The value at a path of the properties. */
function property(path: string): (one: NetworkJson) => string {
  return ({ properties }) => textCell(at(properties, path))
}

/** The name at the end of the id at a path. */
function linked(path: string): (one: NetworkJson) => string {
  return ({ properties }) => {
    const id = at(properties, path)
    return typeof id === 'string' ? textCell(nameOf(id)) : ''
  }
}

function listAt(path: string): (one: NetworkJson) => readonly unknown[] {
  return ({ properties }) => {
    const list = at(properties, path)
    return Array.isArray(list) ? list : []
  }
}

function texts(path: string, item: string): (one: NetworkJson) => string {
  return (one) =>
    listAt(path)(one)
      .map((each) => textCell(item === '' ? each : at(each, item)))
      .join(', ')
}

const CONFIGURATION = 'ipConfigurations.0.properties'

/** `10.0.0.0/24`, and `sealed` where its machines reach nothing outside. */
function subnetText(subnet: unknown): string {
  const sealed = at(subnet, 'properties.defaultOutboundAccess') === false ? ' sealed' : ''
  return `${textCell(at(subnet, 'name'))} ${textCell(at(subnet, 'properties.addressPrefix'))}${sealed}`
}

/** `ssh 1000 in allow tcp 22 from *` */
export function ruleText(rule: unknown): string {
  const value = (name: string): string => {
    const many = at(
      rule,
      `properties.${name.replace(/(Prefix|Range)$/, (end) => (end === 'Prefix' ? 'Prefixes' : 'Ranges'))}`,
    )
    const list = Array.isArray(many) && many.length > 0 ? many : [at(rule, `properties.${name}`)]
    return list.map(textCell).join(',')
  }
  const way =
    value('direction') === 'Inbound'
      ? `in from ${value('sourceAddressPrefix')}`
      : `out to ${value('destinationAddressPrefix')}`
  const what = `${value('access').toLowerCase()} ${value('protocol').toLowerCase()} ${value('destinationPortRange')}`
  return `${textCell(at(rule, 'name'))} ${value('priority')} ${what} ${way}`
}

function kindOf(type: string, word: string, columns: readonly Column[]): Kind<NetworkJson> {
  const facts = (one: NetworkJson): string =>
    factLines([
      ['Name', textCell(one.name)],
      ['Group', textCell(groupIn(one.id))],
      ['Location', textCell(one.location)],
      ...columns.map(([heading, cell]) => [heading, cell(one)] as const),
      ['Provisioning', textCell(one.properties['provisioningState'])],
      ['Tags', tagsCell(one.tags)],
    ])
  const table = (list: readonly NetworkJson[]): string =>
    list.length === 0
      ? `There is no ${word} here.`
      : textTable(
          ['NAME', 'GROUP', ...columns.map(([heading]) => heading.toUpperCase())],
          list.map((one) => [textCell(one.name), textCell(groupIn(one.id)), ...columns.map(([, cell]) => cell(one))]),
        )
  return {
    type,
    word,
    one: (one) => ({ value: one, table: () => facts(one) }),
    many: (list) => ({ value: list, table: () => table(list) }),
  }
}

const PROVIDER = 'Microsoft.Network'

export const VNET = kindOf(`${PROVIDER}/virtualNetworks`, 'virtual network', [
  ['Prefixes', texts('addressSpace.addressPrefixes', '')],
  ['Subnets', (one) => listAt('subnets')(one).map(subnetText).join(', ')],
])

export const SUBNET = kindOf(`${PROVIDER}/virtualNetworks/subnets`, 'subnet', [
  ['Prefix', property('addressPrefix')],
  ['Outbound', ({ properties }) => (properties['defaultOutboundAccess'] === false ? 'sealed' : 'yes')],
  ['NSG', linked('networkSecurityGroup.id')],
  ['Cards', (one) => textCell(listAt('ipConfigurations')(one).length)],
])

export const NIC = kindOf(`${PROVIDER}/networkInterfaces`, 'network interface', [
  ['Address', property(`${CONFIGURATION}.privateIPAddress`)],
  ['MAC', property('macAddress')],
  ['Subnet', linked(`${CONFIGURATION}.subnet.id`)],
  ['Public IP', linked(`${CONFIGURATION}.publicIPAddress.id`)],
  ['NSG', linked('networkSecurityGroup.id')],
  ['Machine', linked('virtualMachine.id')],
])

export const PUBLIC_IP = kindOf(`${PROVIDER}/publicIPAddresses`, 'public IP address', [
  ['Address', property('ipAddress')],
  ['Ports', texts('ipTags', 'tag')],
  [
    'Card',
    ({ properties }) => textCell(/networkInterfaces\/([^/]+)/.exec(String(at(properties, 'ipConfiguration.id')))?.[1]),
  ],
  ['SKU', (one) => textCell(at(one, 'sku.name'))],
])

export const NSG = kindOf(`${PROVIDER}/networkSecurityGroups`, 'network security group', [
  ['Rules', (one) => listAt('securityRules')(one).map(ruleText).join('; ')],
])
