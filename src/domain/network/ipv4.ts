/** IPv4 addresses as numbers from 0 to 2^32-1, and prefixes of them. Pure; only the plain forms are read, no octal, no 10.1. */

export type Ipv4 = number
/** `base` has no bit set below `bits`. */
export type Prefix = Readonly<{ base: Ipv4; bits: number }>

const SPACE = 0x1_0000_0000
const OCTET = /^(0|[1-9]\d{0,2})$/

export function parseIpv4(text: unknown): Ipv4 | undefined {
  if (typeof text !== 'string') return undefined
  const octets = text.split('.')
  if (octets.length !== 4 || !octets.every((one) => OCTET.test(one) && Number(one) <= 255)) return undefined
  return octets.reduce((sum, one) => sum * 256 + Number(one), 0)
}

export function formatIpv4(address: Ipv4): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.')
}

export function sizeOf({ bits }: Pick<Prefix, 'bits'>): number {
  return 2 ** (32 - bits)
}

/** `10.0.0.0/16`; undefined when it is none, or when it names a host inside a prefix (10.0.0.1/16). */
export function parsePrefix(text: unknown): Prefix | undefined {
  if (typeof text !== 'string') return undefined
  const [address, length, ...more] = text.split('/')
  const base = parseIpv4(address)
  if (base === undefined || length === undefined || more.length > 0 || !/^([1-9]?\d)$/.test(length)) return undefined
  const prefix = { base, bits: Number(length) }
  return prefix.bits <= 32 && base % sizeOf(prefix) === 0 ? prefix : undefined
}

export function formatPrefix({ base, bits }: Prefix): string {
  return `${formatIpv4(base)}/${bits}`
}

export function lastOf(prefix: Prefix): Ipv4 {
  return prefix.base + sizeOf(prefix) - 1
}

export function holdsAddress(prefix: Prefix, address: Ipv4): boolean {
  return address >= prefix.base && address <= lastOf(prefix)
}

export function holdsPrefix(outer: Prefix, inner: Prefix): boolean {
  return holdsAddress(outer, inner.base) && holdsAddress(outer, lastOf(inner))
}

export function overlap(a: Prefix, b: Prefix): boolean {
  return a.base <= lastOf(b) && b.base <= lastOf(a)
}

/** Whether a number can be an address. */
export function isIpv4(address: number): boolean {
  return Number.isInteger(address) && address >= 0 && address < SPACE
}
