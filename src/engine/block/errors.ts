/** What reading and writing disks can fail with. */
import { HoldfastError } from '#base'

export const BLOCK_ERROR_CODES = [
  'nbd_unreachable',
  'nbd_protocol_violation',
  'nbd_export_not_found',
  'nbd_refused',
  'nbd_io_error',
  'nbd_disconnected',
  'nbd_timed_out',
  'nbd_address_in_use',
  'nbd_tls_failed',
  'image_not_found',
  'image_format_unknown',
  'image_format_mismatch',
  'image_backing_refused',
  'image_invalid',
  'image_too_large',
  'image_in_use',
  'image_encrypted',
  'target_too_small',
  'target_exists',
  'target_full',
  'target_read_only',
  'target_size_differs',
  'block_io_error',
] as const
export type BlockErrorCode = (typeof BLOCK_ERROR_CODES)[number]
export class BlockError extends HoldfastError<BlockErrorCode> {}
