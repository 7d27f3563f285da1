/** What a hypervisor can fail with. */
import { HoldfastError } from '#base'

export const HYPERVISOR_ERROR_CODES = [
  'qmp_unreachable',
  'qmp_busy',
  'qmp_protocol_violation',
  'qmp_command_failed',
  'qmp_disconnected',
  'agent_unavailable',
  'agent_busy',
  'agent_command_failed',
  'agent_frozen',
  'freeze_failed',
  'quiesce_failed',
  'machine_invalid',
  'machine_not_found',
  'machine_exists',
  'machine_state_conflict',
  'machine_start_failed',
  'machine_path_closed',
  'machine_crashed',
  'disk_in_use',
  'disk_unsupported',
  'instant_open',
  'instant_broken',
  'instant_failed',
  'nbd_server_foreign',
  'accelerator_unavailable',
  'hypervisor_feature_missing',
  'network_invalid',
  'network_unavailable',
  'network_failed',
] as const
export type HypervisorErrorCode = (typeof HYPERVISOR_ERROR_CODES)[number]
export class HypervisorError extends HoldfastError<HypervisorErrorCode> {}
