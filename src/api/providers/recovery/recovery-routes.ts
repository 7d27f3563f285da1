/** The routes of Microsoft.RecoveryServices. */
import type { ArmRoute } from '../../arm/call.ts'

export const recoveryRoutes: readonly ArmRoute[] = []
