import assert from 'node:assert/strict'
import { test } from 'node:test'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { SeededRandom } from '#base'
import { Zstd, ZSTD_SLACK_BYTES } from './zstd.ts'

const random = new SeededRandom(11)
const LEVEL_1 = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }

function texts(): Uint8Array[] {
  return [1, 3, 511, 4096, 65_536, 262_144, 262_145, 4 * 1024 * 1024].flatMap((length) => [
    random.bytes(length),
    new Uint8Array(length).map((_, i) => (i * i) >> 9),
    new Uint8Array(length),
  ])
}

test('Zstd keeps its contexts in the pinned Node: when this fails after an update, look at what became of the call', () => {
  assert.ok(new Zstd(1).keepsContexts)
})

test('Zstd makes the very frames that the documented call makes, one after the other', () => {
  const zstd = new Zstd(1)
  for (const plain of texts()) {
    const expected = zstdCompressSync(plain, { ...LEVEL_1, pledgedSrcSize: plain.length })
    assert.ok(expected.equals(zstd.compress(plain)), `${plain.length} bytes`)
  }
})

test('Zstd gives the bytes back, also right after frames that are none, cut, longer or of another length', () => {
  const zstd = new Zstd(1)
  const good = texts().map((plain) => ({ plain, frame: zstdCompressSync(plain, LEVEL_1) }))
  const into = new Uint8Array(4 * 1024 * 1024 + ZSTD_SLACK_BYTES)
  const takesGood = (): void => {
    const { plain, frame } = random.pick(good)
    assert.ok(zstd.decompress(frame, into, plain.length))
    assert.equal(Buffer.compare(into.subarray(0, plain.length), plain), 0)
  }
  for (const { plain, frame } of good) {
    const spoilt = Buffer.from(frame)
    spoilt.writeUInt32LE(0xdeadbeef, 0)
    assert.equal(zstd.decompress(spoilt, into, plain.length), false)
    takesGood()
    for (const cut of [0, 1, frame.length >> 1, frame.length - 1]) {
      assert.equal(zstd.decompress(frame.subarray(0, cut), into, plain.length), false)
      takesGood()
    }
    assert.equal(zstd.decompress(frame, into, plain.length - 1), false)
    takesGood()
    if (plain.length < 4 * 1024 * 1024) assert.equal(zstd.decompress(frame, into, plain.length + 1), false)
    takesGood()
  }
})

test('Zstd compresses on after frames were refused, and what it makes others can read', () => {
  const zstd = new Zstd(1)
  const into = new Uint8Array(100_000)
  for (const plain of texts()) {
    zstd.decompress(random.bytes(1000), into, 5000)
    assert.ok(zstdDecompressSync(zstd.compress(plain)).equals(plain))
  }
})
