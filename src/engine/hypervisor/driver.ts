/**
 * The Hypervisor interface: what Holdfast asks of one host that runs machines, besides their instants (port.ts).
 *
 * Machines are named; a name is unique on its host. Every call is idempotent where that has a meaning (starting what runs,
 * deleting what is gone is `machine_not_found`), so that a job's step may be repeated after a crash. Calls that change a
 * machine exclude each other, also between processes. `machine_state_conflict` means: not in this state, nothing was done.
 */
import type { HypervisorError } from './errors.ts'
import type { MachineDescription, MachineDisk, PowerState } from './machine.ts'
import type { Instant, OpenInstantOptions } from './port.ts'
import type { SeedFiles } from './seed/seed-image.ts'

/** Where a new disk's bytes come from. Images that a driver makes lie in the machine's own folder unless `path` is given. */
export type DiskSource =
  | Readonly<{ from: 'empty'; sizeBytes: number; format?: 'qcow2' | 'raw'; path?: string }>
  /** An image that exists; it is used in place. One with a backing file is refused unless that is expected. */
  | Readonly<{ from: 'image'; path: string; format: 'qcow2' | 'raw'; allowBacking?: boolean }>
  /** A qcow2 overlay over an image, which must not change as long as the overlay lives. */
  | Readonly<{ from: 'overlay'; backing: BackingImage; sizeBytes?: number; path?: string }>

export type BackingImage =
  | Readonly<{ kind: 'image'; path: string; format: 'qcow2' | 'raw' }>
  /**
   * A server on a unix socket. While it is away the guest's reads wait, for at most `reconnectDelaySeconds`; then they fail.
   * The socket's path goes into the overlay's header, so it must be the same after every restart.
   */
  | Readonly<{ kind: 'nbd'; socketPath: string; exportName: string; reconnectDelaySeconds: number }>

export type NewDisk = Readonly<{
  lun: number
  role: MachineDisk['role']
  bus: MachineDisk['bus']
  /** Default: a new one. */
  diskId?: string
  /** Default: the first 20 hex digits of the disk id. */
  serial?: string
  source: DiskSource
}>

export type NewMachine = Readonly<
  Omit<MachineDescription, 'schema' | 'uuid' | 'disks' | 'seed'> & {
    /** Default: a new one. */
    uuid?: string
    disks: readonly NewDisk[]
    /** UEFI variables to begin with, such as those of a recovery point. Default: the firmware's template. */
    uefiVarsFrom?: string
    /** What its first boot is to find; kept until the machine goes. */
    seed?: SeedFiles
  }
>

/** Why the last run ended; shown beside `stopped` and `crashed`. */
export type MachineEnd = Readonly<{ cause: string; exitCode?: number; endedAtMs?: number }>

/** A file besides the disks without which the machine is not the same. */
export type MachineAttachment = Readonly<{ name: 'uefi-vars'; path: string }>

export type MachineStatus = Readonly<{
  machine: MachineDescription
  power: PowerState
  /** Milliseconds since the Unix epoch; while it runs. */
  startedAtMs?: number
  processId?: number
  accelerator?: 'kvm' | 'tcg'
  lastEnd?: MachineEnd
  attachments: readonly MachineAttachment[]
  /** Unix sockets, while it runs: each monitor takes one client at a time, hence three. */
  sockets?: Readonly<{ control: string; instant: string; rescue: string; agent?: string }>
  /** What a user should know: slow emulation, a guest stopped by an I/O error, a monitor that does not answer. */
  notes: readonly string[]
}>

/** A machine whose description cannot be read is shown with the reason; it hides no other. */
export type Discovery = Readonly<{
  machines: readonly MachineStatus[]
  unreadable: readonly Readonly<{ name: string; error: HypervisorError }>[]
}>

export type ShutdownOptions = Readonly<{
  /** How long the guest may take. */
  deadlineMs: number
  /** Whether to pull the plug when it did not comply. */
  thenPowerOff: boolean
  signal?: AbortSignal
}>

export type ShutdownOutcome = Readonly<{
  /** What the guest followed, or that it did not. */
  by: 'already_off' | 'agent' | 'acpi' | 'power_off'
  tookMs: number
  notes: readonly string[]
}>

/** PNG, as the guest's display stands. */
export type Screenshot = Readonly<{ widthPx: number; heightPx: number; png: Buffer }>

/** The end of what the guest wrote to its first serial port. Bytes, not text: guests write anything. */
export type SerialLog = Readonly<{ bytes: Buffer; truncated: boolean }>

export interface Hypervisor {
  readonly driver: 'qemu' | 'libvirt'

  /**
   * All machines of this host and what they are now; also after a restart of ours or of the host. Without `monitors` their
   * QEMUs are only seen, not asked: cheap enough for every second, and one that is paused counts as running.
   */
  discover(options?: Readonly<{ monitors?: boolean }>): Promise<Discovery>
  /** @throws `machine_not_found`, `machine_invalid`. */
  describe(name: string): Promise<MachineStatus>

  /** @throws `machine_exists`, `machine_invalid`, `disk_unsupported`; nothing is left of it then. */
  create(request: NewMachine): Promise<MachineStatus>
  /**
   * Makes the machine, or describes the one that is there anew: processors, memory, disks, networks. Its disks are images that
   * exist; its UEFI variables and, where none is given, its seed stay. A machine that runs is left as it is.
   * @throws as `create`; `machine_exists` when the one that is there has another UUID
   */
  define(request: NewMachine & Readonly<{ uuid: string }>): Promise<MachineStatus>
  /**
   * Removes the machine. `disks: 'delete'` also removes images that lie in the machine's own folder, never others.
   * @throws `machine_state_conflict` while it runs.
   */
  delete(name: string, options: Readonly<{ disks: 'keep' | 'delete' }>): Promise<void>

  /** Resolves when the monitor answers, long before the guest is up. @throws `machine_start_failed` with QEMU's words. */
  start(name: string, options?: Readonly<{ paused?: boolean }>): Promise<MachineStatus>
  /** Asks the agent, then ACPI. @throws BaseError `timed_out` when the guest did not comply and may not be powered off. */
  shutdown(name: string, options: ShutdownOptions): Promise<ShutdownOutcome>
  /** Ends it now. Images are closed cleanly where QEMU still answers; the guest loses what it had not flushed. */
  powerOff(name: string): Promise<void>
  pause(name: string): Promise<void>
  resume(name: string): Promise<void>

  /** @throws `instant_open`, `disk_in_use` (LUN taken), `disk_unsupported` (bus without hot plug, while it runs). */
  attachDisk(name: string, disk: NewDisk): Promise<MachineDisk>
  /**
   * Takes the disk away; its image stays. While the machine runs the guest has to let go of it (PCI and SCSI hot unplug are
   * requests): BaseError `timed_out` after `deadlineMs` means that it has not yet.
   */
  detachDisk(name: string, lun: number, options: Readonly<{ deadlineMs: number }>): Promise<MachineDisk>
  /** Grows a disk, also while it runs. A whole number of 512-byte sectors. @throws `disk_unsupported` for shrinking. */
  resizeDisk(name: string, lun: number, sizeBytes: number): Promise<void>

  screenshot(name: string): Promise<Screenshot>
  serialLog(name: string, options?: Readonly<{ bytesMax?: number }>): Promise<SerialLog>

  /** See port.ts. */
  openInstant(name: string, options: OpenInstantOptions): Promise<Instant>
}
