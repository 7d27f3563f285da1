/** engine/hypervisor: machines and their instants. */
export { AgentClient, type AgentOptions, withAgent } from './agent/client.ts'
export {
  beginGuestExec,
  freezeGuest,
  type GuestAddress,
  guestAddresses,
  guestExec,
  type GuestExecRequest,
  type GuestExecResult,
  type GuestFileSystem,
  guestFileSystems,
  type GuestOs,
  guestOs,
  isGuestFrozen,
  pollGuestExec,
  shutDownGuest,
  thawGuest,
} from './agent/guest.ts'
export type {
  BackingImage,
  Discovery,
  DiskSource,
  Hypervisor,
  MachineAttachment,
  MachineEnd,
  MachineStatus,
  NewDisk,
  NewMachine,
  Screenshot,
  SerialLog,
  ShutdownOptions,
  ShutdownOutcome,
} from './driver.ts'
export { HYPERVISOR_ERROR_CODES, HypervisorError, type HypervisorErrorCode } from './errors.ts'
export type { InstantHost, RunningMachine } from './instant/access.ts'
export { type BrokerOptions, InstantBroker } from './instant/broker.ts'
export { type Consumer, type Operation } from './instant/interactions.ts'
export { JournalGate, type JournalGateOptions } from './instant/journal-gate.ts'
export type { MachineSockets } from './instant/journal.ts'
export { openRunningInstant } from './instant/open-running.ts'
export { openStoppedInstant, type StoppedMachine } from './instant/open-stopped.ts'
export { openTogether, type Together } from './instant/open-together.ts'
export { type IsCommitted, type Recovered, recoverInstants } from './instant/recover.ts'
export {
  BEAT_AGE_MS_MAX,
  beatingWatchdog,
  ensureWatchdog,
  findWatchdog,
  keepWatchdog,
  recordedWatchdog,
  watchdogEntry,
  type WatchdogProcess,
} from './instant/watchdog-process.ts'
export { CONSISTENCY_REASONS, type ConsistencyReason } from './quiesce/consistency-reason.ts'
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
export { askCapabilities, type QemuCapabilities } from './qmp/capabilities.ts'
export { type EventExpectation, QmpClient, type QmpEvent, type QmpOptions, type QmpVersion } from './qmp/client.ts'
export { isObject, type JsonObject } from './qmp/shape.ts'
export { type AcceleratorChoice, chooseAccelerator, probeAccelerator } from './qemu/accelerator.ts'
export { type Accelerator, buildCommandLine, diskBlockdev, type LaunchCapabilities } from './qemu/command-line.ts'
export { diskDeviceId, diskNodeName, lunOfDeviceId } from './qemu/device-address.ts'
export { type InstantGate, type MachineChange, QemuHypervisor, type QemuHypervisorOptions } from './qemu/hypervisor.ts'
export { type MachinePaths, machinePaths, type QemuRoots } from './qemu/machine-paths.ts'
export { closedAbove } from './qemu/passage.ts'
export { findProcessUser, PROCESS_USER_NAME } from './qemu/process-user.ts'
export type { ProcessUser } from './qemu/supervisor.ts'
export { isMachineName, machineFaults } from './qemu/validate.ts'
export { CARD_MODELS, type CardModel } from './machine.ts'
export { describeNetworks } from './qemu/foreign-network.ts'
export { devicePaths } from './qemu/object-tree.ts'
export { describeRunning, type RunningDescription } from './qemu/describe-running.ts'
export { addTap, makeBubble, namespaceOf, removeBubble, type Tap } from './qemu/bubble.ts'
export { NetworkHost, type NetworkHostOptions, type NetworkOutcome } from './network/network-host.ts'
export {
  type NetworkPlan,
  type PlannedForward,
  type PlannedPort,
  type PlannedSegment,
  readNetworkPlan,
  UPLINK,
} from './network/network-plan.ts'
export { insideNetwork } from './network/entrance.ts'
export { networkUsers, whyNoNetworks } from './network/namespace.ts'
export { countGuestReads } from './qemu/guest-reads.ts'
export { hydrateOffline, type OfflineHydration } from './qemu/hydrate-offline.ts'
export { hydrate, type Hydration } from './qemu/hydration.ts'
export { type SeedFiles } from './seed/seed-image.ts'
export { seedFiles, type SeedWish } from './seed/cloud-config.ts'
export { hashPassword } from './seed/sha512-crypt.ts'
export { describeRunningDisk, growRunningDisk, type RunningDisk } from './qemu/grow-running.ts'
