/** What a machine is, as far as a hypervisor is concerned: enough to create it again elsewhere. */

/**
 * crash: as if power was cut. filesystem: flushed and frozen by the agent. application: and applications were quieted, by
 * pre- and post-scripts, by the agent's freeze hooks, or by Windows' shadow copy service.
 */
export type ConsistencyLevel = 'crash' | 'filesystem' | 'application'

export type MachineDisk = Readonly<{
  /** 0 is the OS disk's position by convention of `holdfast`; data disks follow. Unique in a machine. */
  lun: number
  /** UUID, kept for the disk's life. */
  diskId: string
  role: 'os' | 'data'
  /** Absolute path of the image, and its format (always named, never probed by QEMU). */
  path: string
  format: 'qcow2' | 'raw'
  bus: 'virtio-blk' | 'virtio-scsi' | 'ide' | 'nvme' | 'usb'
  /** Shown to the guest, at most 20 characters (virtio-blk's limit). */
  serial: string
}>

/** Network cards that a machine can be given; virtio-net-pci where nothing is said. */
export const CARD_MODELS = ['virtio-net-pci', 'e1000', 'e1000e', 'rtl8139', 'vmxnet3'] as const
export type CardModel = (typeof CARD_MODELS)[number]

export type MachineNetwork =
  | Readonly<{
      kind: 'user'
      mac: string
      restricted: boolean
      forwards: readonly PortForward[]
      model?: CardModel
      /** What the card of a machine that was only looked at is attached to, in QEMU's words. For people; never acted on. */
      attachedTo?: string
    }>
  | Readonly<{ kind: 'tap'; mac: string; interface: string; namespace?: string }>
  /** A port of a virtual network of this host (network/network-host.ts): its UUID, and the port's interface there. */
  | Readonly<{ kind: 'segment'; mac: string; network: string; interface: string }>
  /** A cable between two machines and nothing else: no host, no other guest. Each machine takes one end of `link`. */
  | Readonly<{ kind: 'link'; mac: string; link: string; end: 'a' | 'b' }>
  | Readonly<{ kind: 'none' }>

export type PortForward = Readonly<{ hostPort: number; guestPort: number; protocol: 'tcp' | 'udp' }>

export type MachineDescription = Readonly<{
  schema: 1
  name: string
  /** SMBIOS UUID. */
  uuid: string
  firmware: 'bios' | 'uefi'
  machineType: 'pc' | 'q35'
  cpuCount: number
  memoryMib: number
  disks: readonly MachineDisk[]
  networks: readonly MachineNetwork[]
  /** Whether a guest agent channel is present. */
  agent: boolean
  /** Whether the image that its first boot reads (seed/seed-image.ts) lies in its folder and is shown to the guest. */
  seed?: boolean
  tags: Readonly<Record<string, string>>
}>

export type PowerState = 'running' | 'paused' | 'stopped' | 'crashed'
