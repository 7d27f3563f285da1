/**
 * Looks into disks, partitions and volumes until nothing new turns up: a partition may be a member of a RAID, the RAID a
 * physical volume of LVM, the logical volume a file system. Volumes are opened when all that they could consist of is known.
 *
 * Bounded by DEPTH_MAX, DEVICES_MAX and TEXT_CHARS_MAX: a disk that describes itself as a part of itself ends the search with a
 * note.
 */
import { isHoldfastError } from '#base'
import { type BtrfsDevice, openBtrfs, readBtrfsDevice } from './btrfs.ts'
import { damaged, DiskView } from './disk-view.ts'
import { FileTree } from './file-tree.ts'
import { type LogicalVolume, openVolumeGroups } from './lvm.ts'
import { type PhysicalVolume, readPhysicalVolume } from './lvm-label.ts'
import { type MdArray, openMdArray } from './md-array.ts'
import { type MdMember, readMdMember } from './md-superblock.ts'
import type { DiskContents, OpenedFileSystem, Place, RefusedFileSystem } from './open-file-systems.ts'
import { type NotOpened, openView } from './open-view.ts'
import { type Partition, readPartitions } from './partitions.ts'

const DEPTH_MAX = 6
const DEVICES_MAX = 4096
/** Of all physical volumes of LVM together: each keeps the text of its group, and each text may be read in every round. */
const TEXT_CHARS_MAX = 64 * 1024 * 1024

type Device = Place & Readonly<{ view: DiskView; depth: number; isPartitionable: boolean }>
type Member = Readonly<{ device: Device; member: MdMember }>
type Pooled = Readonly<{ device: Device; member: BtrfsDevice }>
type Physical = Readonly<{ device: Device; disk: PhysicalVolume }>

/** A disk that is one file system may begin with a boot sector that also looks like a partition table. */
async function isWholeDiskBoot(disk: DiskView): Promise<boolean> {
  const sector = disk.sizeBytes < 512 ? '' : (await disk.read(0, 512)).toString('latin1')
  return sector.slice(3, 11) === 'NTFS    ' || sector.slice(54, 58) === 'FAT1' || sector.slice(82, 87) === 'FAT32'
}

function wholeOf(scheme: Partition['scheme'], sizeBytes: number, type = '', name = ''): Partition {
  return { number: 0, offsetBytes: 0, sizeBytes, scheme, type, name }
}

export class Discovery {
  readonly #throwsForTable: boolean
  readonly #fileSystems: OpenedFileSystem[] = []
  readonly #refused: RefusedFileSystem[] = []
  readonly #notes: string[] = []
  readonly #members: Member[] = []
  readonly #physicals: Physical[] = []
  readonly #pooled: Pooled[] = []
  readonly #seenVolumes = new Set<string>()
  #devices = 0
  #textChars = 0

  /** @param throwsForTable a partition table that cannot be followed is thrown instead of being listed */
  constructor(throwsForTable: boolean) {
    this.#throwsForTable = throwsForTable
  }

  get contents(): DiskContents {
    return { fileSystems: this.#fileSystems, refused: this.#refused, notes: this.#notes }
  }

  async addDisk(name: string, view: DiskView): Promise<void> {
    const partition = wholeOf('none', view.sizeBytes)
    await this.#explore({ volume: name, disk: name, partition, view, depth: 0, isPartitionable: true })
  }

  /** Opens arrays and groups of what was found, and looks into them, until there are no new ones. */
  async assemble(): Promise<void> {
    for (let [members, physicals] = [-1, -1]; ;) {
      if (this.#members.length === members && this.#physicals.length === physicals) break
      ;[members, physicals] = [this.#members.length, this.#physicals.length]
      for (const array of this.#arrays()) await this.#addArray(...array)
      await this.#addGroups()
    }
    for (const id of new Set(this.#pooled.map(({ member }) => member.superblock.id))) {
      await this.#openPool(this.#pooled.filter(({ member }) => member.superblock.id === id))
    }
    for (const { device, member } of this.#members) {
      const { name } = openMdArray([member])
      this.#refuse(device, {
        kind: 'md',
        refusal: `It belongs to the software RAID ${name}, which is listed by itself.`,
      })
    }
    for (const { device } of this.#physicals) {
      this.#refuse(device, { kind: 'lvm2', refusal: 'It belongs to an LVM volume group, whose volumes are listed.' })
    }
  }

  async #explore(device: Device): Promise<void> {
    this.#devices += 1
    if (device.depth > DEPTH_MAX || this.#devices > DEVICES_MAX) {
      this.#refuse(device, { kind: 'unknown', refusal: 'There are too many volumes in volumes.' })
      return
    }
    try {
      await this.#lookInto(device)
    } catch (error) {
      const isTold = isHoldfastError(error, 'files_damaged', 'files_unsupported')
      if (!isTold || (this.#throwsForTable && device.depth === 0)) throw error
      this.#refuse(device, { kind: 'unknown', refusal: error.message })
    }
  }

  async #lookInto(device: Device): Promise<void> {
    const { view } = device
    const table = device.isPartitionable && !(await isWholeDiskBoot(view)) ? await tableOrError(view) : undefined
    const member = await readMdMember(view, table !== undefined)
    if (member !== undefined) {
      this.#members.push({ device, member })
      return
    }
    if (this.#textChars > TEXT_CHARS_MAX) throw damaged('the volume groups of the machine say too much')
    const disk = await readPhysicalVolume(view)
    if (disk !== undefined) {
      this.#textChars += disk.text?.length ?? 0
      this.#physicals.push({ device, disk })
      return
    }
    if (table instanceof Error) throw table
    if (table === undefined) {
      await this.#open(device)
      return
    }
    this.#notes.push(...table.notes)
    for (const partition of table.partitions) {
      const part = view.slice(partition.offsetBytes, partition.sizeBytes)
      const volume = `${device.volume}p${partition.number}`
      await this.#explore({ ...device, volume, partition, view: part, depth: device.depth + 1, isPartitionable: false })
    }
  }

  /** A Btrfs file system may lie on several devices; it is listed with the first. */
  async #openPool(pool: readonly Pooled[]): Promise<void> {
    const [first, ...others] = pool.toSorted((a, b) => a.member.superblock.deviceId - b.member.superblock.deviceId)
    if (first === undefined) return
    for (const { device } of others) {
      const refusal = `It is a device of the Btrfs file system that is listed as ${first.device.volume}.`
      this.#refuse(device, { kind: 'btrfs', refusal })
    }
    try {
      const { label, notes, reader, top } = await openBtrfs(pool.map(({ member }) => member))
      const place = placeOf(first.device)
      this.#fileSystems.push({ ...place, kind: 'btrfs', label, notes, root: new FileTree(reader) })
      if (top === undefined) return
      const topNotes = ['The top level, from which all subvolumes can be reached.']
      const volume = `${place.volume}:top`
      this.#fileSystems.push({ ...place, volume, kind: 'btrfs', label, notes: topNotes, root: new FileTree(top) })
    } catch (error) {
      if (!isHoldfastError(error, 'files_damaged', 'files_unsupported')) throw error
      this.#refuse(first.device, { kind: 'btrfs', refusal: error.message })
    }
  }

  async #open(device: Device): Promise<void> {
    const member = await btrfsOrError(device.view)
    if (member instanceof Error) {
      this.#refuse(device, { kind: 'btrfs', refusal: member.message })
      return
    }
    if (member !== undefined) {
      this.#pooled.push({ device, member })
      return
    }
    const opened = await openView(device.view)
    if ('root' in opened) this.#fileSystems.push({ ...placeOf(device), ...opened })
    else this.#refuse(device, opened)
  }

  #refuse(device: Device, refused: NotOpened): void {
    this.#refused.push({ ...placeOf(device), ...refused })
  }

  *#arrays(): Generator<[MdArray, number]> {
    for (const arrayId of new Set(this.#members.map(({ member }) => member.arrayId))) {
      if (this.#seenVolumes.has(arrayId)) continue
      this.#seenVolumes.add(arrayId)
      const own = this.#members.filter(({ member }) => member.arrayId === arrayId)
      yield [openMdArray(own.map(({ member }) => member)), Math.max(...own.map(({ device }) => device.depth))]
    }
  }

  async #addArray(array: MdArray, depth: number): Promise<void> {
    const volume = this.#uniqueName(array.name)
    if ('refusal' in array) {
      const partition = wholeOf('md', 0, array.level, array.name)
      this.#refused.push({ volume, partition, kind: 'md', refusal: array.refusal })
      return
    }
    this.#notes.push(...array.notes.map((note) => `${volume}: ${note}`))
    const partition = wholeOf('md', array.reader.sizeBytes, array.level, array.name)
    const view = DiskView.of(array.reader)
    await this.#explore({ volume, partition, view, depth: depth + 1, isPartitionable: true })
  }

  /** All groups are read again when a disk was added, and what is not known yet is looked into. */
  async #addGroups(): Promise<void> {
    if (this.#physicals.length === 0) return
    const { volumes, notes } = await openVolumeGroups(this.#physicals.map(({ disk }) => disk))
    const depth = Math.max(...this.#physicals.map(({ device }) => device.depth))
    for (const note of notes) if (!this.#notes.includes(note)) this.#notes.push(note)
    for (const volume of volumes) await this.#addLogical(volume, depth)
  }

  async #addLogical(logical: LogicalVolume, depth: number): Promise<void> {
    const volume = `${logical.group}/${logical.name}`
    const partition = wholeOf('lvm', logical.sizeBytes, logical.type, volume)
    if (this.#seenVolumes.has(volume)) return
    // What an earlier round refused because a disk was not known yet is judged anew.
    const known = this.#refused.findIndex((refused) => refused.volume === volume && refused.partition.scheme === 'lvm')
    if (known >= 0) this.#refused.splice(known, 1)
    if ('refusal' in logical) {
      this.#refused.push({ volume, partition, kind: 'lvm2', refusal: logical.refusal })
      return
    }
    this.#seenVolumes.add(volume)
    const view = DiskView.of(logical.reader)
    await this.#explore({ volume, partition, view, depth: depth + 1, isPartitionable: false })
  }

  #uniqueName(name: string): string {
    let unique = name
    for (let number = 2; this.#seenVolumes.has(unique); number += 1) unique = `${name}-${number}`
    this.#seenVolumes.add(unique)
    return unique
  }
}

function placeOf({ volume, disk, partition }: Device): Place {
  return disk === undefined ? { volume, partition } : { volume, disk, partition }
}

async function btrfsOrError(view: DiskView): Promise<BtrfsDevice | Error | undefined> {
  try {
    return await readBtrfsDevice(view)
  } catch (error) {
    if (!isHoldfastError(error, 'files_damaged', 'files_unsupported')) throw error
    return error
  }
}

/** The table, undefined without one, or why it cannot be followed: a RAID's member may begin with anything. */
async function tableOrError(view: DiskView): Promise<Awaited<ReturnType<typeof readPartitions>> | Error> {
  try {
    return await readPartitions(view)
  } catch (error) {
    if (!isHoldfastError(error, 'files_damaged')) throw error
    return error
  }
}
