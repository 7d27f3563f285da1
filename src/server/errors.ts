/** What running the processes can fail with. One code, one meaning, one entry in docs/errors.md (a test compares). */
import { HoldfastError } from '#base'

export const SERVER_ERROR_CODES = [
  'home_in_use',
  'home_path_too_long',
  'home_unusable',
  'process_not_started',
  'request_invalid',
  'serve_not_running',
  'serve_not_stopped',
  'task_unknown',
  'task_fenced',
  'task_failed',
  'task_invalid',
  'worker_lost',
  'worker_full',
  'worker_retiring',
] as const
export type ServerErrorCode = (typeof SERVER_ERROR_CODES)[number]
export class ServerError extends HoldfastError<ServerErrorCode> {}
