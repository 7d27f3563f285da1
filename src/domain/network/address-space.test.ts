import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import {
  addressSpaceFault,
  gatewayOf,
  isNetworkRefusal,
  nextAddress,
  readPrefix,
  staticAddressFault,
  subnetFault,
  usableCount,
} from './address-space.ts'
import { formatIpv4, formatPrefix, holdsAddress, overlap, parseIpv4, parsePrefix, type Prefix } from './ipv4.ts'

function prefix(text: string): Prefix {
  const read = readPrefix(text)
  assert.ok(!isNetworkRefusal(read), text)
  return read
}

const anyPrefix = fc
  .record({ address: fc.integer({ min: 0, max: 2 ** 32 - 1 }), bits: fc.integer({ min: 0, max: 32 }) })
  .map(({ address, bits }): Prefix => ({ base: address - (address % 2 ** (32 - bits)), bits }))
/** Small enough to be counted out address by address. */
const smallPrefix = fc
  .record({ at: fc.integer({ min: 0, max: 255 }), bits: fc.integer({ min: 24, max: 32 }) })
  .map(({ at, bits }): Prefix => ({ base: 0x0a000000 + at - (at % 2 ** (32 - bits)), bits }))

function* addressesOf({ base, bits }: Prefix): Generator<number> {
  for (let address = base; address < base + 2 ** (32 - bits); address += 1) yield address
}

test('parseIpv4() and formatIpv4() are each other’s inverse, and nothing else is an address', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (address) => parseIpv4(formatIpv4(address)) === address),
  )
  assert.equal(parseIpv4('1.2.3.4'), 0x01020304)
  assert.equal(parseIpv4('255.254.253.252'), 0xfffefdfc)
  for (const bad of ['', '1.2.3', '1.2.3.4.5', '256.0.0.1', '01.2.3.4', '1.2.3.4 ', '0x1.2.3.4', '1..2.3', 7, null])
    assert.equal(parseIpv4(bad), undefined, String(bad))
})

test('parsePrefix() reads what formatPrefix() writes, and refuses host bits', () => {
  fc.assert(
    fc.property(anyPrefix, (one) => {
      assert.deepEqual(parsePrefix(formatPrefix(one)), one)
    }),
  )
  for (const bad of ['10.0.0.1/24', '10.0.0.0', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/08', '10.0.0.0/8/8'])
    assert.equal(parsePrefix(bad), undefined, bad)
})

test('overlap() and holdsAddress() say what counting the addresses says', () => {
  fc.assert(
    fc.property(smallPrefix, smallPrefix, (a, b) => {
      const ofA = new Set(addressesOf(a))
      const common = [...addressesOf(b)].filter((address) => ofA.has(address))
      assert.equal(overlap(a, b), common.length > 0)
      for (const address of addressesOf(b)) assert.equal(holdsAddress(a, address), ofA.has(address))
    }),
  )
})

test('readPrefix() says what is wrong, and what would be right', () => {
  const refused = (text: unknown): string => {
    const read = readPrefix(text)
    return isNetworkRefusal(read) ? `${read.code} ${read.message}` : assert.fail(String(text))
  }
  assert.match(refused('10.0.0.5/24'), /^InvalidCIDRNotation .*use 10\.0\.0\.0\/24/)
  assert.match(refused('fd00::/8'), /^AddressPrefixNotSupported/)
  for (const bad of ['x', '10.0.0.0', '10.0.0.0/40', undefined, 5])
    assert.match(refused(bad), /^InvalidAddressPrefixFormat/)
})

test('addressSpaceFault() refuses what no network may hold, and ranges that overlap', () => {
  const fault = (...texts: string[]) => addressSpaceFault(texts.map(prefix))?.code
  assert.equal(fault('10.0.0.0/16', '192.168.0.0/24'), undefined)
  assert.equal(fault('198.18.1.0/24'), undefined)
  assert.equal(fault(), 'NetcfgInvalidAddressPrefix')
  assert.equal(fault('10.0.0.0/30'), 'NetcfgInvalidAddressPrefix')
  assert.equal(fault('10.0.0.0/8', '10.5.0.0/16'), 'NetcfgInvalidAddressPrefix')
  for (const bad of [
    '198.18.0.0/16',
    '127.0.0.0/16',
    '169.254.0.0/24',
    '224.0.0.0/8',
    '168.63.129.0/24',
    '128.0.0.0/2',
  ])
    assert.equal(fault(bad), 'AddressPrefixNotSupported', bad)
})

test('subnetFault() wants subnets inside the space and apart', () => {
  const space = ['10.0.0.0/16', '10.9.0.0/24'].map(prefix)
  const fault = (...texts: string[]) =>
    subnetFault(
      space,
      texts.map((text, index) => ({ name: `s${index}`, prefix: prefix(text) })),
    )?.code
  assert.equal(fault('10.0.0.0/24', '10.0.1.0/24', '10.9.0.0/24'), undefined)
  assert.equal(fault('10.1.0.0/24'), 'NetcfgInvalidSubnet')
  assert.equal(fault('10.0.0.0/15'), 'NetcfgInvalidSubnet')
  assert.equal(fault('10.0.0.0/30'), 'NetcfgInvalidSubnet')
  assert.equal(fault('10.0.0.0/24', '10.0.0.128/25'), 'NetcfgSubnetRangesOverlap')
})

test('nextAddress() gives every usable address once, lowest first, never a reserved one, and then none', () => {
  fc.assert(
    fc.property(smallPrefix, (subnet) => {
      const all = [...addressesOf(subnet)]
      const usable = all.slice(4, -1)
      const taken = new Set<number>()
      for (const expected of usable) {
        const next = nextAddress(subnet, taken)
        assert.equal(next, expected)
        taken.add(expected)
      }
      assert.equal(usableCount(subnet), usable.length)
      const full = nextAddress(subnet, taken)
      assert.ok(isNetworkRefusal(full) && full.code === 'SubnetIsFull')
    }),
  )
  assert.equal(formatIpv4(gatewayOf(prefix('10.0.5.0/24'))), '10.0.5.1')
  assert.equal(formatIpv4(nextAddress(prefix('10.0.5.0/24'), new Set()) as number), '10.0.5.4')
})

test('staticAddressFault() allows exactly what nextAddress() could give', () => {
  fc.assert(
    fc.property(smallPrefix, fc.integer({ min: 0x0a000000, max: 0x0a0000ff }), fc.boolean(), (subnet, address, has) => {
      const taken = new Set(has ? [address] : [])
      const fault = staticAddressFault(subnet, taken, address)
      const all = [...addressesOf(subnet)]
      const expected = !all.includes(address)
        ? 'PrivateIPAddressNotInSubnet'
        : !all.slice(4, -1).includes(address)
          ? 'PrivateIPAddressInReservedRange'
          : has
            ? 'PrivateIPAddressIsAllocated'
            : undefined
      assert.equal(fault?.code, expected)
    }),
  )
})
