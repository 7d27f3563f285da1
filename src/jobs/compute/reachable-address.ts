/**
 * Which addresses a disk may be imported from. Never this host itself and never link-local ones (where clouds keep their
 * metadata and its credentials), in whatever spelling: an IPv4 address inside an IPv6 one is judged as what it is.
 */
import { BlockList, isIPv4, isIPv6 } from 'node:net'

const forbidden = new BlockList()
for (const [net, prefix] of [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['224.0.0.0', 3],
] as const)
  forbidden.addSubnet(net, prefix, 'ipv4')
for (const [net, prefix] of [
  // Unspecified, loopback and IPv4-compatible; NAT64; 6to4 and Teredo, which hold an IPv4 address; link-local; multicast.
  ['::', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2002::', 16],
  ['2001::', 32],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const)
  forbidden.addSubnet(net, prefix, 'ipv6')

/** Whether an address, as a number, may be connected to. What is no address may not. */
export function mayReach(address: string): boolean {
  if (isIPv4(address)) return !forbidden.check(address, 'ipv4')
  if (!isIPv6(address) || address.includes('%')) return false
  // BlockList judges ::ffff:a.b.c.d by the IPv4 rules (Node, "net.BlockList").
  return !forbidden.check(address, 'ipv6')
}
