/** api: the Azure face. */
export { type Api, type ApiOptions, openApi } from './api.ts'
export type { ArmHost } from './arm/call.ts'
export type { Figure } from './metrics.ts'
export type { Rate } from './rate-limit.ts'
export { makeSecret, type NewSecret } from './identity/secrets.ts'
export { OpenStreams } from './blob/open-streams.ts'
