/** CRC-32C (Castagnoli), as XFS, Btrfs and the journal of ext4 use it; Node has only the other one. Eight bytes at a step. */
const POLYNOMIAL = 0x82f6_3b78

const TABLES: readonly Int32Array[] = (() => {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256))
  const [first = new Int32Array(256)] = tables
  for (let byte = 0; byte < 256; byte += 1) {
    let value = byte
    for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1
    first[byte] = value
  }
  for (let step = 1; step < 8; step += 1) {
    for (let byte = 0; byte < 256; byte += 1) {
      const before = tables[step - 1]?.[byte] ?? 0
      const table = tables[step]
      if (table !== undefined) table[byte] = (before >>> 8) ^ (first[before & 0xff] ?? 0)
    }
  }
  return tables
})()
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
]

/** Goes on with the register `crc`, inverted neither before nor after: what Linux calls crc32c(crc, ...). */
export function crc32cUpdate(crc: number, bytes: Buffer): number {
  let value = crc
  let at = 0
  for (const end = bytes.length - 7; at < end; at += 8) {
    value ^= bytes.readInt32LE(at)
    const high = bytes.readInt32LE(at + 4)
    value =
      (T7[value & 0xff] ?? 0) ^
      (T6[(value >>> 8) & 0xff] ?? 0) ^
      (T5[(value >>> 16) & 0xff] ?? 0) ^
      (T4[value >>> 24] ?? 0) ^
      (T3[high & 0xff] ?? 0) ^
      (T2[(high >>> 8) & 0xff] ?? 0) ^
      (T1[(high >>> 16) & 0xff] ?? 0) ^
      (T0[high >>> 24] ?? 0)
  }
  for (; at < bytes.length; at += 1) value = (value >>> 8) ^ (T0[(value ^ bytes.readUInt8(at)) & 0xff] ?? 0)
  return value >>> 0
}

/** The usual one: inverted before and after. */
export function crc32c(bytes: Buffer): number {
  return ~crc32cUpdate(0xffff_ffff, bytes) >>> 0
}
