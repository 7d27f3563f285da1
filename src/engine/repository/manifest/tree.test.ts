import assert from 'node:assert/strict'
import { test } from 'node:test'
import { must, SeededRandom, toHex } from '#base'
import { type ContentHash, contentHash } from '../crypto.ts'
import type { TreeRoot } from '../point.ts'
import { decodeNode, emptyNode, encodeNode, FAN_OUT, rootLevel } from './node.ts'
import { type ChangedLeaf, findLeaf, readNode, updateTree, walkLeaves } from './tree.ts'

/** Nodes by content, as a repository would keep them. */
class Nodes {
  readonly #stored = new Map<string, Uint8Array>()
  puts = 0

  readonly read = async (content: ContentHash): Promise<Uint8Array> =>
    must(this.#stored.get(toHex(content)), 'Every node that is named was put')

  readonly put = async (content: ContentHash, bytes: Uint8Array): Promise<void> => {
    assert.deepEqual(contentHash(bytes), content)
    this.#stored.set(toHex(content), bytes)
    this.puts += 1
  }
}

/** The stupidest model of a tree: each leaf's content and used bytes. */
type Model = Map<number, { content: ContentHash; usedBytes: number }>

/** Stores a leaf with one chunk of random content. */
async function storedLeaf(nodes: Nodes, random: SeededRandom): Promise<{ content: ContentHash; usedBytes: number }> {
  const node = emptyNode(0)
  node.slots[random.below(FAN_OUT)] = contentHash(random.bytes(8))
  node.usedBytes = 1 + random.below(1000)
  const bytes = encodeNode(node)
  await nodes.put(contentHash(bytes), bytes)
  return { content: contentHash(bytes), usedBytes: node.usedBytes }
}

async function randomChange(
  nodes: Nodes,
  random: SeededRandom,
  model: Model,
  leaves: number,
): Promise<Map<number, ChangedLeaf>> {
  const changed = new Map<number, ChangedLeaf>()
  for (let i = random.below(5); i >= 0; i -= 1) {
    const index = random.chance(0.5) ? random.below(Math.min(leaves, 4)) : random.below(leaves)
    if (changed.has(index)) continue
    const usedBytesBefore = model.get(index)?.usedBytes ?? 0
    if (random.chance(0.3)) {
      changed.set(index, { content: undefined, usedBytes: 0, usedBytesBefore })
      model.delete(index)
    } else {
      const leaf = await storedLeaf(nodes, random)
      changed.set(index, { ...leaf, usedBytesBefore })
      model.set(index, leaf)
    }
  }
  return changed
}

async function assertEqualsModel(nodes: Nodes, root: TreeRoot | null, model: Model): Promise<void> {
  const found: [number, string][] = []
  for await (const { index, content } of walkLeaves(nodes.read, root)) found.push([index, toHex(content)])
  const expected = [...model].sort(([a], [b]) => a - b).map(([index, { content }]) => [index, toHex(content)])
  assert.deepEqual(found, expected)
  for (const index of [0, 1, 255, 256, 257, 65_536, ...model.keys()]) {
    const leaf = await findLeaf(nodes.read, root, index)
    assert.equal(leaf && toHex(leaf), model.has(index) ? toHex(must(model.get(index), 'has').content) : undefined)
  }
}

test('updateTree() over random changes, sparse trees and growth over level borders equals a plain map', async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const random = new SeededRandom(seed)
    const nodes = new Nodes()
    const model: Model = new Map()
    let root: TreeRoot | null = null
    let leaves = random.pick([1, 2, 200, 256, 257, 60_000, 70_000])
    for (let step = 0; step < 10; step += 1) {
      if (random.chance(0.3)) leaves = Math.min(leaves * random.pick([2, 300]), 4_000_000)
      const changed = random.chance(0.1)
        ? new Map<number, ChangedLeaf>()
        : await randomChange(nodes, random, model, leaves)
      const level = rootLevel(leaves * FAN_OUT)
      const updated = await updateTree({ parent: root, level, changed, read: nodes.read, put: nodes.put })
      root = updated.root
      await assertEqualsModel(nodes, root, model)
      const used = [...model.values()].reduce((sum, { usedBytes }) => sum + usedBytes, 0)
      assert.equal(updated.usedBytes, used, `seed ${seed}, step ${step}`)
      assert.ok(root === null || root.level === level)
    }
  }
})

test('updateTree() of one changed leaf stores one path, whatever the size of the tree', async () => {
  const nodes = new Nodes()
  const leaf = (): ChangedLeaf => ({
    content: contentHash(Buffer.from([nodes.puts])),
    usedBytes: 1,
    usedBytesBefore: 0,
  })
  const all = new Map(Array.from({ length: 1000 }, (_, i) => [i * 60, leaf()]))
  const level = rootLevel(60_000 * FAN_OUT)
  const { root } = await updateTree({ parent: null, level, changed: all, read: nodes.read, put: nodes.put })
  const before = nodes.puts
  await updateTree({ parent: root, level, changed: new Map([[7, leaf()]]), read: nodes.read, put: nodes.put })
  assert.equal(nodes.puts - before, level)
})

test('Nodes come back as they were; every beginning, every other level and every longer one is none', () => {
  const random = new SeededRandom(2)
  for (const present of [0, 1, 7, 255, 256]) {
    const node = emptyNode(1)
    node.usedBytes = 123_456_789_012
    for (let i = 0; i < present; i += 1) node.slots[(i * 37) % FAN_OUT] = contentHash(random.bytes(4))
    const bytes = encodeNode(node)
    const decoded = decodeNode(bytes, 1)
    assert.equal(decoded?.usedBytes, node.usedBytes)
    assert.deepEqual(
      decoded.slots.map((slot) => slot && toHex(slot)),
      node.slots.map((slot) => slot && toHex(slot)),
    )
    for (const length of [0, 1, 47, bytes.length - 1])
      if (length < bytes.length) assert.equal(decodeNode(bytes.subarray(0, length), 1), undefined)
    assert.equal(decodeNode(bytes, 0), undefined)
    assert.equal(decodeNode(Buffer.concat([bytes, Buffer.alloc(32)]), 1), undefined)
  }
  for (let round = 0; round < 1000; round += 1) decodeNode(random.bytes(random.below(300)), 0)
})

test('readNode() of bytes that are no node is chunk_corrupt', async () => {
  const content = contentHash(Buffer.from('x'))
  await assert.rejects(
    readNode(async () => Buffer.from('x'), { content, level: 0 }),
    { code: 'chunk_corrupt' },
  )
})
