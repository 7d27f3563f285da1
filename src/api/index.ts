/** api: the Azure face. */
export { allRoutes, type Api, type ApiOptions, openApi } from './api.ts'
export type { ArmCall, ArmHost, ArmReply, ArmRoute, Method } from './arm/call.ts'
export { changeSourceOf } from './arm/change-source.ts'
export { beginOperation, operationRoutes } from './arm/operations.ts'
export { showResource } from './arm/resource-view.ts'
export { makeSecret, type NewSecret } from './identity/secrets.ts'
