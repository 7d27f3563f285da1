import assert from 'node:assert/strict'
import { test } from 'node:test'
import { zstdCompressSync } from 'node:zlib'
import { CHUNK_BYTES_MAX, SeededRandom } from '#base'
import { CODEC_PLAIN, CODEC_ZSTD, compressChunk, decompressChunk, isZero } from './chunk.ts'

const random = new SeededRandom(5)

test('Chunks come back exactly, compressed when that helps and plain when it does not', () => {
  for (const length of [1, 2, 511, 4096, 65536, 1 << 20]) {
    const dense = random.bytes(length)
    const thin = new Uint8Array(length).map((_, i) => (i >> 9) & 0xff)
    for (const plain of [dense, thin, new Uint8Array(length)]) {
      const { codec, bytes } = compressChunk(plain)
      assert.ok(bytes.length <= plain.length)
      const decompressed = decompressChunk(codec, bytes, length)
      assert.ok(plain.every((byte, i) => decompressed?.[i] === byte) && decompressed?.length === length)
      assert.equal(decompressChunk(codec, bytes, length + 1), undefined, 'another length is another chunk')
      if (length > 1) assert.equal(decompressChunk(codec, bytes, length - 1), undefined)
    }
  }
  assert.equal(compressChunk(random.bytes(65536)).codec, CODEC_PLAIN)
  assert.equal(compressChunk(new Uint8Array(65536)).codec, CODEC_ZSTD)
})

test('decompressChunk() answers hostile frames with undefined, and does not grow with what they claim', () => {
  const bomb = zstdCompressSync(new Uint8Array(256 * 1024 * 1024))
  assert.equal(decompressChunk(CODEC_ZSTD, bomb, 65536), undefined)
  assert.equal(decompressChunk(CODEC_ZSTD, bomb, CHUNK_BYTES_MAX), undefined)
  assert.equal(decompressChunk(7, new Uint8Array(4), 4), undefined)
  const { bytes } = compressChunk(new Uint8Array(65536).map((_, i) => (i >> 6) & 0xff))
  for (let length = 0; length < bytes.length; length += 1)
    assert.equal(decompressChunk(CODEC_ZSTD, bytes.subarray(0, length), 65536), undefined)
  for (let round = 0; round < 500; round += 1) {
    const changed = Buffer.from(bytes)
    changed[random.below(changed.length)] = random.below(256)
    const plain = decompressChunk(CODEC_ZSTD, changed, 65536)
    assert.ok(plain === undefined || plain.length === 65536)
  }
})

test('isZero() sees a single bit anywhere', () => {
  const bytes = new Uint8Array(9 * 1024 * 1024)
  assert.ok(isZero(bytes) && isZero(new Uint8Array()))
  for (const at of [0, 1, CHUNK_BYTES_MAX - 1, CHUNK_BYTES_MAX, bytes.length - 1]) {
    bytes[at] = 1
    assert.ok(!isZero(bytes))
    bytes[at] = 0
  }
})
