/** The routes of Microsoft.RecoveryServices. */
import type { ArmRoute } from '../../arm/call.ts'
import { deletedVaultRoutes } from './deleted-vaults.ts'
import { policyRoutes } from './policies.ts'
import { protectionRoutes } from './protection-routes.ts'
import { vaultConfigRoutes } from './vault-config.ts'
import { usageRoutesOf } from './vault-usage.ts'
import { vaultRoutes } from './vaults.ts'

const routes: readonly ArmRoute[] = [
  ...vaultRoutes,
  ...deletedVaultRoutes,
  ...vaultConfigRoutes,
  ...policyRoutes,
  ...protectionRoutes,
]

export const recoveryRoutes: readonly ArmRoute[] = [...routes, ...usageRoutesOf(routes)]
