/** Network security groups with their rules, inside of them or put one by one. The rules are enforced on the host. */
import { type CatalogTransaction, findResource, type ResourceRecord } from '#catalog'
import { ArmError } from '#contract'
import { DEFAULT_RULES, formatPeer, type SecurityRule } from '#domain'
import { type Card, listCards, listSubnets, propertiesOf, SECURITY_GROUP_TYPE, type Subnet } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { fieldAt, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import type { ResourceView } from '../../arm/resource-view.ts'
import {
  changeNetworks,
  type Content,
  type ContentRequest,
  type NetworkKind,
  putRecord,
  routesOf,
  viewOf,
} from './network-kind.ts'
import { checkRules, readRuleRequest, type StoredRule } from './security-rule-request.ts'

const P = 'properties.'
const RULE_TYPE = `${SECURITY_GROUP_TYPE}/securityRules`

export const SECURITY_GROUP_FIELDS: FieldTable = [
  ...['id', 'name', 'type', 'etag', 'systemData'].map((path) => ({ path, use: 'read-only' as const })),
  { path: 'location', use: 'honoured', note: 'a region of this server; fixed when it is made' },
  { path: 'tags', use: 'honoured' },
  { path: `${P}securityRules`, use: 'honoured' },
  { path: `${P}flushConnection`, use: 'refused', only: [false], note: 'Connections that are open stay open.' },
  ...['defaultSecurityRules', 'networkInterfaces', 'subnets', 'flowLogs', 'resourceGuid', 'provisioningState'].map(
    (name) => ({ path: `${P}${name}`, use: 'read-only' as const }),
  ),
]

function rulesIn(record: ResourceRecord | undefined): StoredRule[] {
  const { securityRules } = record === undefined ? {} : propertiesOf(record)
  return Array.isArray(securityRules) ? (securityRules as StoredRule[]) : []
}

function content(_call: ArmCall, _trx: CatalogTransaction, { body, existing }: ContentRequest): Promise<Content> {
  const given = fieldAt(body, `${P}securityRules`)
  const securityRules = Array.isArray(given)
    ? (given as unknown[]).map((one) => readRuleRequest(fieldAt(one, 'name'), one))
    : []
  checkRules(securityRules)
  return Promise.resolve({ body: { properties: { securityRules } }, backing: existing?.backing ?? {} })
}

function showRule(group: ResourceRecord, { name, properties }: StoredRule): ResourceView {
  return {
    id: `${group.id}/securityRules/${name}`,
    name,
    type: RULE_TYPE,
    etag: group.etag,
    properties: { ...properties, provisioningState: group.state },
  }
}

function showDefault(group: ResourceRecord, rule: SecurityRule): ResourceView {
  const [source] = rule.sources
  const [destination] = rule.destinations
  return {
    id: `${group.id}/defaultSecurityRules/${rule.name}`,
    name: rule.name,
    type: `${SECURITY_GROUP_TYPE}/defaultSecurityRules`,
    etag: group.etag,
    properties: {
      provisioningState: 'Succeeded',
      protocol: '*',
      sourcePortRange: '*',
      destinationPortRange: '*',
      sourceAddressPrefix: source === undefined ? '*' : formatPeer(source),
      destinationAddressPrefix: destination === undefined ? '*' : formatPeer(destination),
      access: rule.access,
      priority: rule.priority,
      direction: rule.direction,
    },
  }
}

type Related = Readonly<{ cards: readonly Card[]; subnets: readonly Subnet[] }>

function users(group: ResourceRecord, list: readonly Readonly<{ id: string; securityGroup: string | undefined }>[]) {
  return list.filter(({ securityGroup }) => securityGroup?.toLowerCase() === group.key).map(({ id }) => ({ id }))
}

function show(record: ResourceRecord, { cards, subnets }: Related): ResourceView {
  const [onCards, onSubnets] = [users(record, cards), users(record, subnets)]
  return viewOf(record, {
    securityRules: rulesIn(record).map((rule) => showRule(record, rule)),
    defaultSecurityRules: DEFAULT_RULES.map((rule) => showDefault(record, rule)),
    ...(onCards.length > 0 && { networkInterfaces: onCards }),
    ...(onSubnets.length > 0 && { subnets: onSubnets }),
  })
}

const kind: NetworkKind<Related> = {
  type: SECURITY_GROUP_TYPE,
  fields: SECURITY_GROUP_FIELDS,
  content,
  related: async ({ host: { catalog } }) => ({ cards: await listCards(catalog), subnets: await listSubnets(catalog) }),
  show,
}

async function groupOr404(call: ArmCall, trx?: CatalogTransaction): Promise<ResourceRecord> {
  const id = call.id.replace(/\/(securityRules|defaultSecurityRules)(\/[^/]+)?$/, '')
  const record = await findResource(trx ?? call.host.catalog, id)
  if (record !== undefined) return record
  throw new ArmError('ResourceNotFound', `The Resource '${SECURITY_GROUP_TYPE}/${call.param('parent')}' was not found.`)
}

function sameName(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase()
}

/** Writes the group with other rules. */
function changeRules(
  call: ArmCall,
  group: ResourceRecord,
  change: (rules: readonly StoredRule[]) => readonly StoredRule[],
) {
  return changeNetworks(call, {
    id: group.id,
    location: group.location ?? '',
    action: `${SECURITY_GROUP_TYPE}/write`,
    request: [call.method, call.id, call.body ?? null],
    write: async (trx, state) => {
      const now = await groupOr404(call, trx)
      const securityRules = change(rulesIn(now))
      checkRules(securityRules)
      const body = { ...now.body, properties: { ...propertiesOf(now), securityRules } }
      await putRecord(call, trx, { ...now, state, body })
    },
  })
}

async function putRule(call: ArmCall): Promise<ArmReply> {
  const wanted = readRuleRequest(call.param('name'), objectBody(call.body))
  const group = await groupOr404(call)
  const isNew = !rulesIn(group).some(({ name }) => sameName(name, wanted.name))
  const done = await changeRules(call, group, (rules) =>
    rules.some(({ name }) => sameName(name, wanted.name))
      ? rules.map((one) => (sameName(one.name, wanted.name) ? { ...wanted, name: one.name } : one))
      : [...rules, wanted],
  )
  return { ...(await showOneRule(call)), ...done, status: isNew ? 201 : 200 }
}

async function removeRule(call: ArmCall): Promise<ArmReply> {
  const group = await groupOr404(call)
  if (!rulesIn(group).some(({ name }) => sameName(name, call.param('name')))) return noContent
  const done = await changeRules(call, group, (rules) =>
    rules.filter(({ name }) => !sameName(name, call.param('name'))),
  )
  return { status: done.operation === undefined ? 200 : 202, ...done }
}

function showOneOf(
  list: (group: ResourceRecord) => readonly Readonly<Record<string, unknown>>[],
): (call: ArmCall) => Promise<ArmReply> {
  return async (call) => {
    const views = list(await groupOr404(call))
    const wanted = call.params['name']
    if (wanted === undefined) return ok({ value: views })
    const one = views.find(({ name }) => sameName(String(name), wanted))
    if (one !== undefined) return ok(one)
    throw new ArmError('ResourceNotFound', `The security rule '${wanted}' was not found.`)
  }
}

const showOneRule = showOneOf((group) => rulesIn(group).map((rule) => showRule(group, rule)))
const showOneDefault = showOneOf((group) => DEFAULT_RULES.map((rule) => showDefault(group, rule)))

const GROUP = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${SECURITY_GROUP_TYPE}/{parent}`
const RULES = `${GROUP}/securityRules`
const DEFAULTS = `${GROUP}/defaultSecurityRules`
export const securityGroupRoutes: readonly ArmRoute[] = [
  ...routesOf(kind),
  { method: 'GET', path: RULES, action: `${RULE_TYPE}/read`, handle: showOneRule },
  { method: 'GET', path: `${RULES}/{name}`, action: `${RULE_TYPE}/read`, handle: showOneRule },
  { method: 'PUT', path: `${RULES}/{name}`, action: `${RULE_TYPE}/write`, handle: putRule },
  { method: 'DELETE', path: `${RULES}/{name}`, action: `${RULE_TYPE}/delete`, handle: removeRule },
  ...[DEFAULTS, `${DEFAULTS}/{name}`].map((path): ArmRoute => ({
    method: 'GET',
    path,
    action: `${SECURITY_GROUP_TYPE}/defaultSecurityRules/read`,
    handle: showOneDefault,
  })),
]
