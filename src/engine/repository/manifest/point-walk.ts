/** Every chunk that a point's manifests name, nodes before their children, each content once. */
import { isHoldfastError, toHex } from '#base'
import type { ContentHash } from '../crypto.ts'
import type { DeltaRoot, PointRecord } from '../point.ts'
import { nodeRef, type ReadContent, readNode } from './tree.ts'
import { deltaContent, isDelta, readDeltaNode } from './version.ts'

/** The contents of one leaf, or one inner node by itself; together they are the point. */
export type ContentGroup = readonly ContentHash[]

/**
 * Walks the points in order. What was yielded once is not walked again, so that versions which share their nodes cost what
 * they differ by. `seen` holds 44 bytes of text a node, not a chunk: chunks repeat within what they share only.
 */
export async function* walkContents(
  read: ReadContent,
  points: readonly PointRecord[],
  unreadable: Unreadable = 'fail',
): AsyncGenerator<ContentGroup> {
  const seen = new Set<string>()
  for (const point of points) {
    for (const disk of point.disks) {
      if (isDelta(disk.root)) yield* underDelta(read, disk.root, seen, unreadable)
      else {
        const root = nodeRef(disk.root)
        if (root !== undefined) yield* nodesUnder(read, root, seen, unreadable)
      }
    }
    const attached = point.attachments.flatMap(({ chunks }) => chunks)
    if (attached.length > 0) yield attached.map((chunk) => Buffer.from(chunk, 'hex') as Uint8Array as ContentHash)
  }
}

/** A chain and the tree under it. Of the nodes below only the payload is asked for: their own chains are part of this one. */
async function* underDelta(
  read: ReadContent,
  root: DeltaRoot,
  seen: Set<string>,
  unreadable: Unreadable,
): AsyncGenerator<ContentGroup> {
  const content = deltaContent(root)
  const top = await orSkipped(() => readDeltaNode(read, content), unreadable)
  if (top === undefined) {
    yield [content]
    return
  }
  for (const one of [...top.below, content]) {
    const key = `delta ${toHex(one)}`
    if (seen.has(key)) continue
    seen.add(key)
    const node = one === content ? top : await orSkipped(() => readDeltaNode(read, one), unreadable)
    yield [one, ...(node?.payloads ?? []).map((payload) => payload.content)]
  }
  const tree = nodeRef(top.base)
  if (tree !== undefined) yield* nodesUnder(read, tree, seen, unreadable)
}

type Unreadable = 'fail' | 'skip unreadable nodes'

/** undefined: the node is damaged, and such are skipped. */
async function orSkipped<T>(load: () => Promise<T>, unreadable: Unreadable): Promise<T | undefined> {
  try {
    return await load()
  } catch (error) {
    const isDamage = isHoldfastError(error, 'chunk_missing', 'chunk_corrupt', 'pack_missing', 'pack_corrupt')
    if (unreadable === 'fail' || !isDamage) throw error
    return undefined
  }
}

async function* nodesUnder(
  read: ReadContent,
  ref: Readonly<{ content: ContentHash; level: number }>,
  seen: Set<string>,
  unreadable: Unreadable,
): AsyncGenerator<ContentGroup> {
  const key = `${ref.level}${toHex(ref.content)}`
  if (seen.has(key)) return
  seen.add(key)
  const node = await orSkipped(() => readNode(read, ref), unreadable)
  if (node === undefined) {
    yield [ref.content]
    return
  }
  const children = node.slots.filter((slot) => slot !== undefined)
  yield ref.level === 0 ? [ref.content, ...children] : [ref.content]
  if (ref.level > 0)
    for (const content of children) yield* nodesUnder(read, { content, level: ref.level - 1 }, seen, unreadable)
}
