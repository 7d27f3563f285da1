/** What running the processes can fail with. One code, one meaning, one entry in docs/errors.md (a test compares). */
import { HoldfastError } from '#base'

export const SERVER_ERROR_CODES = [
  'certificate_invalid',
  'config_invalid',
  'credential_not_found',
  'face_not_open',
  'home_in_use',
  'home_path_too_long',
  'home_unusable',
  'place_exists',
  'place_invalid',
  'place_in_use',
  'place_not_found',
  'place_unusable',
  'principal_exists',
  'principal_invalid',
  'principal_last_owner',
  'principal_not_found',
  'process_not_started',
  'request_invalid',
  'role_assignment_exists',
  'role_assignment_not_found',
  'role_not_found',
  'role_scope_invalid',
  'serve_not_running',
  'serve_not_stopped',
  'task_unknown',
  'task_fenced',
  'task_failed',
  'task_invalid',
  'tls_unusable',
  'worker_lost',
  'worker_full',
  'worker_retiring',
] as const
export type ServerErrorCode = (typeof SERVER_ERROR_CODES)[number]
export class ServerError extends HoldfastError<ServerErrorCode> {}
