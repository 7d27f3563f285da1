/**
 * Exit codes, so that a script can tell what to do without reading words.
 *
 *   0    done
 *   1    damage: a check failed, or something that is kept cannot be given back as it was
 *   2    usage: the command line, an option or a location makes no sense
 *   3    not found: a repository, a point, a disk, an image, a machine, a program
 *   4    key: the passphrase or key file is missing or opens nothing
 *   5    refused: going on would destroy or endanger something, or it cannot be done with this input
 *   6    outside: a store, a host, a network, a disk that is full, busy or does not answer; later it may work
 *   70   a fault of Holdfast itself
 *   130  cancelled
 *   141  whoever read the output went away (as after SIGPIPE)
 *
 * docs/errors.md names the exit code of every error code; a test compares.
 */
import { ARM_STATUS_OF, type ArmErrorCode } from '#contract'
import { isHoldfastError } from '#base'

export const EXIT = {
  ok: 0,
  damage: 1,
  usage: 2,
  notFound: 3,
  key: 4,
  refused: 5,
  outside: 6,
  fault: 70,
  cancelled: 130,
  brokenPipe: 141,
} as const

/** Codes that are neither `refused`, which is the rule, nor end in a word of ENDINGS. */
const CODES: Readonly<Record<string, number>> = {
  cancelled: EXIT.cancelled,
  internal_error: EXIT.fault,
  thread_failed: EXIT.fault,
  job_step_crashed: EXIT.fault,

  key_wrong: EXIT.key,
  api_login_refused: EXIT.key,
  passphrase_missing: EXIT.key,
  passphrase_mismatch: EXIT.key,
  key_file_unreadable: EXIT.key,
  job_secret_unreadable: EXIT.key,
  region_key_missing: EXIT.key,
  vault_key_missing: EXIT.key,

  usage_invalid: EXIT.usage,
  invalid_argument: EXIT.usage,
  store_location_invalid: EXIT.usage,
  target_folder_invalid: EXIT.usage,
  cache_folder_unusable: EXIT.usage,
  blob_key_invalid: EXIT.usage,
  retention_invalid: EXIT.usage,
  time_zone_unknown: EXIT.usage,
  cron_invalid: EXIT.usage,
  job_input_invalid: EXIT.usage,
  certificate_invalid: EXIT.usage,
  config_invalid: EXIT.usage,
  join_token_invalid: EXIT.usage,
  place_invalid: EXIT.usage,
  principal_invalid: EXIT.usage,
  role_scope_invalid: EXIT.usage,
  secret_file_unusable: EXIT.usage,
  machine_invalid: EXIT.usage,
  image_format_unknown: EXIT.usage,
  defaults_invalid: EXIT.usage,
  policy_invalid: EXIT.usage,

  pack_missing: EXIT.damage,
  chunk_missing: EXIT.damage,
  log_rolled_back: EXIT.damage,
  mirror_diverged: EXIT.damage,
  blob_range_invalid: EXIT.damage,
  image_invalid: EXIT.damage,
  restore_mismatch: EXIT.damage,

  command_missing: EXIT.notFound,
  job_unknown: EXIT.notFound,
  nothing_to_recover: EXIT.notFound,
  job_queue_unknown: EXIT.notFound,
  schedule_unknown: EXIT.notFound,
  region_without_store: EXIT.notFound,
  region_without_pool: EXIT.notFound,
  host_full: EXIT.refused,
  machine_not_there: EXIT.notFound,
  vm_not_in_desirable_state: EXIT.outside,
  item_not_there: EXIT.notFound,
  vault_not_there: EXIT.notFound,
  recovery_point_not_there: EXIT.notFound,
  command_lost: EXIT.refused,
  disk_not_there: EXIT.notFound,
  card_not_there: EXIT.notFound,
  point_ambiguous: EXIT.notFound,

  // Azure answers these with 400; nothing is wrong with the command.
  InUseNetworkSecurityGroupCannotBeDeleted: EXIT.refused,
  InUsePrefixCannotBeDeleted: EXIT.refused,
  InUseSubnetCannotBeDeleted: EXIT.refused,
  NicInUse: EXIT.refused,
  PrivateIPAddressIsAllocated: EXIT.refused,
  PublicIPAddressCannotBeDeleted: EXIT.refused,
  PublicIPAddressInUse: EXIT.refused,
  SubnetIsFull: EXIT.refused,

  system_error: EXIT.outside,
  alert_not_told: EXIT.outside,
  link_answer_lost: EXIT.outside,
  link_unsettled: EXIT.outside,
  api_answer_invalid: EXIT.outside,
  nbd_address_in_use: EXIT.outside,
  nbd_protocol_violation: EXIT.outside,
  qmp_protocol_violation: EXIT.outside,
  rpc_closed: EXIT.outside,
  host_away: EXIT.outside,
  hosts_port_unusable: EXIT.outside,
  snapshot_host_away: EXIT.outside,
  worker_lost: EXIT.outside,
  face_not_open: EXIT.outside,
  place_unusable: EXIT.outside,
  serve_not_running: EXIT.outside,
  serve_not_stopped: EXIT.outside,
  worker_retiring: EXIT.outside,
  process_not_started: EXIT.outside,
  engine_stopping: EXIT.outside,
  packs_deleted: EXIT.outside,
  prune_overtaken: EXIT.outside,
  index_damaged: EXIT.outside,
  source_shrank: EXIT.outside,
  agent_frozen: EXIT.outside,
  instant_broken: EXIT.outside,
  machine_crashed: EXIT.outside,
}

/** What whole families of codes are; the first that fits. */
const ENDINGS: readonly (readonly [number, RegExp])[] = [
  [EXIT.damage, /_(corrupt|damaged)$/],
  [EXIT.notFound, /_not_found$/],
  [EXIT.outside, /_(unavailable|full|unreachable|disconnected|busy|contended|failed|io_error)$|timed_out$/],
]

/** The exit code for what was thrown. */
export function exitCodeOf(error: unknown): number {
  return isHoldfastError(error) ? exitCodeOfCode(error.code) : EXIT.fault
}

export function exitCodeOfCode(code: string): number {
  const known = CODES[code]
  if (known !== undefined) return known
  if (code in ARM_STATUS_OF) return exitCodeOfStatus(ARM_STATUS_OF[code as ArmErrorCode])
  return ENDINGS.find(([, pattern]) => pattern.test(code))?.[0] ?? EXIT.refused
}

/** What the API refused, by its HTTP status. */
function exitCodeOfStatus(status: number): number {
  if (status === 400 || status === 413) return EXIT.usage
  if (status === 401) return EXIT.key
  if (status === 404) return EXIT.notFound
  return status >= 500 ? EXIT.outside : EXIT.refused
}
