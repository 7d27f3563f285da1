/** The routes of what a vault protects: items, their points, and jobs. */
import type { ArmRoute } from '../../arm/call.ts'
import { backupJobRoutes } from './backup-jobs.ts'
import { backupStatusRoutes } from './backup-status.ts'
import { discoveryRoutes } from './discovery.ts'
import { protectedItemRoutes } from './protected-items.ts'
import { protectionGroupRoutes } from './protection-groups.ts'
import { recoveryPointRoutes } from './recovery-points.ts'
import { vaultOperationRoutes } from './vault-operations.ts'

export const protectionRoutes: readonly ArmRoute[] = [
  ...vaultOperationRoutes,
  ...backupJobRoutes,
  ...discoveryRoutes,
  ...protectedItemRoutes,
  ...protectionGroupRoutes,
  ...recoveryPointRoutes,
  ...backupStatusRoutes,
]
