/** The routes that bring recovery points back. */
import type { ArmRoute } from '../../../arm/call.ts'
import { fileRoutes } from '../files/file-routes.ts'
import { crossRegionRoutes } from './cross-region.ts'
import { restoreRoutes } from './restore-routes.ts'
import { validateRestoreRoutes } from './validate-restore.ts'

export const allRestoreRoutes: readonly ArmRoute[] = [
  ...restoreRoutes,
  ...crossRegionRoutes,
  ...validateRestoreRoutes,
  ...fileRoutes,
]
