import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ChunkMap } from './btrfs-chunks.ts'
import { type BtrfsKey, BtrfsTrees } from './btrfs-tree.ts'
import { DiskView } from './disk-view.ts'

const NODE_BYTES = 4096
const HEADER_BYTES = 101
const POINTER_BYTES = 33
const LEVEL_MAX = 7
const KEY: BtrfsKey = { object: 256, type: 1, offset: 5 }

function putKey(into: Buffer, at: number, { object, type, offset }: BtrfsKey): void {
  into.writeBigUInt64LE(BigInt(object), at)
  into.writeUInt8(type, at + 8)
  into.writeBigUInt64LE(BigInt(offset), at + 9)
}

/** The node of level n lies at n * NODE_BYTES, and points to the one below it as often as `offsets` says. */
function towerOf(offsets: readonly number[]): Buffer {
  const disk = Buffer.alloc((LEVEL_MAX + 1) * NODE_BYTES)
  for (let level = 0; level <= LEVEL_MAX; level += 1) {
    const node = disk.subarray(level * NODE_BYTES, (level + 1) * NODE_BYTES)
    node.writeBigUInt64LE(BigInt(level * NODE_BYTES), 48)
    node.writeUInt8(level, 100)
    node.writeUInt32LE(level === 0 ? 1 : offsets.length, 96)
    if (level === 0) putKey(node, HEADER_BYTES, KEY)
    else
      for (const [i, offset] of offsets.entries()) {
        putKey(node, HEADER_BYTES + i * POINTER_BYTES, { ...KEY, offset })
        node.writeBigUInt64LE(BigInt((level - 1) * NODE_BYTES), HEADER_BYTES + i * POINTER_BYTES + 17)
      }
  }
  return disk
}

function treesOn(disk: Buffer): BtrfsTrees {
  const view = DiskView.of({
    sizeBytes: disk.length,
    read: (offset, into) => {
      disk.copy(into, 0, offset, offset + into.length)
      return Promise.resolve()
    },
  })
  const chunk = Buffer.alloc(17 + 48 + 32)
  chunk.writeBigUInt64LE(BigInt(disk.length), 17)
  chunk.writeBigUInt64LE(65_536n, 17 + 16)
  chunk.writeUInt16LE(1, 17 + 44)
  chunk.writeBigUInt64LE(1n, 17 + 48)
  const chunks = new ChunkMap(new Map([[1, view]]))
  chunks.addSystem(chunk)
  return new BtrfsTrees(chunks, {
    id: '',
    label: '',
    generation: 1,
    rootTree: 0,
    chunkTree: 0,
    logTree: 0,
    sectorBytes: 4096,
    nodeBytes: NODE_BYTES,
    totalBytes: disk.length,
    deviceCount: 1,
    deviceId: 1,
    rootFolder: 6,
    sums: 'unchecked',
    sumBytes: 8,
    systemChunks: chunk,
  })
}

async function walk(trees: BtrfsTrees): Promise<number> {
  let count = 0
  for await (const item of trees.items(LEVEL_MAX * NODE_BYTES, { ...KEY, offset: 0 }, { ...KEY, offset: 1000 })) {
    assert.deepEqual(item.key, KEY)
    count += 1
  }
  return count
}

test('a tree of eight levels is walked to its only item', async () => {
  assert.equal(await walk(treesOn(towerOf([5]))), 1)
})

test('a tree whose nodes point to the one below them again and again ends in damage, not in a walk of years', async () => {
  const most = Math.floor((NODE_BYTES - HEADER_BYTES) / POINTER_BYTES)
  for (const offsets of [Array.from({ length: most }, () => 5), Array.from({ length: most }, (_, i) => 5 + i)])
    await assert.rejects(walk(treesOn(towerOf(offsets))), { code: 'files_damaged' })
})
