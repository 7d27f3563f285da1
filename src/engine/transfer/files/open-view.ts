/** Which file system begins a partition or volume, and its reader; or what else is recognised there, and why it is not read. */
import { isHoldfastError } from '#base'
import type { DiskView } from './disk-view.ts'
import { ExtReader } from './ext.ts'
import { FatReader } from './fat.ts'
import { FileTree } from './file-tree.ts'
import { NtfsReader } from './ntfs.ts'
import { XfsReader } from './xfs.ts'

export type FileSystemKind = 'ext2' | 'ext3' | 'ext4' | 'fat12' | 'fat16' | 'fat32' | 'ntfs' | 'xfs' | 'btrfs'

/** What was opened, without where it lies. */
export type Opened = Readonly<{
  kind: FileSystemKind
  label: string
  /** What a user must know about what is shown. */
  notes: readonly string[]
  root: FileTree
}>
export type NotOpened = Readonly<{ kind: string; refusal: string }>

/** What is recognised and not read here: text at an offset. */
const SIGNATURES: readonly Readonly<{ kind: string; at: number; text: string; reason: string }>[] = [
  { kind: 'xfs', at: 0, text: 'XFSB', reason: 'The XFS file system cannot be read.' },
  { kind: 'btrfs', at: 65_600, text: '_BHRfS_M', reason: 'The Btrfs file system cannot be read.' },
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

async function openExt(view: DiskView): Promise<Opened | undefined> {
  const reader = await ExtReader.open(view)
  if (reader === undefined) return undefined
  const { kind, label } = reader.superblock
  return { kind, label, notes: reader.notes, root: new FileTree(reader) }
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

async function openXfs(view: DiskView): Promise<Opened | undefined> {
  const reader = await XfsReader.open(view)
  if (reader === undefined) return undefined
  return { kind: 'xfs', label: reader.superblock.label, notes: reader.notes, root: new FileTree(reader) }
}

async function recognise(view: DiskView): Promise<NotOpened> {
  for (const { kind, at, text, reason } of SIGNATURES) {
    if (at + text.length > view.sizeBytes) continue
    if ((await view.read(at, text.length)).toString('latin1') === text) {
      return { kind, refusal: `${reason} Boot or restore the whole disk instead.` }
    }
  }
  return { kind: 'unknown', refusal: 'No known file system is on it.' }
}

const READERS = [openXfs, openExt, openNtfs, openFat]

/** Opens what is on a view. What the disk says is never thrown: it is a refusal. @throws BlockError */
export async function openView(view: DiskView): Promise<Opened | NotOpened> {
  try {
    for (const open of READERS) {
      const opened = await open(view)
      if (opened !== undefined) return opened
    }
    return await recognise(view)
  } catch (error) {
    if (!isHoldfastError(error, 'files_damaged', 'files_unsupported')) throw error
    return { kind: (await recognise(view)).kind, refusal: error.message }
  }
}
