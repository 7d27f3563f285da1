/** What the command line itself can fail with, beyond what the parts raise. */
import { HoldfastError } from '#base'

export const CLI_ERROR_CODES = [
  'usage_invalid',
  'passphrase_missing',
  'passphrase_mismatch',
  'key_file_unreadable',
  'secret_file_unusable',
  'target_folder_invalid',
  'cache_folder_unusable',
  'api_unreachable',
  'api_login_refused',
  'api_answer_invalid',
  'confirmation_missing',
  'recovery_point_not_found',
  'file_exists',
  'download_failed',
  'defaults_invalid',
  'system_error',
  'internal_error',
] as const
export type CliErrorCode = (typeof CLI_ERROR_CODES)[number]
export class CliError extends HoldfastError<CliErrorCode> {}
