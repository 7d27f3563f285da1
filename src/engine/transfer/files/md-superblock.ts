/**
 * Reads the superblock of a member of a Linux software RAID (md): versions 0.90, 1.0, 1.1 and 1.2 (Linux,
 * include/uapi/linux/raid/md_p.h). One whose checksum is wrong is none. Version 0.90 is of the byte order of its machine;
 * little-endian ones are read.
 */
import { toHex } from '#base'
import { type DiskView, readU64 } from './disk-view.ts'

export type MdMember = Readonly<{
  view: DiskView
  version: '0.90' | '1.0' | '1.1' | '1.2'
  arrayId: string
  /** As its maker called the array; empty for version 0.90. */
  arrayName: string
  level: number
  layout: number
  /** Of each member; 0 where the level leaves it to the members. */
  sizeBytes: number
  chunkBytes: number
  memberCount: number
  events: number
  /** Of this member, which slot of the array it fills; undefined: none (a spare). */
  slot: number | undefined
  /** Which slots this member's superblock calls active. */
  activeSlots: ReadonlySet<number>
  dataOffset: number
  dataBytes: number
  /** Not yet filled, or a stand-in for one that is to be replaced, or with sectors that cannot be read. */
  isDoubtful: boolean
  isClean: boolean
  /** What is not read, by name. */
  refusal?: string
}>

const MAGIC = 0xa92b_4efc
const SECTOR = 512
const OLD_BYTES = 4096
const NEW_BYTES = 4096
const RESERVED_BYTES = 65_536
const MEMBERS_MAX = 1920
const FEATURE = { recovering: 2, reshaping: 4, badBlocks: 8, replacement: 16, clustered: 256, journal: 512 } as const
const ROLE_MAX = 0xff00

/** The sum of all words with the carry folded in; `skippedAt` is the field that holds the sum itself. */
function sumOf(bytes: Buffer, length: number, skippedAt: number): number {
  let [low, high] = [0, 0]
  let at = 0
  for (; at + 4 <= length; at += 4) {
    low += at === skippedAt ? 0 : bytes.readUInt32LE(at)
    if (low > 0xffff_ffff) {
      low -= 0x1_0000_0000
      high += 1
    }
  }
  if (at + 2 <= length) {
    low += bytes.readUInt16LE(at)
    if (low > 0xffff_ffff) {
      low -= 0x1_0000_0000
      high += 1
    }
  }
  return (low + high) >>> 0
}

function refusalOf(features: number): string | undefined {
  if ((features & FEATURE.reshaping) !== 0) return 'The RAID was being reshaped.'
  if ((features & FEATURE.journal) !== 0) return 'The RAID has a write journal.'
  return undefined
}

function parseNew(view: DiskView, bytes: Buffer, sector: number, version: MdMember['version']): MdMember | undefined {
  if (bytes.readUInt32LE(0) !== MAGIC || bytes.readUInt32LE(4) !== 1) return undefined
  const roles = bytes.readUInt32LE(220)
  if (roles > MEMBERS_MAX || readU64(bytes, 144) !== sector) return undefined
  if (sumOf(bytes, 256 + roles * 2, 216) !== bytes.readUInt32LE(216)) return undefined
  const features = bytes.readUInt32LE(8)
  const activeSlots = new Set<number>()
  for (let i = 0; i < roles; i += 1) {
    const role = bytes.readUInt16LE(256 + i * 2)
    if (role < ROLE_MAX) activeSlots.add(role)
  }
  const number = bytes.readUInt32LE(160)
  const role = number < roles ? bytes.readUInt16LE(256 + number * 2) : 0xffff
  const refusal = refusalOf(features)
  return {
    view,
    version,
    arrayId: toHex(bytes.subarray(16, 32)),
    arrayName: bytes.toString('utf8', 32, 64).replace(/\0.*$/s, ''),
    level: bytes.readInt32LE(72),
    layout: bytes.readUInt32LE(76),
    sizeBytes: readU64(bytes, 80) * SECTOR,
    chunkBytes: bytes.readUInt32LE(88) * SECTOR,
    memberCount: bytes.readUInt32LE(92),
    events: readU64(bytes, 200),
    slot: role < ROLE_MAX ? role : undefined,
    activeSlots,
    dataOffset: readU64(bytes, 128) * SECTOR,
    dataBytes: readU64(bytes, 136) * SECTOR,
    isDoubtful: (features & (FEATURE.recovering | FEATURE.replacement | FEATURE.badBlocks)) !== 0,
    isClean: bytes.readUInt32LE(208) === 0xffff_ffff && bytes.readUInt32LE(212) === 0xffff_ffff,
    ...(refusal === undefined ? {} : { refusal }),
  }
}

const OLD_SLOTS = 27
const OLD_STATE = { faulty: 1, active: 2, sync: 4, removed: 8 } as const

function parseOld(view: DiskView, bytes: Buffer, at: number): MdMember | undefined {
  if (bytes.readUInt32LE(0) !== MAGIC || bytes.readUInt32LE(4) !== 0) return undefined
  if (sumOf(bytes, OLD_BYTES, 152) !== bytes.readUInt32LE(152)) return undefined
  const activeSlots = new Set<number>()
  for (let i = 0; i < OLD_SLOTS; i += 1) {
    const [slot, state] = [bytes.readUInt32LE(512 + i * 128 + 12), bytes.readUInt32LE(512 + i * 128 + 16)]
    const isActive = (state & OLD_STATE.sync) !== 0 && (state & (OLD_STATE.faulty | OLD_STATE.removed)) === 0
    if (isActive) activeSlots.add(slot)
  }
  const [slot, state] = [bytes.readUInt32LE(3968 + 12), bytes.readUInt32LE(3968 + 16)]
  const sizeBytes = bytes.readUInt32LE(32) * 1024
  const isMember = (state & OLD_STATE.sync) !== 0 && (state & (OLD_STATE.faulty | OLD_STATE.removed)) === 0
  return {
    view,
    version: '0.90',
    arrayId: toHex(Buffer.concat([bytes.subarray(20, 24), bytes.subarray(52, 64)])),
    arrayName: '',
    level: bytes.readInt32LE(28),
    layout: bytes.readUInt32LE(256),
    sizeBytes,
    chunkBytes: bytes.readUInt32LE(260),
    memberCount: bytes.readUInt32LE(40),
    events: readU64(bytes, 156),
    slot: isMember ? slot : undefined,
    activeSlots,
    dataOffset: 0,
    dataBytes: at,
    isDoubtful: false,
    isClean: (bytes.readUInt32LE(132) & 1) === 1,
    ...(bytes.readUInt32LE(8) > 90 ? { refusal: 'The RAID was being reshaped.' } : {}),
  }
}

async function readNew(view: DiskView, sector: number, version: MdMember['version']): Promise<MdMember | undefined> {
  const at = sector * SECTOR
  if (sector < 0 || at + NEW_BYTES > view.sizeBytes) return undefined
  return parseNew(view, await view.read(at, NEW_BYTES), sector, version)
}

async function readOld(view: DiskView): Promise<MdMember | undefined> {
  const at = Math.floor(view.sizeBytes / RESERVED_BYTES) * RESERVED_BYTES - RESERVED_BYTES
  return at < 0 ? undefined : parseOld(view, await view.read(at, OLD_BYTES), at)
}

/**
 * The member that `view` is; undefined when it is none.
 * @param isPartitioned the view begins with a partition table: then a superblock at its end may be its last partition's
 */
export async function readMdMember(view: DiskView, isPartitioned: boolean): Promise<MdMember | undefined> {
  const sectors = Math.floor(view.sizeBytes / SECTOR)
  const member =
    (await readNew(view, 0, '1.1')) ??
    (await readNew(view, 8, '1.2')) ??
    (await readNew(view, Math.floor((sectors - 16) / 8) * 8, '1.0')) ??
    (await readOld(view))
  if (member?.version !== '0.90' || !isPartitioned) return member
  return member.dataBytes - member.sizeBytes < 1024 * 1024 ? member : undefined
}
