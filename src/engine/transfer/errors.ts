/** What backing up and bringing back can fail with, beyond what its three parts raise. */
import { HoldfastError } from '#base'

export const TRANSFER_ERROR_CODES = [
  'disk_size_invalid',
  'source_shrank',
  'source_not_readable',
  'thread_failed',
  'restore_mismatch',
  'attachment_too_large',
] as const
export type TransferErrorCode = (typeof TRANSFER_ERROR_CODES)[number]
export class TransferError extends HoldfastError<TransferErrorCode> {}
