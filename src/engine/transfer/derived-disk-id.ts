/** The identity of a disk that nobody gave one: always the same for a machine and LUN, wherever its image lies. */
import { createHash } from 'node:crypto'

/** A UUID of version 8. */
export function derivedDiskId(machine: string, lun: number): string {
  const hash = createHash('sha256').update(`holdfast disk\0${machine}\0${lun}`).digest()
  // Version 8: a UUID of the maker's own making (RFC 9562, section 5.8).
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80
  const hex = hash.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`
}
