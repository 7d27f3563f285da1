import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serialize } from 'node:v8'
import { must, SECTOR_BYTES, SeededRandom, toHex } from '#base'
import { type ContentHash, contentHash } from '../crypto.ts'
import {
  decodeDeltaNode,
  DELTA_DEPTH_MAX,
  type DeltaExtent,
  type DeltaNode,
  encodeDeltaNode,
  type PayloadChunk,
} from './delta-node.ts'
import { type ExtentList, joined, overlaidChunks, overlay, piecesIn, splitAt, touches } from './extent-map.ts'
import { resolveVersion } from './version.ts'

const SECTORS = 200

function payloadOf(random: SeededRandom, sectors: number): PayloadChunk {
  return { content: contentHash(random.bytes(8)), sizeBytes: sectors * SECTOR_BYTES }
}

/** Random extents over a small disk, or far apart on the largest, with their payload in random order. */
function randomNode(random: SeededRandom, spread: number, below: readonly ContentHash[] = []): DeltaNode {
  const extents: DeltaExtent[] = []
  const payloads: PayloadChunk[] = []
  for (let sector = random.below(10) * spread; sector < SECTORS * spread; sector += (1 + random.below(20)) * spread) {
    const sectors = 1 + random.below(8)
    const place = { offset: sector * SECTOR_BYTES, length: Math.min(sectors, SECTORS * spread - sector) * SECTOR_BYTES }
    if (random.chance(0.3)) extents.push({ ...place, payload: undefined, at: 0 })
    else {
      if (payloads.length === 0 || random.chance(0.3)) payloads.push(payloadOf(random, 40))
      extents.push({ ...place, payload: random.pick(payloads), at: random.below(30) * SECTOR_BYTES })
    }
    sector += sectors
  }
  return {
    base: random.chance(0.5) ? null : { hash: toHex(contentHash(random.bytes(3))), level: 2 },
    below,
    payloads,
    extents,
  }
}

test('An extent is sent to a thread without the node that it was decoded from', () => {
  const random = new SeededRandom(1)
  const bytes = Buffer.concat([encodeDeltaNode(randomNode(random, 1)), Buffer.alloc(64 * 1024)])
  const node = must(decodeDeltaNode(bytes.subarray(0, bytes.length - 64 * 1024)), 'It is one')
  for (const extent of node.extents) assert.ok(serialize(extent).length < 1024)
})

test('Delta nodes come back as they were; beginnings, longer ones and tree nodes are none', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = new SeededRandom(seed)
    const below = Array.from({ length: random.below(DELTA_DEPTH_MAX) }, () => contentHash(random.bytes(4)))
    const node = randomNode(random, random.pick([1, 1000, 2 ** 24]), below)
    const bytes = encodeDeltaNode(node)
    assert.deepEqual(structuredClone(decodeDeltaNode(bytes)), structuredClone(node), `seed ${seed}`)
    assert.equal(decodeDeltaNode(bytes.subarray(0, random.below(bytes.length))), undefined)
    assert.equal(decodeDeltaNode(Buffer.concat([bytes, Buffer.alloc(1)])), undefined)
    const hurt = Buffer.from(bytes)
    for (let i = 0; i < 3; i += 1) hurt[random.below(hurt.length)] = random.below(256)
    const decoded = decodeDeltaNode(hurt)
    for (const { payload, at, length } of decoded?.extents ?? [])
      assert.ok(payload === undefined || at + length <= payload.sizeBytes, 'no extent leaves its payload chunk')
  }
})

test('A node of sequential payload costs about four bytes an extent', () => {
  const random = new SeededRandom(1)
  const payload = payloadOf(random, 8192)
  const extents = Array.from({ length: 1000 }, (_, i): DeltaExtent => {
    return { offset: (i * 16_000 + random.below(8000)) * SECTOR_BYTES, length: 4096, payload, at: i * 4096 }
  })
  const { length } = encodeDeltaNode({ base: null, below: [], payloads: [payload], extents })
  assert.ok(length < 48 + 36 + 5 * 1000, `${length} bytes`)
})

/** The stupidest model: what each sector shows. */
function sectorsOf(list: ExtentList): (string | undefined)[] {
  const sectors: (string | undefined)[] = Array.from({ length: SECTORS * 2 })
  for (const { offset, length, payload, at } of list) {
    for (let sector = 0; sector < length / SECTOR_BYTES; sector += 1) {
      const shown = payload === undefined ? 'zeros' : `${toHex(payload.content)} ${at / SECTOR_BYTES + sector}`
      sectors[offset / SECTOR_BYTES + sector] = shown
    }
  }
  return sectors
}

function assertList(list: ExtentList): void {
  let end = 0
  for (const { offset, length } of list) {
    assert.ok(offset >= end && length > 0, 'ascending, without overlaps, nothing empty')
    end = offset + length
  }
}

test('overlay(), joined(), splitAt(), overlaidChunks(), piecesIn() and touches() equal a plain array of sectors', () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = new SeededRandom(seed)
    const [below, above] = [randomNode(random, 1).extents, randomNode(random, 1).extents]
    const seen = overlay(below, above)
    assertList(seen)
    const upper = sectorsOf(above)
    const expected = sectorsOf(below).map((shown, i) => upper[i] ?? shown)
    assert.deepEqual(sectorsOf(seen), expected, `seed ${seed}`)
    const unit = random.pick([1, 3, 8]) * SECTOR_BYTES
    const parts = [...splitAt(seen, unit)]
    for (const { offset, length } of parts)
      assert.equal(Math.floor(offset / unit), Math.floor((offset + length - 1) / unit))
    assert.deepEqual(sectorsOf(parts), expected)
    const units = new Set(
      expected.flatMap((shown, i) => (shown === undefined ? [] : [Math.floor((i * SECTOR_BYTES) / unit)])),
    )
    assert.deepEqual(overlaidChunks(seen, unit), [...units])
    assert.ok(joined(parts).length <= seen.length)
    assert.deepEqual(sectorsOf(joined(parts)), expected)
    const from = random.below(SECTORS) * SECTOR_BYTES
    const to = from + (1 + random.below(20)) * SECTOR_BYTES
    const inside = expected.map((shown, i) => (i * SECTOR_BYTES >= from && i * SECTOR_BYTES < to ? shown : undefined))
    assert.deepEqual(sectorsOf(piecesIn(seen, from, to)), inside)
    assert.equal(
      touches(seen, from, to),
      inside.some((shown) => shown !== undefined),
    )
  }
})

test('resolveVersion() of a chain of sixteen equals laying each over the one before', async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const random = new SeededRandom(seed)
    const stored = new Map<string, Uint8Array>()
    const read = async (content: ContentHash): Promise<Uint8Array> => must(stored.get(toHex(content)), 'It was put')
    const chain: ContentHash[] = []
    let expected: (string | undefined)[] = sectorsOf([])
    for (let depth = 1; depth <= DELTA_DEPTH_MAX; depth += 1) {
      const bytes = encodeDeltaNode(randomNode(random, 1, chain))
      const content = contentHash(bytes)
      stored.set(toHex(content), bytes)
      const node = must(decodeDeltaNode(bytes), 'It is one')
      const upper = sectorsOf(node.extents)
      expected = expected.map((shown, i) => upper[i] ?? shown)
      chain.push(content)
      const version = await resolveVersion(read, { hash: toHex(content), delta: depth })
      assertList(version.extents)
      assert.deepEqual(sectorsOf(version.extents), expected)
      assert.deepEqual(version.nodes.map(toHex), chain.map(toHex))
      assert.deepEqual(version.tree, node.base)
    }
  }
})
