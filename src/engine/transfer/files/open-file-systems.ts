/**
 * Says what a disk holds: for every partition, or for the whole disk when it has no partition table, the file system that can
 * be read, or why it cannot. Nothing is left out: a partition that cannot be read appears with its reason.
 */
import { isHoldfastError } from '#base'
import type { BlockSource } from '#engine/block'
import { DiskView } from './disk-view.ts'
import { ExtReader } from './ext.ts'
import { FatReader } from './fat.ts'
import { FileTree } from './file-tree.ts'
import { NtfsReader } from './ntfs.ts'
import { type Partition, readPartitions } from './partitions.ts'

export type FileSystemKind = 'ext2' | 'ext3' | 'ext4' | 'fat12' | 'fat16' | 'fat32' | 'ntfs'

export type OpenedFileSystem = Readonly<{
  partition: Partition
  kind: FileSystemKind
  label: string
  /** What a user must know about what is shown. */
  notes: readonly string[]
  root: FileTree
}>
/** `kind` names what was recognised: lvm2, luks, swap, xfs, ...; "unknown" else. */
export type RefusedFileSystem = Readonly<{ partition: Partition; kind: string; refusal: string }>
export type DiskContents = Readonly<{
  fileSystems: readonly OpenedFileSystem[]
  refused: readonly RefusedFileSystem[]
  notes: readonly string[]
}>

/** What is recognised and not read here: text at an offset. */
const SIGNATURES: readonly Readonly<{ kind: string; at: number; text: string; reason: string }>[] = [
  { kind: 'xfs', at: 0, text: 'XFSB', reason: 'XFS is not read file by file.' },
  { kind: 'btrfs', at: 65_600, text: '_BHRfS_M', reason: 'Btrfs is not read file by file.' },
  { kind: 'luks', at: 0, text: 'LUKS\xba\xbe', reason: 'The partition is encrypted (LUKS).' },
  { kind: 'bitlocker', at: 3, text: '-FVE-FS-', reason: 'The partition is encrypted (BitLocker).' },
  { kind: 'lvm2', at: 512, text: 'LABELONE', reason: 'The partition belongs to an LVM volume group.' },
  { kind: 'md', at: 4096, text: '\xfc\x4e\x2b\xa9', reason: 'The partition belongs to a Linux software RAID.' },
  { kind: 'swap', at: 4086, text: 'SWAPSPACE2', reason: 'Swap space holds no files.' },
  { kind: 'exfat', at: 3, text: 'EXFAT   ', reason: 'exFAT is not read file by file.' },
  { kind: 'iso9660', at: 32_769, text: 'CD001', reason: 'ISO 9660 is not read file by file.' },
]
const JOURNAL_NOTE =
  'The file system was in use: changes of its last seconds may stand in its journal only and are not shown.'
const FAT_TIME_NOTE = 'Times are the local ones of the guest.'

type Opened = Omit<OpenedFileSystem, 'partition'>

async function openExt(view: DiskView): Promise<Opened | undefined> {
  const reader = await ExtReader.open(view)
  if (reader === undefined) return undefined
  const { kind, label, needsRecovery } = reader.superblock
  return { kind, label, notes: needsRecovery ? [JOURNAL_NOTE] : [], root: new FileTree(reader) }
}

async function openFat(view: DiskView): Promise<Opened | undefined> {
  const reader = await FatReader.open(view)
  if (reader === undefined) return undefined
  return { kind: reader.kind, label: await reader.label(), notes: [FAT_TIME_NOTE], root: new FileTree(reader) }
}

async function openNtfs(view: DiskView): Promise<Opened | undefined> {
  const reader = await NtfsReader.open(view)
  if (reader === undefined) return undefined
  const { label, isDirty } = await reader.volume()
  return { kind: 'ntfs', label, notes: isDirty ? [JOURNAL_NOTE] : [], root: new FileTree(reader) }
}

async function recognise(view: DiskView): Promise<Readonly<{ kind: string; refusal: string }>> {
  for (const { kind, at, text, reason } of SIGNATURES) {
    if (at + text.length > view.sizeBytes) continue
    if ((await view.read(at, text.length)).toString('latin1') === text) {
      return { kind, refusal: `${reason} Boot or restore the whole disk instead.` }
    }
  }
  return { kind: 'unknown', refusal: 'No known file system is on it.' }
}

async function openView(view: DiskView): Promise<Opened | Readonly<{ kind: string; refusal: string }>> {
  try {
    return (await openExt(view)) ?? (await openNtfs(view)) ?? (await openFat(view)) ?? (await recognise(view))
  } catch (error) {
    if (!isHoldfastError(error, 'files_damaged', 'files_unsupported')) throw error
    return { kind: 'unknown', refusal: error.message }
  }
}

/** A disk that is one file system may begin with a boot sector that also looks like a partition table. */
async function isWholeDiskBoot(disk: DiskView): Promise<boolean> {
  const sector = disk.sizeBytes < 512 ? '' : (await disk.read(0, 512)).toString('latin1')
  return sector.slice(3, 11) === 'NTFS    ' || sector.slice(54, 58) === 'FAT1' || sector.slice(82, 87) === 'FAT32'
}

async function partitionsOf(
  disk: DiskView,
): Promise<Readonly<{ partitions: readonly Partition[]; notes: readonly string[] }>> {
  const whole: Partition = {
    number: 0,
    offsetBytes: 0,
    sizeBytes: disk.sizeBytes,
    scheme: 'none',
    type: '',
    name: '',
  }
  const table = (await isWholeDiskBoot(disk)) ? undefined : await readPartitions(disk)
  return table ?? { partitions: [whole], notes: [] }
}

/**
 * Looks at every partition of a disk.
 * @param source the disk, which must not change meanwhile; it stays open and belongs to the caller
 * @throws TransferError `files_damaged` when the partition table cannot be followed; BlockError when the disk cannot be read
 */
export async function openFileSystems(source: BlockSource): Promise<DiskContents> {
  const disk = DiskView.of(source)
  const { partitions, notes } = await partitionsOf(disk)
  const fileSystems: OpenedFileSystem[] = []
  const refused: RefusedFileSystem[] = []
  for (const partition of partitions) {
    const opened = await openView(disk.slice(partition.offsetBytes, partition.sizeBytes))
    if ('root' in opened) fileSystems.push({ partition, ...opened })
    else refused.push({ partition, ...opened })
  }
  return { fileSystems, refused, notes }
}
