import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SeededRandom } from '#base'
import { BlockError } from '../errors.ts'
import { readQcow2Header } from './qcow2-header.ts'

const FILE_BYTES = 10 * 1024 * 1024
const CLUSTER = 65_536

type Fields = Partial<{
  version: number
  backingOffset: number
  backingBytes: number
  clusterBits: number
  sizeBytes: bigint
  crypt: number
  l1Entries: number
  l1Offset: number
  refcountOffset: number
  refcountClusters: number
  snapshots: number
  incompatible: number
  incompatibleHigh: number
  refcountOrder: number
  headerBytes: number
}>

/** A header as docs/interop/qcow2.txt lays it out: 1 GiB, 64 KiB clusters, version 3. */
function header(fields: Fields = {}): Buffer {
  const head = Buffer.alloc(CLUSTER)
  head.write('QFI\xfb', 0, 'latin1')
  head.writeUInt32BE(fields.version ?? 3, 4)
  head.writeBigUInt64BE(BigInt(fields.backingOffset ?? 0), 8)
  head.writeUInt32BE(fields.backingBytes ?? 0, 16)
  head.writeUInt32BE(fields.clusterBits ?? 16, 20)
  head.writeBigUInt64BE(fields.sizeBytes ?? 2n ** 30n, 24)
  head.writeUInt32BE(fields.crypt ?? 0, 32)
  head.writeUInt32BE(fields.l1Entries ?? 2, 36)
  head.writeBigUInt64BE(BigInt(fields.l1Offset ?? 3 * CLUSTER), 40)
  head.writeBigUInt64BE(BigInt(fields.refcountOffset ?? CLUSTER), 48)
  head.writeUInt32BE(fields.refcountClusters ?? 1, 56)
  head.writeUInt32BE(fields.snapshots ?? 0, 60)
  head.writeUInt32BE(fields.incompatibleHigh ?? 0, 72)
  head.writeUInt32BE(fields.incompatible ?? 0, 76)
  head.writeUInt32BE(fields.refcountOrder ?? 4, 96)
  head.writeUInt32BE(fields.headerBytes ?? 104, 100)
  return head
}

/** Header extensions behind the header, then the end mark. */
function withExtensions(head: Buffer, ...extensions: readonly (readonly [number, string])[]): Buffer {
  let at = head.readUInt32BE(100)
  for (const [type, text] of extensions) {
    head.writeUInt32BE(type, at)
    head.writeUInt32BE(Buffer.byteLength(text), at + 4)
    head.write(text, at + 8)
    at += 8 + Math.ceil(Buffer.byteLength(text) / 8) * 8
  }
  return head
}

const read = (head: Buffer) => readQcow2Header('/images/disk.qcow2', head, FILE_BYTES)

describe('readQcow2Header()', () => {
  it('reads an ordinary header', () => {
    assert.deepEqual(read(header()), {
      version: 3,
      virtualSizeBytes: 2 ** 30,
      clusterBytes: CLUSTER,
      backingFile: undefined,
      backingFormat: undefined,
      dataFile: undefined,
      hasExtendedL2: false,
      isDirty: false,
      isCorrupt: false,
    })
    assert.equal(read(header({ version: 2, headerBytes: 0, incompatible: 0xff, refcountOrder: 99 })).version, 2)
  })

  it('finds the backing file and its format', () => {
    const head = withExtensions(header({ backingOffset: 1000, backingBytes: 11 }), [0xe279_2aca, 'raw'])
    head.write('/etc/shadow', 1000)
    const { backingFile, backingFormat } = read(head)
    assert.deepEqual({ backingFile, backingFormat }, { backingFile: '/etc/shadow', backingFormat: 'raw' })
  })

  it('finds an external data file, named or not', () => {
    assert.equal(read(withExtensions(header({ incompatible: 4 }), [0x4441_5441, '/dev/sda'])).dataFile, '/dev/sda')
    assert.equal(read(header({ incompatible: 4 })).dataFile, '')
  })

  it('tells extended L2, dirty and corrupt images', () => {
    const { hasExtendedL2, isDirty, isCorrupt } = read(header({ incompatible: 16 + 2 + 1, l1Entries: 4 }))
    assert.deepEqual({ hasExtendedL2, isDirty, isCorrupt }, { hasExtendedL2: true, isDirty: true, isCorrupt: true })
  })

  const refusals: readonly (readonly [string, Fields, string])[] = [
    ['encryption', { crypt: 2 }, 'image_encrypted'],
    ['a disk larger than any', { sizeBytes: 2n ** 46n + 512n }, 'image_too_large'],
    ['a size beyond all numbers', { sizeBytes: 2n ** 64n - 1n }, 'image_too_large'],
    ['a first-level table of gigabytes', { l1Entries: 2 ** 30 }, 'image_invalid'],
    ['a first-level table that is too small for the disk', { l1Entries: 1 }, 'image_invalid'],
    ['a first-level table outside the file', { l1Offset: FILE_BYTES }, 'image_invalid'],
    ['a first-level table between clusters', { l1Offset: CLUSTER + 512 }, 'image_invalid'],
    ['a reference count table of gigabytes', { refcountClusters: 2 ** 31 }, 'image_invalid'],
    ['impossible cluster sizes', { clusterBits: 8 }, 'image_invalid'],
    ['impossibly large clusters', { clusterBits: 60 }, 'image_invalid'],
    ['a million snapshots', { snapshots: 1_000_000 }, 'image_invalid'],
    ['features that nobody knows', { incompatible: 32 }, 'image_invalid'],
    ['features that nobody knows, in the upper half', { incompatibleHigh: 1 }, 'image_invalid'],
    ['a backing name outside the header', { backingOffset: CLUSTER - 4, backingBytes: 100 }, 'image_invalid'],
    ['a backing name of gigabytes', { backingOffset: 1000, backingBytes: 2 ** 31 }, 'image_invalid'],
    ['a header longer than its cluster', { headerBytes: 2 ** 24 }, 'image_invalid'],
    ['an unknown version', { version: 4 }, 'image_invalid'],
  ]
  for (const [name, fields, code] of refusals) {
    it(`refuses ${name}`, () => assert.throws(() => read(header(fields)), { code }))
  }

  it('refuses an extension that runs out of the header, and LUKS by its extension', () => {
    const head = header()
    head.writeUInt32BE(0x4441_5441, 104)
    head.writeUInt32BE(2 ** 31, 108)
    assert.throws(() => read(head), { code: 'image_invalid' })
    assert.throws(() => read(withExtensions(header(), [0x0537_be77, 'x'.repeat(16)])), { code: 'image_encrypted' })
  })

  it('gives a header or a BlockError for every changed byte and every length', () => {
    const random = new SeededRandom(3)
    const good = withExtensions(header({ backingOffset: 300, backingBytes: 8 }), [0xe279_2aca, 'qcow2'])
    good.write('base.img', 300)
    const attempt = (bytes: Buffer): void => {
      try {
        read(bytes)
      } catch (error) {
        assert.ok(error instanceof BlockError, String(error))
      }
    }
    for (let at = 0; at < 320; at += 1) {
      attempt(good.subarray(0, at))
      for (const mask of [1, 0x80, 0xff, 1 + random.below(255)]) {
        const bytes = Buffer.from(good)
        bytes[at] = (bytes[at] ?? 0) ^ mask
        attempt(bytes)
      }
    }
    for (let count = 0; count < 500; count += 1) {
      const bytes = Buffer.from(good)
      bytes.set(random.bytes(random.below(120)), 4 + random.below(200))
      attempt(bytes)
    }
  })
})
