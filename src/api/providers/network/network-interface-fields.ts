/** The fields of network cards: what the check and docs/api/networks.md are made from. */
import type { FieldTable } from '../../arm/field-table.ts'

const P = 'properties.'
const readOnly = (...paths: readonly string[]): FieldTable => paths.map((path) => ({ path, use: 'read-only' }))
const refused = (note: string, ...paths: readonly string[]): FieldTable =>
  paths.map((path) => ({ path, use: 'refused', note }))

export const CONFIGURATION_FIELDS: FieldTable = [
  ...readOnly('id', 'type', 'etag'),
  { path: 'name', use: 'honoured' },
  { path: `${P}subnet`, use: 'honoured', note: 'its id' },
  { path: `${P}privateIPAllocationMethod`, use: 'honoured', only: ['Dynamic', 'Static'] },
  { path: `${P}privateIPAddress`, use: 'honoured', note: 'with Static; Dynamic takes the lowest free and keeps it' },
  { path: `${P}privateIPAddressVersion`, use: 'honoured', only: ['IPv4'] },
  { path: `${P}publicIPAddress`, use: 'honoured', note: 'its id' },
  { path: `${P}primary`, use: 'honoured', only: [true] },
  ...refused('', `${P}privateIPAddressPrefixLength`, `${P}gatewayLoadBalancer`, `${P}virtualNetworkTaps`),
  ...refused('There are no load balancers.', `${P}applicationGatewayBackendAddressPools`),
  ...refused('There are no load balancers.', `${P}loadBalancerBackendAddressPools`, `${P}loadBalancerInboundNatRules`),
  ...refused('Name addresses in rules.', `${P}applicationSecurityGroups`),
  ...readOnly(`${P}provisioningState`, `${P}privateLinkConnectionProperties`),
]

export const INTERFACE_FIELDS: FieldTable = [
  ...readOnly('id', 'name', 'type', 'etag', 'systemData', 'kind'),
  { path: 'location', use: 'honoured', note: 'that of its network; fixed when it is made' },
  { path: 'tags', use: 'honoured' },
  ...refused('There are no edge zones.', 'extendedLocation'),
  { path: `${P}ipConfigurations`, use: 'honoured', note: 'one' },
  { path: `${P}networkSecurityGroup`, use: 'honoured', note: 'its id' },
  { path: `${P}enableAcceleratedNetworking`, use: 'stored', note: 'every card is a virtio one' },
  { path: `${P}disableTcpStateTracking`, use: 'refused', only: [false] },
  { path: `${P}enableIPForwarding`, use: 'refused', only: [false], note: 'A card sends from its own address only.' },
  { path: `${P}dnsSettings.dnsServers`, use: 'refused', note: 'The network says which name servers there are.' },
  { path: `${P}dnsSettings.internalDnsNameLabel`, use: 'refused', note: 'The name of its machine is its name.' },
  ...readOnly(...['appliedDnsServers', 'internalFqdn', 'internalDomainNameSuffix'].map((n) => `${P}dnsSettings.${n}`)),
  { path: `${P}nicType`, use: 'refused', only: ['Standard'] },
  { path: `${P}auxiliaryMode`, use: 'refused', only: ['None'] },
  { path: `${P}auxiliarySku`, use: 'refused', only: ['None'] },
  ...refused('', `${P}privateLinkService`, `${P}dscpConfiguration`, `${P}workloadType`, `${P}migrationPhase`),
  ...readOnly(
    ...['virtualMachine', 'macAddress', 'primary', 'resourceGuid', 'provisioningState', 'hostedWorkloads'].map(
      (n) => P + n,
    ),
    ...['tapConfigurations', 'privateEndpoint', 'vnetEncryptionSupported'].map((n) => P + n),
    `${P}defaultOutboundConnectivityEnabled`,
  ),
]
