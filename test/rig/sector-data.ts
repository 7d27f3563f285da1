/**
 * Test data that says where it belongs: every 512-byte sector carries (disk, sector, version) and a checksum, so that a
 * swapped, shifted, stale, torn or missing sector names itself. Never test with zeros or one repeated letter.
 *
 *   offset  width  field
 *   0       4      magic "HFsd"
 *   4       4      disk
 *   8       8      sector number on that disk
 *   16      4      version: raised by every overwrite
 *   20      4      CRC-32 of the sector with this field zero
 *   24      488    bytes that follow from disk, sector and version and do not compress well
 *
 * Integers are little-endian.
 */
import { crc32 } from 'node:zlib'
import { SECTOR_BYTES } from '#base'

export type SectorLabel = Readonly<{ disk: number; sector: number; version: number }>

/** What stands in a sector: a whole one of somewhere, zeros, or something else. */
export type SectorContent =
  | Readonly<{ kind: 'whole'; label: SectorLabel }>
  | Readonly<{ kind: 'zeros' }>
  | Readonly<{ kind: 'torn'; label: SectorLabel }>
  | Readonly<{ kind: 'foreign' }>

export type Mismatch = Readonly<{ expected: SectorLabel | 'zeros'; found: SectorContent }>

const MAGIC = 0x64734648
const CRC_AT = 20

/** Writes the sector that belongs to `label` into the 512 bytes of `into`. */
function fillSector(into: Buffer, label: SectorLabel): void {
  into.writeUInt32LE(MAGIC, 0)
  into.writeUInt32LE(label.disk, 4)
  into.writeBigUInt64LE(BigInt(label.sector), 8)
  into.writeUInt32LE(label.version, 16)
  into.writeUInt32LE(0, CRC_AT)
  let state =
    (Math.imul(label.sector + 1, 0x9e3779b1) ^ Math.imul(label.version + 1, 0x85ebca6b) ^ label.disk) >>> 0 || 1
  for (let at = 24; at < SECTOR_BYTES; at += 4) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    into.writeInt32LE(state | 0, at)
  }
  into.writeUInt32LE(crc32(into), CRC_AT)
}

/** `sectors` sectors of `disk` from `firstSector` on. */
export function sectorData(disk: number, firstSector: number, sectors: number, version: number): Buffer {
  const data = Buffer.alloc(sectors * SECTOR_BYTES)
  for (let i = 0; i < sectors; i += 1) {
    fillSector(data.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES), { disk, sector: firstSector + i, version })
  }
  return data
}

/** Says what one sector holds. */
export function readSector(bytes: Uint8Array): SectorContent {
  const sector = Buffer.from(bytes) // a copy: the checksum field is cleared in it
  if (sector.every((byte) => byte === 0)) return { kind: 'zeros' }
  if (sector.length !== SECTOR_BYTES || sector.readUInt32LE(0) !== MAGIC) return { kind: 'foreign' }
  const label = {
    disk: sector.readUInt32LE(4),
    sector: Number(sector.readBigUInt64LE(8)),
    version: sector.readUInt32LE(16),
  }
  const crc = sector.readUInt32LE(CRC_AT)
  sector.writeUInt32LE(0, CRC_AT)
  return { kind: crc32(sector) === crc ? 'whole' : 'torn', label }
}

/**
 * Compares `data` with what should stand from `firstSector` of `disk` on.
 * @param versionOf the version that a sector must have; undefined: it must be zeros
 * @returns every sector that differs, at most `mismatchesMax`
 */
export function verifySectors(
  data: Uint8Array,
  disk: number,
  firstSector: number,
  versionOf: (sector: number) => number | undefined,
  mismatchesMax = 20,
): Mismatch[] {
  if (data.length % SECTOR_BYTES !== 0) throw new RangeError(`${data.length} bytes are no whole sectors`)
  const mismatches: Mismatch[] = []
  for (let i = 0; i * SECTOR_BYTES < data.length && mismatches.length < mismatchesMax; i += 1) {
    const sector = firstSector + i
    const version = versionOf(sector)
    const found = readSector(data.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES))
    if (version === undefined) {
      if (found.kind !== 'zeros') mismatches.push({ expected: 'zeros', found })
      continue
    }
    const isRight =
      found.kind === 'whole' &&
      found.label.disk === disk &&
      found.label.sector === sector &&
      found.label.version === version
    if (!isRight) mismatches.push({ expected: { disk, sector, version }, found })
  }
  return mismatches
}

/** One line for people: "disk 0 sector 17 version 2: found disk 0 sector 25 version 2". */
export function describeMismatch({ expected, found }: Mismatch): string {
  const name = (label: SectorLabel): string => `disk ${label.disk} sector ${label.sector} version ${label.version}`
  const wanted = expected === 'zeros' ? 'zeros' : name(expected)
  const got = 'label' in found ? `${found.kind === 'torn' ? 'a torn ' : ''}${name(found.label)}` : found.kind
  return `${wanted}: found ${got}`
}

/** @throws Error that lists the first sectors that differ. */
export function assertSectors(
  data: Uint8Array,
  disk: number,
  firstSector: number,
  versionOf: (sector: number) => number | undefined,
): void {
  const mismatches = verifySectors(data, disk, firstSector, versionOf)
  if (mismatches.length > 0) throw new Error(`Wrong sectors:\n${mismatches.map(describeMismatch).join('\n')}`)
}
