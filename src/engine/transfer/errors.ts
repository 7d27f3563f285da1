/** What backing up and bringing back can fail with, beyond what its three parts raise. */
import { HoldfastError } from '#base'

export const TRANSFER_ERROR_CODES = [
  'disk_size_invalid',
  'source_shrank',
  'source_not_readable',
  'thread_failed',
  'restore_mismatch',
  'restore_not_marked',
  'restore_unfinished',
  'attachment_too_large',
  'boot_in_progress',
  'boot_machine_stopped',
  'boot_record_damaged',
  'files_damaged',
  'files_unsupported',
  'files_not_found',
  'files_not_a_folder',
  'files_not_a_file',
  'files_name_unsafe',
  'files_target_exists',
] as const
export type TransferErrorCode = (typeof TRANSFER_ERROR_CODES)[number]
export class TransferError extends HoldfastError<TransferErrorCode> {}
