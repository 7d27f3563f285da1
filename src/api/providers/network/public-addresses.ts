/**
 * Public IP addresses. The address is the host's own, or the one that the settings name, and many share it: so each port of a
 * machine that its groups open to the Internet is a port of the host. Which one is told in `ipTags`, where every client of
 * Azure's shows it: `{ipTagType: 'HoldfastPort', tag: '22/tcp=127.0.0.1:20001'}`.
 */
import type { CatalogTransaction, ResourceRecord } from '#catalog'
import { ArmError } from '#contract'
import {
  addressOn,
  type Card,
  forwardsOf,
  listCards,
  networkSettings,
  type NetworkSettings,
  propertiesOf,
  PUBLIC_ADDRESS_TYPE,
} from '#jobs'
import type { ArmCall } from '../../arm/call.ts'
import { fieldAt, type FieldTable, storedFields } from '../../arm/field-table.ts'
import { type Content, type ContentRequest, type NetworkKind, routesOf, viewOf } from './network-kind.ts'

const P = 'properties.'
const SKUS = ['Basic', 'Standard'] as const
const METHODS = ['Dynamic', 'Static'] as const
export const PORT_TAG = 'HoldfastPort'

export const PUBLIC_ADDRESS_FIELDS: FieldTable = [
  ...['id', 'name', 'type', 'etag', 'systemData', 'kind'].map((path) => ({ path, use: 'read-only' as const })),
  { path: 'location', use: 'honoured', note: 'a region of this server; fixed when it is made' },
  { path: 'tags', use: 'honoured' },
  { path: 'zones', use: 'stored' },
  { path: 'extendedLocation', use: 'refused', note: 'There are no edge zones.' },
  { path: 'sku.name', use: 'honoured', only: SKUS, note: 'Standard: nothing is let in without a security group' },
  { path: 'sku.tier', use: 'stored', only: ['Regional'] },
  { path: `${P}publicIPAllocationMethod`, use: 'honoured', only: METHODS, note: 'Standard ones are Static' },
  { path: `${P}publicIPAddressVersion`, use: 'honoured', only: ['IPv4'] },
  { path: `${P}idleTimeoutInMinutes`, use: 'stored' },
  { path: `${P}ddosSettings`, use: 'stored' },
  { path: `${P}deleteOption`, use: 'stored' },
  { path: `${P}ipTags`, use: 'read-only', note: 'which ports of the host stand for which of the machine' },
  { path: `${P}dnsSettings`, use: 'refused', note: 'There is no public name service.' },
  { path: `${P}publicIPPrefix`, use: 'refused' },
  { path: `${P}natGateway`, use: 'refused' },
  { path: `${P}servicePublicIPAddress`, use: 'refused' },
  { path: `${P}linkedPublicIPAddress`, use: 'refused' },
  { path: `${P}migrationPhase`, use: 'refused', only: ['None'] },
  ...['ipAddress', 'ipConfiguration', 'resourceGuid', 'provisioningState'].map((name) => ({
    path: `${P}${name}`,
    use: 'read-only' as const,
  })),
]

function chosen<T extends string>(names: readonly T[], given: unknown): T | undefined {
  return names.find((name) => name.toLowerCase() === String(given).toLowerCase())
}

async function content(_call: ArmCall, _trx: CatalogTransaction, request: ContentRequest): Promise<Content> {
  const { body, existing } = request
  const before = existing === undefined ? undefined : chosen(SKUS, fieldAt(existing.body, 'sku.name'))
  const name = chosen(SKUS, fieldAt(body, 'sku.name')) ?? before ?? 'Basic'
  if (before !== undefined && name !== before)
    throw new ArmError('PropertyChangeNotAllowed', 'The SKU of a public IP address cannot be changed.', {
      target: 'sku.name',
    })
  const method =
    chosen(METHODS, fieldAt(body, `${P}publicIPAllocationMethod`)) ?? (name === 'Standard' ? 'Static' : 'Dynamic')
  if (name === 'Standard' && method !== 'Static')
    throw new ArmError('InvalidParameter', 'A Standard public IP address must be Static.', {
      target: `${P}publicIPAllocationMethod`,
    })
  const zones = fieldAt(body, 'zones')
  const properties = {
    idleTimeoutInMinutes: 4,
    ...storedFields(PUBLIC_ADDRESS_FIELDS, body, P),
    publicIPAllocationMethod: method,
    publicIPAddressVersion: 'IPv4',
  }
  return {
    body: { sku: { name, tier: 'Regional' }, ...(zones !== undefined && { zones }), properties },
    backing: existing?.backing ?? {},
  }
}

type Related = Readonly<{ cards: readonly Card[]; settings: NetworkSettings }>

function show(record: ResourceRecord, { cards, settings }: Related) {
  const card = cards.find(({ publicAddress }) => publicAddress?.toLowerCase() === record.key)
  const properties = propertiesOf(record)
  const hasAddress = card !== undefined || properties['publicIPAllocationMethod'] === 'Static'
  const ipTags = forwardsOf(record).map(({ port, protocol, hostPort }) => ({
    ipTagType: PORT_TAG,
    tag: `${port}/${protocol}=${addressOn(card?.host, settings)}:${hostPort}${card?.host === undefined ? '' : `@${card.host}`}`,
  }))
  const { sku, zones } = record.body
  const more = { sku, ...(zones !== undefined && { zones }) }
  return viewOf(
    record,
    {
      ...properties,
      ...(hasAddress && { ipAddress: settings.address }),
      ...(card !== undefined && { ipConfiguration: { id: card.configuration } }),
      ipTags,
    },
    more,
  )
}

const kind: NetworkKind<Related> = {
  type: PUBLIC_ADDRESS_TYPE,
  fields: PUBLIC_ADDRESS_FIELDS,
  content,
  related: async ({ host: { catalog } }) => ({
    cards: await listCards(catalog),
    settings: await networkSettings(catalog),
  }),
  show,
}

export const publicAddressRoutes = routesOf(kind)
