/** The routes of Microsoft.Network. */
import { operationRoutes } from '../../arm/operations.ts'
import { networkInterfaceRoutes } from './network-interfaces.ts'
import { publicAddressRoutes } from './public-addresses.ts'
import { securityGroupRoutes } from './security-groups.ts'
import { subnetRoutes } from './subnets.ts'
import { virtualNetworkRoutes } from './virtual-networks.ts'

export const networkRoutes = [
  ...virtualNetworkRoutes,
  ...subnetRoutes,
  ...networkInterfaceRoutes,
  ...publicAddressRoutes,
  ...securityGroupRoutes,
  ...operationRoutes('Microsoft.Network', ['operations']),
]
