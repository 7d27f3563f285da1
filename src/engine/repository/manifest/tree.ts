/**
 * Building and walking manifest trees. Building is persistent in the functional sense: the parent's tree is never changed,
 * and a new version shares every node below which nothing changed, so an incremental costs the paths to what changed.
 */
import { fromHex, must, toHex } from '#base'
import { type ContentHash, contentHash } from '../crypto.ts'
import { RepositoryError } from '../errors.ts'
import type { TreeRoot } from '../point.ts'
import { decodeNode, emptyNode, encodeNode, FAN_OUT, type ManifestNode } from './node.ts'

/** Reads the plain bytes of a chunk by content. @throws chunk_missing, chunk_corrupt */
export type ReadContent = (content: ContentHash) => Promise<Uint8Array>
/** Stores the bytes of a node, once. */
export type PutNode = (content: ContentHash, bytes: Uint8Array) => Promise<void>

/** A node that is known to exist; `level` because a grown disk keeps its old, lower tree as the first child. */
type NodeRef = Readonly<{ content: ContentHash; level: number }>

/** A leaf as its writer left it: undefined content is a leaf without any chunk. */
export type ChangedLeaf = Readonly<{ content: ContentHash | undefined; usedBytes: number; usedBytesBefore: number }>

export function nodeRef(root: TreeRoot | null): NodeRef | undefined {
  return root === null ? undefined : { content: fromHex(root.hash) as ContentHash, level: root.level }
}

/** Reads and checks a node. @throws chunk_missing, chunk_corrupt */
export async function readNode(read: ReadContent, ref: NodeRef): Promise<ManifestNode> {
  const node = decodeNode(await read(ref.content), ref.level)
  if (node !== undefined) return node
  throw new RepositoryError('chunk_corrupt', 'A manifest node is not one, although its seal and hash are right.', {
    facts: { content: toHex(ref.content), level: ref.level },
    hint: 'This is a defect of the program that wrote it. Please report it with the output of "holdfast repo verify".',
  })
}

/** The node at `ref` seen from `level`: a lower tree stands in slot 0 of the levels above it. */
async function nodeAt(read: ReadContent, ref: NodeRef | undefined, level: number): Promise<ManifestNode> {
  if (ref === undefined) return emptyNode(level)
  if (ref.level === level) return readNode(read, ref)
  const node = emptyNode(level)
  node.slots[0] = ref.content
  node.usedBytes = (await readNode(read, ref)).usedBytes
  return node
}

/** The child in `slot`: one level down, or still the lower tree itself. */
function childRef(ref: NodeRef | undefined, node: ManifestNode, slot: number): NodeRef | undefined {
  const content = node.slots[slot]
  if (content === undefined) return undefined
  const isLowerTree = ref !== undefined && ref.level < node.level
  return { content, level: isLowerTree ? ref.level : node.level - 1 }
}

type Updated = Readonly<{ ref: NodeRef | undefined; usedBytes: number; usedBytesBefore: number }>

class TreeUpdate {
  readonly #read: ReadContent
  readonly #put: PutNode
  readonly #changed: ReadonlyMap<number, ChangedLeaf>
  readonly #leaves: readonly number[]

  constructor(read: ReadContent, put: PutNode, changed: ReadonlyMap<number, ChangedLeaf>) {
    this.#read = read
    this.#put = put
    this.#changed = changed
    this.#leaves = [...changed.keys()].sort((a, b) => a - b)
  }

  /** The node of `level` at `index`, with the changed leaves from position `from` up to `to` of the sorted list below it. */
  async at(level: number, index: number, old: NodeRef | undefined, from: number, to: number): Promise<Updated> {
    if (level === 0) {
      const leaf = must(this.#changed.get(index), 'Only changed leaves are visited')
      return { ...leaf, ref: leaf.content === undefined ? undefined : { content: leaf.content, level: 0 } }
    }
    const node = await nodeAt(this.#read, old, level)
    const before = node.usedBytes
    const leavesPerChild = FAN_OUT ** (level - 1)
    for (let first = from; first < to;) {
      const child = Math.floor(must(this.#leaves[first], 'Inside the list') / leavesPerChild)
      let last = first
      while (last < to && Math.floor((this.#leaves[last] ?? 0) / leavesPerChild) === child) last += 1
      const slot = child % FAN_OUT
      const updated = await this.at(level - 1, child, childRef(old, node, slot), first, last)
      node.slots[slot] = await this.#lifted(updated.ref, level - 1)
      node.usedBytes += updated.usedBytes - updated.usedBytesBefore
      first = last
    }
    // A lower tree that was not below any changed leaf has to be lifted to its place too.
    if (old !== undefined && old.level < level - 1 && node.slots[0] === old.content)
      node.slots[0] = await this.#lifted(old, level - 1)
    if (node.slots.every((slot) => slot === undefined)) return { ref: undefined, usedBytes: 0, usedBytesBefore: before }
    return { ref: await this.#stored(node), usedBytes: node.usedBytes, usedBytesBefore: before }
  }

  async #stored(node: ManifestNode): Promise<NodeRef> {
    const bytes = encodeNode(node)
    const content = contentHash(bytes)
    await this.#put(content, bytes)
    return { content, level: node.level }
  }

  /** Wraps a tree that is lower than `level` until it has that level. */
  async #lifted(ref: NodeRef | undefined, level: number): Promise<ContentHash | undefined> {
    let at = ref
    while (at !== undefined && at.level < level) at = await this.#stored(await nodeAt(this.#read, at, at.level + 1))
    return at?.content
  }
}

/**
 * The tree that differs from `parent` in the changed leaves, at a root of `level` (at least the parent's).
 * Stores the inner nodes that are new; the leaves are stored by their writers.
 */
export async function updateTree(
  options: Readonly<{
    parent: TreeRoot | null
    level: number
    changed: ReadonlyMap<number, ChangedLeaf>
    read: ReadContent
    put: PutNode
  }>,
): Promise<{ root: TreeRoot | null; usedBytes: number }> {
  const update = new TreeUpdate(options.read, options.put, options.changed)
  const parent = nodeRef(options.parent)
  if (options.changed.size === 0 && parent === undefined) return { root: null, usedBytes: 0 }
  if (options.changed.size === 0 && parent?.level === options.level) {
    return { root: options.parent, usedBytes: (await readNode(options.read, parent)).usedBytes }
  }
  const { ref, usedBytes } = await update.at(options.level, 0, parent, 0, options.changed.size)
  return { root: ref === undefined ? null : { hash: toHex(ref.content), level: ref.level }, usedBytes }
}

/** The content hash of the leaf at `leafIndex`, following the path from the root. */
export async function findLeaf(
  read: ReadContent,
  root: TreeRoot | null,
  leafIndex: number,
): Promise<ContentHash | undefined> {
  if (root === null || leafIndex >= FAN_OUT ** root.level) return undefined
  let at = nodeRef(root)
  while (at !== undefined && at.level > 0) {
    const leavesPerChild = FAN_OUT ** (at.level - 1)
    const node = await readNode(read, at)
    at = childRef(at, node, Math.floor(leafIndex / leavesPerChild) % FAN_OUT)
  }
  return at?.content
}

/** Every leaf of the tree with its index, ascending. Reads the inner nodes only. */
export async function* walkLeaves(
  read: ReadContent,
  root: TreeRoot | null,
): AsyncGenerator<{ index: number; content: ContentHash }> {
  const top = nodeRef(root)
  if (top !== undefined) yield* leavesUnder(read, top, 0)
}

async function* leavesUnder(
  read: ReadContent,
  ref: NodeRef,
  index: number,
): AsyncGenerator<{ index: number; content: ContentHash }> {
  if (ref.level === 0) {
    yield { index, content: ref.content }
    return
  }
  const node = await readNode(read, ref)
  for (let slot = 0; slot < FAN_OUT; slot += 1) {
    const child = childRef(ref, node, slot)
    if (child !== undefined) yield* leavesUnder(read, child, index * FAN_OUT + slot)
  }
}
