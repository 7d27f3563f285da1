/** What the planners can refuse. One code, one meaning, one entry in docs/errors.md (a test compares). */
import { HoldfastError } from '#base'

export const DOMAIN_ERROR_CODES = ['retention_invalid', 'time_zone_unknown', 'cron_invalid', 'policy_invalid'] as const
export type DomainErrorCode = (typeof DOMAIN_ERROR_CODES)[number]
export class DomainError extends HoldfastError<DomainErrorCode> {}
