/**
 * What may be the address space of a virtual network and of a subnet, and which addresses of a subnet machines get.
 * Source: Azure "Virtual network FAQ": in each subnet the first four addresses and the last are reserved (the network, the
 * gateway, two name servers, the broadcast); subnets are from /29 up; some ranges no network may hold.
 */
import {
  formatIpv4,
  formatPrefix,
  holdsAddress,
  holdsPrefix,
  type Ipv4,
  lastOf,
  overlap,
  parsePrefix,
  type Prefix,
} from './ipv4.ts'

export type NetworkRefusalCode =
  | 'InvalidAddressPrefixFormat'
  | 'InvalidCIDRNotation'
  | 'AddressPrefixNotSupported'
  | 'NetcfgInvalidAddressPrefix'
  | 'NetcfgInvalidSubnet'
  | 'NetcfgSubnetRangesOverlap'
  | 'PrivateIPAddressInReservedRange'
  | 'PrivateIPAddressIsAllocated'
  | 'PrivateIPAddressNotInSubnet'
  | 'SubnetIsFull'

/** Why a wish is refused: the code that Azure has for it, and a sentence. */
export type NetworkRefusal = Readonly<{ code: NetworkRefusalCode; message: string }>

export function isNetworkRefusal(value: unknown): value is NetworkRefusal {
  return typeof value === 'object' && value !== null && 'code' in value && 'message' in value
}

const SUBNET_BITS_MAX = 29
const NETWORK_BITS_MIN = 2
const RESERVED_FIRST = 4

/** Ranges that mean something else, here or everywhere; the first is ours (between a network and its host). */
const FORBIDDEN: readonly Readonly<{ prefix: Prefix; what: string }>[] = (
  [
    ['198.18.0.0/24', 'the way between a network and its host'],
    ['0.0.0.0/8', 'this network'],
    ['127.0.0.0/8', 'loopback'],
    ['169.254.0.0/16', 'link-local addresses'],
    ['168.63.129.16/32', 'Azure’s platform'],
    ['224.0.0.0/4', 'multicast'],
    ['240.0.0.0/4', 'broadcast and reserved addresses'],
  ] as const
).flatMap(([text, what]) => {
  const prefix = parsePrefix(text)
  return prefix === undefined ? [] : [{ prefix, what }]
})

/** A prefix from outside, such as an address space may hold. */
export function readPrefix(text: unknown): Prefix | NetworkRefusal {
  const shown = typeof text === 'string' ? text.slice(0, 60) : String(text)
  if (typeof text === 'string' && text.includes(':'))
    return { code: 'AddressPrefixNotSupported', message: `'${shown}': virtual networks here have no IPv6.` }
  const prefix = parsePrefix(text)
  if (prefix !== undefined) return prefix
  const [address, length] = typeof text === 'string' ? text.split('/') : []
  const bits = /^\d{1,2}$/.test(length ?? '') ? Number(length) : Number.NaN
  const inside = parsePrefix(`${address}/32`)
  if (inside === undefined || !(bits <= 32))
    return { code: 'InvalidAddressPrefixFormat', message: `'${shown}' is no address prefix such as 10.0.0.0/16.` }
  const base = inside.base - (inside.base % 2 ** (32 - bits))
  const right = formatPrefix({ base, bits })
  return {
    code: 'InvalidCIDRNotation',
    message: `The address prefix ${shown} has bits set in its host part; use ${right}.`,
  }
}

/** The address space of a network: what is wrong with it, or undefined. */
export function addressSpaceFault(prefixes: readonly Prefix[]): NetworkRefusal | undefined {
  if (prefixes.length === 0)
    return { code: 'NetcfgInvalidAddressPrefix', message: 'A virtual network needs at least one address prefix.' }
  for (const [index, prefix] of prefixes.entries()) {
    const text = formatPrefix(prefix)
    if (prefix.bits > SUBNET_BITS_MAX || prefix.bits < NETWORK_BITS_MIN)
      return { code: 'NetcfgInvalidAddressPrefix', message: `The prefix ${text} must be from /2 to /29.` }
    const forbidden = FORBIDDEN.find((one) => overlap(one.prefix, prefix))
    if (forbidden !== undefined) {
      const message = `The prefix ${text} overlaps ${formatPrefix(forbidden.prefix)}: ${forbidden.what}.`
      return { code: 'AddressPrefixNotSupported', message }
    }
    const other = prefixes.slice(0, index).find((one) => overlap(one, prefix))
    if (other !== undefined)
      return { code: 'NetcfgInvalidAddressPrefix', message: `The prefixes ${formatPrefix(other)} and ${text} overlap.` }
  }
  return undefined
}

export type NamedPrefix = Readonly<{ name: string; prefix: Prefix }>

/** All subnets of a network against its space and each other. */
export function subnetFault(space: readonly Prefix[], subnets: readonly NamedPrefix[]): NetworkRefusal | undefined {
  for (const [index, { name, prefix }] of subnets.entries()) {
    const text = formatPrefix(prefix)
    if (prefix.bits > SUBNET_BITS_MAX)
      return { code: 'NetcfgInvalidSubnet', message: `Subnet '${name}' (${text}) is smaller than /29.` }
    if (!space.some((one) => holdsPrefix(one, prefix))) {
      const message = `Subnet '${name}' is not valid: its prefix ${text} is not in the address space of its virtual network.`
      return { code: 'NetcfgInvalidSubnet', message }
    }
    const other = subnets.slice(0, index).find((one) => overlap(one.prefix, prefix))
    if (other !== undefined) {
      const message = `Subnet '${name}' (${text}) overlaps subnet '${other.name}' (${formatPrefix(other.prefix)}).`
      return { code: 'NetcfgSubnetRangesOverlap', message }
    }
  }
  return undefined
}

export function gatewayOf(subnet: Prefix): Ipv4 {
  return subnet.base + 1
}

function isReserved(subnet: Prefix, address: Ipv4): boolean {
  return address < subnet.base + RESERVED_FIRST || address === lastOf(subnet)
}

/** How many machines a subnet has room for. */
export function usableCount(subnet: Prefix): number {
  return Math.max(0, lastOf(subnet) - subnet.base - RESERVED_FIRST)
}

/** The lowest address that is free. */
export function nextAddress(subnet: Prefix, taken: ReadonlySet<Ipv4>): Ipv4 | NetworkRefusal {
  for (let address = subnet.base + RESERVED_FIRST; address < lastOf(subnet); address += 1)
    if (!taken.has(address)) return address
  return { code: 'SubnetIsFull', message: `The subnet ${formatPrefix(subnet)} has no free address.` }
}

/** Why a card cannot have just this address; undefined when it can. */
export function staticAddressFault(
  subnet: Prefix,
  taken: ReadonlySet<Ipv4>,
  address: Ipv4,
): NetworkRefusal | undefined {
  const [text, range] = [formatIpv4(address), formatPrefix(subnet)]
  if (!holdsAddress(subnet, address)) {
    const message = `The private address ${text} is not in the range ${range} of the subnet.`
    return { code: 'PrivateIPAddressNotInSubnet', message }
  }
  if (isReserved(subnet, address)) {
    const message = `The private address ${text} is one of the reserved ones of ${range}: the first four and the last.`
    return { code: 'PrivateIPAddressInReservedRange', message }
  }
  if (!taken.has(address)) return undefined
  return { code: 'PrivateIPAddressIsAllocated', message: `The private address ${text} belongs to another card.` }
}
