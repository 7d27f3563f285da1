/** What the job engine can fail with. One code, one meaning, one entry in docs/errors.md (a test compares). */
import { HoldfastError } from '#base'

export const JOBS_ERROR_CODES = [
  'job_unknown',
  'job_kind_unknown',
  'job_queue_unknown',
  'job_input_invalid',
  'job_secret_unreadable',
  'job_value_too_large',
  'job_value_not_json',
  'job_too_deep',
  'job_too_many_steps',
  'job_step_repeated',
  'job_step_crashed',
  'job_cleanup_failed',
  'job_failed',
  'job_lost',
  'group_not_empty',
  'deployment_failed',
  'deployment_order_lost',
  'resource_busy',
  'job_over',
  'engine_stopping',
  'schedule_unknown',
] as const
export type JobsErrorCode = (typeof JOBS_ERROR_CODES)[number]
export class JobsError extends HoldfastError<JobsErrorCode> {}
