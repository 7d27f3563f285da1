/** Any error as the body of an answer. What is not ArmError is translated by its code; a fault of ours tells nothing of its inside. */
import { type ErrorShape, HoldfastError } from '#base'
import { ArmError, type ArmErrorBody } from '#contract'

export type ErrorReply = Readonly<{ status: number; body: ArmErrorBody; headers: Readonly<Record<string, string>> }>

/** Codes of the parts below that say something which Azure has a word for. */
const TRANSLATED: Readonly<Record<string, ArmError['code']>> = {
  cancelled: 'OperationPreempted',
  timed_out: 'GatewayTimeout',
  invalid_argument: 'InvalidParameter',
  job_input_invalid: 'InvalidParameter',
  catalog_busy: 'ServiceUnavailable',
  catalog_full: 'ServiceUnavailable',
  catalog_unavailable: 'ServiceUnavailable',
  snapshot_instant_lost: 'SnapshotInstantLost',
  snapshot_in_use: 'OperationNotAllowed',
  image_in_demand: 'OperationNotAllowed',
  point_locked: 'OperationNotAllowed',
  disk_in_use: 'OperationNotAllowed',
  disk_unsupported: 'NotSupported',
  instant_open: 'OperationNotAllowed',
  instant_failed: 'Conflict',
  instant_broken: 'Conflict',
  nbd_server_foreign: 'Conflict',
  source_not_readable: 'Conflict',
  freeze_failed: 'OperationNotAllowed',
  quiesce_failed: 'OperationNotAllowed',
  qmp_busy: 'OperationNotAllowed',
  qmp_unreachable: 'Conflict',
  pool_full: 'InsufficientCapacity',
  store_full: 'InsufficientCapacity',
  target_full: 'InsufficientCapacity',
  image_not_found: 'NotFound',
  image_in_use: 'Conflict',
  image_invalid: 'InvalidParameter',
  image_backing_refused: 'InvalidParameter',
  image_encrypted: 'InvalidParameter',
  image_format_unknown: 'InvalidParameter',
  image_format_mismatch: 'InvalidParameter',
  image_too_large: 'InvalidParameter',
  disk_in_demand: 'OperationNotAllowed',
  network_unavailable: 'OperationNotAllowed',
  network_failed: 'Conflict',
  network_ports_exhausted: 'InsufficientCapacity',
  network_in_use: 'OperationNotAllowed',
  card_not_there: 'NotFound',
  disk_not_there: 'NotFound',
  disk_not_shrunk: 'OperationNotAllowed',
  import_refused: 'InvalidParameter',
  upload_invalid: 'InvalidParameter',
  host_full: 'AllocationFailed',
  machine_not_there: 'NotFound',
  machine_not_found: 'NotFound',
  machine_invalid: 'InvalidParameter',
  machine_start_failed: 'Conflict',
  machine_path_closed: 'OperationNotAllowed',
  machine_state_conflict: 'Conflict',
  command_lost: 'Conflict',
  agent_unavailable: 'Conflict',
  agent_busy: 'Conflict',
  agent_frozen: 'Conflict',
  agent_command_failed: 'Conflict',
  region_without_pool: 'AllocationFailed',
  region_without_store: 'AllocationFailed',
  store_unavailable: 'ServiceUnavailable',
  store_read_only: 'ServiceUnavailable',
  host_away: 'ServiceUnavailable',
  host_unknown: 'Conflict',
  snapshot_host_away: 'ServiceUnavailable',
  vault_not_there: 'NotFound',
  vault_not_empty: 'ServiceResourceNotEmptyWithContainerDetails',
  vault_name_taken: 'Conflict',
  vault_key_missing: 'Conflict',
  policy_invalid: 'BMSUserErrorInvalidPolicyInput',
  time_zone_unknown: 'BMSUserErrorInvalidPolicyInput',
  blob_locked: 'OperationNotAllowed',
  store_not_shared: 'OperationNotAllowed',
  disk_elsewhere: 'InvalidParameter',
  worker_lost: 'ServiceUnavailable',
  bytes_unreachable: 'ServiceUnavailable',
  reads_too_many: 'ServiceUnavailable',
  recovery_point_not_there: 'ResourceNotFound',
  files_not_found: 'NotFound',
  files_not_a_folder: 'InvalidParameter',
  files_not_a_file: 'InvalidParameter',
  files_name_unsafe: 'InvalidParameter',
  files_unsupported: 'NotSupported',
  files_damaged: 'Conflict',
}

/** Undefined for what is not an error of Holdfast: then the caller logs it. */
export function armErrorOf(error: unknown): ArmError | undefined {
  if (error instanceof ArmError) return error
  if (!(error instanceof HoldfastError)) return undefined
  const code = TRANSLATED[error.code]
  if (code === undefined) return undefined
  const message = error.hint === undefined ? error.message : `${error.message} ${error.hint}`
  return new ArmError(code, message, { cause: error, details: [{ code: error.code, message: error.message }] })
}

export function errorReply(error: unknown, requestId: string): ErrorReply {
  const known =
    armErrorOf(error) ??
    new ArmError('InternalServerError', `Holdfast failed; its log tells more under the request id ${requestId}.`)
  const headers = known.retry === 'later' && known.status >= 429 ? { 'retry-after': '1' } : {}
  return { status: known.status, body: known.body, headers }
}

/** A job's error inside an operation's status. A code of Azure's stays; of ours becomes the nearest, with our own as detail. */
export function operationErrorOf(shape: ErrorShape): ArmErrorBody['error'] {
  const { code, message, hint } = shape
  const text = hint === undefined ? message : `${message} ${hint}`
  const translated = TRANSLATED[code]
  if (/^[A-Z]/.test(code)) return { code, message: text }
  return { code: translated ?? 'InternalServerError', message: text, details: [{ code, message }] }
}
