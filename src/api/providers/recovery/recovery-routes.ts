/** The routes of Microsoft.RecoveryServices. */
import type { ArmRoute } from '../../arm/call.ts'
import { protectionRoutes } from './protection-routes.ts'

export const recoveryRoutes: readonly ArmRoute[] = [...protectionRoutes]
