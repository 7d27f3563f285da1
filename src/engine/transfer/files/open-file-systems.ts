/**
 * Says what the disks of a machine hold: for every partition, for a whole disk when it has no partition table, and for every
 * volume that is put together from parts of them, the file system that can be read, or why it cannot. Nothing is left out: a
 * partition that cannot be read appears with its reason.
 */
import type { BlockSource } from '#engine/block'
import { Discovery } from './discovery.ts'
import { DiskView } from './disk-view.ts'
import type { FileTree } from './file-tree.ts'
import type { FileSystemKind } from './open-view.ts'
import type { Partition } from './partitions.ts'

export type { FileSystemKind } from './open-view.ts'

/** A disk of the machine, called as the user knows it. */
export type NamedDisk = Readonly<{ name: string; source: BlockSource }>

export type Place = Readonly<{
  /** Names the place among all of the machine: "lun0p1", "md/data", "vg0/home". */
  volume: string
  /** The disk that it lies on, as it was named; undefined for a volume over several or for one that LVM or md made. */
  disk?: string
  partition: Partition
}>
export type OpenedFileSystem = Place &
  Readonly<{
    kind: FileSystemKind
    label: string
    /** What a user must know about what is shown. */
    notes: readonly string[]
    root: FileTree
  }>
/** `kind` names what was recognised: lvm2, luks, swap, ...; "unknown" else. */
export type RefusedFileSystem = Place & Readonly<{ kind: string; refusal: string }>
export type DiskContents = Readonly<{
  fileSystems: readonly OpenedFileSystem[]
  refused: readonly RefusedFileSystem[]
  notes: readonly string[]
}>

/**
 * Looks at every partition of the disks, and at what is put together from them.
 * @param disks one disk, or all of a machine; they must not change meanwhile, stay open and belong to the caller
 * @throws TransferError `files_damaged` when the partition table of an only disk cannot be followed (of several disks such a
 *   one is listed with its reason); BlockError when a disk cannot be read
 */
export async function openFileSystems(disks: BlockSource | readonly NamedDisk[]): Promise<DiskContents> {
  const named: readonly NamedDisk[] = 'read' in disks ? [{ name: 'disk', source: disks }] : disks
  const discovery = new Discovery(named.length === 1)
  for (const { name, source } of named) await discovery.addDisk(name, DiskView.of(source))
  await discovery.assemble()
  return discovery.contents
}
