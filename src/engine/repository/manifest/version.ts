/**
 * What a disk version is made of: a tree, and over it what its delta nodes say. Resolved once by whoever reads a version;
 * after that every question is answered from the tree's nodes and one sorted list in memory.
 *
 * A delta root names all of its chain, so that points may be forgotten one by one: what a version needs it needs by content,
 * never through another point.
 */
import { fromHex, toHex } from '#base'
import type { ContentHash } from '../crypto.ts'
import { RepositoryError } from '../errors.ts'
import type { DeltaRoot, RootRef, TreeRoot } from '../point.ts'
import { decodeDeltaNode, type DeltaNode } from './delta-node.ts'
import { type ExtentList, joined, overlay } from './extent-map.ts'
import type { ReadContent } from './tree.ts'

export type ResolvedVersion = Readonly<{
  tree: TreeRoot | null
  /** Over the tree. Empty for a version without delta nodes. */
  extents: ExtentList
  /** The delta nodes, oldest first. */
  nodes: readonly ContentHash[]
  /** Extents of all nodes together, those that are covered by younger ones included. */
  extentsKept: number
  /** Bytes of their data. */
  bytesKept: number
}>

export function isDelta(root: RootRef): root is DeltaRoot {
  return root !== null && 'delta' in root
}

export function deltaContent(root: DeltaRoot): ContentHash {
  return fromHex(root.hash) as ContentHash
}

/** Reads and checks a delta node. @throws chunk_missing, chunk_corrupt */
export async function readDeltaNode(read: ReadContent, content: ContentHash): Promise<DeltaNode> {
  const node = decodeDeltaNode(await read(content))
  if (node !== undefined) return node
  throw new RepositoryError('chunk_corrupt', 'A delta node is not one, although its seal and hash are right.', {
    facts: { content: toHex(content) },
    hint: 'This is a defect of the program that wrote it. Please report it with the output of "holdfast repo verify".',
  })
}

/** @throws chunk_missing, chunk_corrupt, and what `read` raises */
export async function resolveVersion(read: ReadContent, root: RootRef): Promise<ResolvedVersion> {
  if (!isDelta(root)) return { tree: root, extents: [], nodes: [], extentsKept: 0, bytesKept: 0 }
  const content = deltaContent(root)
  const top = await readDeltaNode(read, content)
  const below = await Promise.all(top.below.map((one) => readDeltaNode(read, one)))
  // The youngest first: the oldest is the longest after a merge, and is gone through once.
  let extents: ExtentList = top.extents
  for (const node of below.toReversed()) extents = overlay(node.extents, extents)
  const all = [...below, top].flatMap((node) => node.extents)
  const bytesKept = all.reduce((sum, { payload, length }) => sum + (payload === undefined ? 0 : length), 0)
  return {
    tree: top.base,
    extents: joined(extents),
    nodes: [...top.below, content],
    extentsKept: all.length,
    bytesKept,
  }
}
