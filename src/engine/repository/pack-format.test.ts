import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '#base'
import { type ChunkId, contentHash, KeyRing } from './crypto.ts'
import { packBufferBytes, PackBuilder } from './pack-builder.ts'
import {
  CHUNK_KINDS,
  decodeFooter,
  decodeHeader,
  decodeTable,
  encodeFooter,
  encodeHeader,
  encodeTable,
  PACK_FOOTER_BYTES,
  PACK_HEADER_BYTES,
  type PackedChunk,
  packKeyOf,
  packNameOf,
} from './pack-format.ts'
import { checkPackWithKey, readPack, readPackTable } from './pack-reader.ts'
import { MemoryStore } from './stores/memory-store.ts'

const random = new SeededRandom(11)
const keys = new KeyRing(random.bytes(32), random.bytes(16))

function smallPack(): { name: string; bytes: Uint8Array; chunks: readonly PackedChunk[] } {
  const builder = new PackBuilder(keys, random, 42, new Uint8Array(packBufferBytes()))
  for (let i = 0; i < 5; i += 1) {
    const plain = random.bytes(600 + i)
    builder.add(keys.chunkId(contentHash(plain)), plain, CHUNK_KINDS[i % 2] ?? 'data')
  }
  const { name, bytes, chunks } = builder.finish()
  return { name, bytes: bytes.slice(), chunks }
}

test('Header, footer and table come back as they were written', () => {
  const [id, salt] = [random.bytes(16), random.bytes(32)]
  const header = decodeHeader(encodeHeader(id, salt, 77))
  assert.deepEqual([header?.repositoryId, header?.salt, header?.session], [id, salt, 77])
  const footer = { salt, tableOffset: 5000, tableBytes: 3 * 48 + 16, chunkCount: 3 }
  assert.deepEqual(decodeFooter(encodeFooter(footer), 5000 + 160 + 64), footer)
  const { chunks } = smallPack()
  assert.deepEqual(decodeTable(encodeTable(chunks), 1e6)?.map(plainIds), chunks.map(plainIds))
})

const plainIds = (chunk: PackedChunk): unknown => ({ ...chunk, id: Buffer.from(chunk.id).toString('hex') })

test('decodeHeader(), decodeFooter() and decodeTable() answer any bytes without throwing', () => {
  for (let round = 0; round < 2000; round += 1) {
    const bytes = random.bytes(random.below(200))
    decodeHeader(bytes)
    decodeFooter(bytes, random.below(1000))
    decodeTable(bytes, random.below(1000))
  }
  const header = encodeHeader(new Uint8Array(16), new Uint8Array(32), 1)
  for (let length = 0; length < PACK_HEADER_BYTES; length += 1)
    assert.equal(decodeHeader(header.subarray(0, length)), undefined)
  const footer = encodeFooter({ salt: new Uint8Array(32), tableOffset: 96, tableBytes: 64, chunkCount: 1 })
  for (let length = 0; length < PACK_FOOTER_BYTES; length += 1)
    assert.equal(decodeFooter(footer.subarray(0, length), 224), undefined)
})

test('A table entry that lies outside its pack, or claims what no chunk can be, makes the table none', () => {
  const good = {
    id: new Uint8Array(32) as ChunkId,
    offset: 96,
    sealedBytes: 20,
    plainBytes: 4,
    codec: 0,
    kind: 'data',
  } as const
  const bad: PackedChunk[] = [
    { ...good, offset: 95 },
    { ...good, sealedBytes: 15 },
    { ...good, sealedBytes: 5000 },
    { ...good, plainBytes: 4 * 1024 * 1024 + 1 },
    { ...good, codec: 2 },
  ]
  assert.equal(decodeTable(encodeTable([good]), 200)?.length, 1)
  for (const chunk of bad) assert.equal(decodeTable(encodeTable([good, chunk]), 200), undefined)
  const unknownKind = encodeTable([good])
  unknownKind[45] = 9
  assert.equal(decodeTable(unknownKind, 200), undefined)
})

test('Every single changed byte of a pack is found, and names no chunk that is still good', async () => {
  const { name, bytes, chunks } = smallPack()
  const ref = { name, lengthBytes: bytes.length }
  const store = new MemoryStore()
  await store.put(packKeyOf(name), [bytes])
  assert.deepEqual(checkPackWithKey(keys, ref, await readPack(store, ref)), {
    intact: true,
    session: 42,
    badChunks: [],
  })
  for (let at = 0; at < bytes.length; at += 3) {
    const changed = bytes.slice()
    changed[at] = (changed[at] ?? 0) ^ 0x40
    store.overwrite(packKeyOf(name), changed)
    const check = checkPackWithKey(keys, ref, await readPack(store, ref))
    assert.equal(check.intact, false, `byte ${at}`)
    const hit = chunks.filter(({ offset, sealedBytes }) => at >= offset && at < offset + sealedBytes)
    const isChunk = hit.length > 0
    if (isChunk)
      assert.deepEqual(
        check.badChunks,
        hit.map(({ id }) => id),
      )
    else assert.ok(check.badChunks === 'all' || check.badChunks.length === 0)
  }
})

test('A pack cut at any length is corrupt, never a raw exception', async () => {
  const { name, bytes } = smallPack()
  const ref = { name, lengthBytes: bytes.length }
  for (let length = 0; length < bytes.length; length += 7) {
    const store = new MemoryStore()
    await store.put(packKeyOf(name), [bytes.subarray(0, length)])
    await assert.rejects(readPackTable(store, keys, ref), { code: 'pack_corrupt' })
    assert.equal(checkPackWithKey(keys, ref, await readPack(store, ref)).intact, false)
  }
})

test('PackBuilder takes very many chunks that compress to almost nothing without overrunning its buffer', () => {
  const builder = new PackBuilder(keys, random, 1, new Uint8Array(packBufferBytes()))
  const id = new Uint8Array(32) as ChunkId
  const stored = new Uint8Array(20)
  let count = 0
  for (; !builder.isFull; count += 1) builder.addCompressed({ id, plainBytes: 65536, codec: 1, kind: 'data' }, stored)
  assert.ok(count > 1000)
  assert.equal(builder.finish().chunks.length, count)
})

test('packNameOf() knows the keys of packs and nothing else', () => {
  const name = 'ab'.repeat(32)
  assert.equal(packNameOf(packKeyOf(name)), name)
  for (const key of [`packs/cd/${name}`, `packs/ab/${name}0`, `packs/${name}`, 'packs/ab/..', 'log/000000000001'])
    assert.equal(packNameOf(key), undefined)
})
