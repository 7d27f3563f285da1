/** A security rule as it comes in: checked, and in the form in which it is kept and shown. */
import { ArmError, type ArmErrorCode } from '#contract'
import { PRIORITY_MAX, PRIORITY_MIN, readPeer, readPorts, RULE_PROTOCOLS, SERVICE_TAGS } from '#domain'
import { checkFields, fieldAt, type FieldTable } from '../../arm/field-table.ts'
import { checkNetworkName } from './network-kind.ts'

const P = 'properties.'

export const RULE_FIELDS: FieldTable = [
  ...['id', 'name', 'type', 'etag', 'location'].map((path) => ({ path, use: 'read-only' as const })),
  { path: `${P}description`, use: 'stored' },
  { path: `${P}protocol`, use: 'honoured', only: RULE_PROTOCOLS },
  { path: `${P}access`, use: 'honoured', only: ['Allow', 'Deny'] },
  { path: `${P}direction`, use: 'honoured', only: ['Inbound', 'Outbound'] },
  { path: `${P}priority`, use: 'honoured', note: `${PRIORITY_MIN} to ${PRIORITY_MAX}, one of a kind in its direction` },
  ...['sourceAddressPrefix', 'sourceAddressPrefixes', 'destinationAddressPrefix', 'destinationAddressPrefixes'].map(
    (name) => ({ path: `${P}${name}`, use: 'honoured' as const, note: `\`*\`, IPv4, or ${SERVICE_TAGS.join(', ')}` }),
  ),
  ...['sourcePortRange', 'sourcePortRanges', 'destinationPortRange', 'destinationPortRanges'].map((name) => ({
    path: `${P}${name}`,
    use: 'honoured' as const,
    note: '`*`, `22`, `8000-8080`',
  })),
  ...['sourceApplicationSecurityGroups', 'destinationApplicationSecurityGroups'].map((name) => ({
    path: `${P}${name}`,
    use: 'refused' as const,
    note: 'Name addresses in rules.',
  })),
  { path: `${P}provisioningState`, use: 'read-only' },
]

export type StoredRule = Readonly<{ name: string; properties: Readonly<Record<string, unknown>> }>

function invalid(code: ArmErrorCode, name: string, message: string, field: string): ArmError {
  return new ArmError(code, `Security rule '${name}': ${message}`, { target: `${P}${field}` })
}

/** Values of a field that comes as one or as many. @throws ArmError when it comes as neither */
function valuesOf(body: unknown, name: string, code: ArmErrorCode, one: string, many: string): string[] {
  const [single, list] = [fieldAt(body, `${P}${one}`), fieldAt(body, `${P}${many}`)]
  const values = [
    ...(single === undefined || single === '' ? [] : [single]),
    ...(Array.isArray(list) ? (list as unknown[]) : []),
  ]
  if (values.length === 0) throw invalid(code, name, `${one} or ${many} is needed.`, one)
  return values.map(String)
}

function checkPeers(body: unknown, name: string, side: 'source' | 'destination'): Record<string, unknown> {
  const [one, many] = [`${side}AddressPrefix`, `${side}AddressPrefixes`]
  const code = 'SecurityRuleInvalidAddressPrefix'
  for (const text of valuesOf(body, name, code, one, many))
    if (readPeer(text) === undefined)
      throw invalid(
        code,
        name,
        `'${text}' is no IPv4 address, prefix, or service tag of here (${SERVICE_TAGS.join(', ')}).`,
        one,
      )
  return asGiven(body, one, many)
}

function checkPorts(body: unknown, name: string, side: 'source' | 'destination'): Record<string, unknown> {
  const [one, many] = [`${side}PortRange`, `${side}PortRanges`]
  const code = 'SecurityRuleInvalidPortRange'
  for (const text of valuesOf(body, name, code, one, many))
    if (readPorts(text) === undefined) throw invalid(code, name, `'${text}' is no port or range of ports.`, one)
  return asGiven(body, one, many)
}

function asGiven(body: unknown, one: string, many: string): Record<string, unknown> {
  const list = fieldAt(body, `${P}${many}`)
  const single = fieldAt(body, `${P}${one}`)
  return { ...(single !== undefined && { [one]: single }), [many]: Array.isArray(list) ? (list as unknown[]) : [] }
}

function oneOf(body: unknown, name: string, field: string, names: readonly string[]): string {
  const given = fieldAt(body, `${P}${field}`)
  const found = names.find((one) => one.toLowerCase() === String(given).toLowerCase())
  if (found !== undefined) return found
  const code = 'SecurityRuleParameterContainsUnsupportedValue'
  throw invalid(code, name, `${field} must be one of ${names.join(', ')}.`, field)
}

/** @throws ArmError naming the rule and its field */
export function readRuleRequest(given: unknown, body: unknown): StoredRule {
  checkFields(RULE_FIELDS, body)
  const name = String(given)
  checkNetworkName(name)
  const priority = fieldAt(body, `${P}priority`)
  if (typeof priority !== 'number' || !Number.isInteger(priority) || priority < PRIORITY_MIN || priority > PRIORITY_MAX)
    throw invalid(
      'SecurityRuleInvalidPriority',
      name,
      `priority must be from ${PRIORITY_MIN} to ${PRIORITY_MAX}.`,
      'priority',
    )
  const description = fieldAt(body, `${P}description`)
  return {
    name,
    properties: {
      ...(description !== undefined && { description }),
      protocol: oneOf(body, name, 'protocol', RULE_PROTOCOLS),
      ...checkPorts(body, name, 'source'),
      ...checkPorts(body, name, 'destination'),
      ...checkPeers(body, name, 'source'),
      ...checkPeers(body, name, 'destination'),
      access: oneOf(body, name, 'access', ['Allow', 'Deny']),
      priority,
      direction: oneOf(body, name, 'direction', ['Inbound', 'Outbound']),
    },
  }
}

/** All rules of a group against each other. @throws ArmError `SecurityRuleConflict` */
export function checkRules(rules: readonly StoredRule[]): void {
  for (const [index, { name, properties }] of rules.entries()) {
    const other = rules.slice(0, index).find((one) => {
      const isSamePlace =
        one.properties['priority'] === properties['priority'] && one.properties['direction'] === properties['direction']
      return isSamePlace || one.name.toLowerCase() === name.toLowerCase()
    })
    if (other === undefined) continue
    const what = other.name.toLowerCase() === name.toLowerCase() ? 'name' : 'priority and direction'
    const message = `Security rules ${other.name} and ${name} have the same ${what}. Rules must differ in both.`
    throw new ArmError('SecurityRuleConflict', message, { target: `${P}securityRules` })
  }
}
