/** The fields of virtual networks and subnets: what the check and docs/api/networks.md are made from. */
import type { FieldTable } from '../../arm/field-table.ts'

const P = 'properties.'
const readOnly = (...paths: readonly string[]): FieldTable => paths.map((path) => ({ path, use: 'read-only' }))
const refused = (note: string, ...paths: readonly string[]): FieldTable =>
  paths.map((path) => ({ path, use: 'refused', note }))

export const SUBNET_FIELDS: FieldTable = [
  ...readOnly('id', 'name', 'type', 'etag', 'location'),
  { path: `${P}addressPrefix`, use: 'honoured', note: 'IPv4, /29 or larger' },
  { path: `${P}addressPrefixes`, use: 'honoured', note: 'one, in place of addressPrefix' },
  { path: `${P}networkSecurityGroup`, use: 'honoured', note: 'its id' },
  { path: `${P}defaultOutboundAccess`, use: 'honoured', note: 'false: the subnet is sealed; default true' },
  { path: `${P}privateEndpointNetworkPolicies`, use: 'stored', note: 'there are no private endpoints' },
  { path: `${P}privateLinkServiceNetworkPolicies`, use: 'stored', note: 'there are no private links' },
  ...refused('Machines of a network reach each other; there are no further routes.', `${P}routeTable`),
  ...refused('defaultOutboundAccess is the way out.', `${P}natGateway`),
  ...refused('There are no services to reach.', `${P}serviceEndpoints`, `${P}serviceEndpointPolicies`),
  ...refused('There are no services to give it to.', `${P}delegations`, `${P}serviceGateway`),
  ...refused('', `${P}ipAllocations`, `${P}ipamPoolPrefixAllocations`, `${P}sharingScope`),
  ...refused('', `${P}applicationGatewayIPConfigurations`),
  ...readOnly(
    ...['privateEndpoints', 'ipConfigurations', 'ipConfigurationProfiles', 'resourceNavigationLinks'].map((n) => P + n),
    ...['serviceAssociationLinks', 'purpose', 'provisioningState'].map((n) => P + n),
  ),
]

export const NETWORK_FIELDS: FieldTable = [
  ...readOnly('id', 'name', 'type', 'etag', 'systemData'),
  { path: 'location', use: 'honoured', note: 'a region of this server; fixed when it is made' },
  { path: 'tags', use: 'honoured' },
  ...refused('There are no edge zones.', 'extendedLocation'),
  { path: `${P}addressSpace.addressPrefixes`, use: 'honoured', note: 'IPv4, from /2 to /29' },
  ...refused('', `${P}addressSpace.ipamPoolPrefixAllocations`),
  { path: `${P}dhcpOptions.dnsServers`, use: 'honoured', note: 'machines are told of them; default: their gateway' },
  { path: `${P}subnets`, use: 'honoured', note: 'given: these and no others; absent: those that there are' },
  ...refused('Networks are not joined with each other.', `${P}virtualNetworkPeerings`),
  { path: `${P}enableDdosProtection`, use: 'refused', only: [false] },
  { path: `${P}enableVmProtection`, use: 'refused', only: [false] },
  { path: `${P}privateEndpointVNetPolicies`, use: 'stored', note: 'there are no private endpoints' },
  { path: `${P}flowTimeoutInMinutes`, use: 'refused' },
  ...refused('', `${P}ddosProtectionPlan`, `${P}bgpCommunities`, `${P}ipAllocations`, `${P}defaultPublicNatGateway`),
  { path: `${P}encryption.enabled`, use: 'refused', only: [false] },
  { path: `${P}encryption.enforcement`, use: 'refused', only: ['AllowUnencrypted'] },
  ...readOnly(`${P}resourceGuid`, `${P}provisioningState`, `${P}flowLogs`),
]
