/** engine/hypervisor: machines and their instants. */
export { HYPERVISOR_ERROR_CODES, HypervisorError, type HypervisorErrorCode } from './errors.ts'
export type {
  ConsistencyLevel,
  MachineDescription,
  MachineDisk,
  MachineNetwork,
  PortForward,
  PowerState,
} from './machine.ts'
export type {
  Generation,
  Instant,
  InstantDisk,
  OpenInstantOptions,
  ScanReason,
  TrackerId,
  TrackingRequest,
} from './port.ts'
