/** Every chunk that a point's manifests name, nodes before their children, each content once. */
import { isHoldfastError, toHex } from '#base'
import type { ContentHash } from '../crypto.ts'
import { nodeRef, type ReadContent, readNode } from './tree.ts'
import type { PointRecord } from '../point.ts'

/** The contents of one leaf, or one inner node by itself; together they are the point. */
export type ContentGroup = readonly ContentHash[]

/**
 * Walks the points in order. What was yielded once is not walked again, so that versions which share their nodes cost what
 * they differ by. `seen` holds 44 bytes of text a node, not a chunk: chunks repeat within what they share only.
 */
export async function* walkContents(
  read: ReadContent,
  points: readonly PointRecord[],
  unreadable: 'fail' | 'skip unreadable nodes' = 'fail',
): AsyncGenerator<ContentGroup> {
  const seen = new Set<string>()
  for (const point of points) {
    for (const disk of point.disks) {
      const root = nodeRef(disk.root)
      if (root !== undefined) yield* nodesUnder(read, root, seen, unreadable)
    }
    const attached = point.attachments.flatMap(({ chunks }) => chunks)
    if (attached.length > 0) yield attached.map((chunk) => Buffer.from(chunk, 'hex') as Uint8Array as ContentHash)
  }
}

async function* nodesUnder(
  read: ReadContent,
  ref: Readonly<{ content: ContentHash; level: number }>,
  seen: Set<string>,
  unreadable: 'fail' | 'skip unreadable nodes',
): AsyncGenerator<ContentGroup> {
  const key = `${ref.level}${toHex(ref.content)}`
  if (seen.has(key)) return
  seen.add(key)
  let slots: readonly (ContentHash | undefined)[]
  try {
    slots = (await readNode(read, ref)).slots
  } catch (error) {
    const isDamage = isHoldfastError(error, 'chunk_missing', 'chunk_corrupt', 'pack_missing', 'pack_corrupt')
    if (unreadable === 'fail' || !isDamage) throw error
    yield [ref.content]
    return
  }
  const children = slots.filter((slot) => slot !== undefined)
  yield ref.level === 0 ? [ref.content, ...children] : [ref.content]
  if (ref.level > 0)
    for (const content of children) yield* nodesUnder(read, { content, level: ref.level - 1 }, seen, unreadable)
}
