/**
 * Whether a new version is written as chunks of its tree, as a delta node, or as both. Pure; decided before anything is read.
 *
 *   what the version is                                         written
 *   a full, a scan, a disk that grew                            tree; a chain below it is folded into it
 *   changes that fill a good part of the chunks they touch      tree; what a chain says elsewhere is merged into one node
 *   small changes, the chain short and small                    one more node
 *   small changes, the chain at its limits                      one node in place of all (merged), and into the tree:
 *                                                               chunks that it half covers, then those with most extents
 *
 * Merging writes no payload again but that of payload chunks which are mostly overwritten or small (`isSpent`), so a chain
 * at its limit of depth costs a node, not its content. Only the limits of extents and bytes make chunks be written whole
 * that are hardly changed, and then a sixteenth of the limit at a time: a version writes no more than
 * FOLD_SHARE x extentsMax chunks for that, and mostly far fewer, since those with most extents go first.
 */
import { type ByteRange, totalBytes } from '#engine/block'
import {
  DELTA_DEPTH_MAX,
  type DeltaExtent,
  type ExtentList,
  FAN_OUT,
  overlay,
  type ResolvedVersion,
  splitAt,
} from '#engine/repository'

export type DeltaLimits = Readonly<{
  /** Nodes of a chain; at most DELTA_DEPTH_MAX. */
  depthMax: number
  /** Of all nodes of a chain together, what is covered by younger ones included. */
  extentsMax: number
  /** Of their data, in chunks of the disk: bounds how many payload chunks a merged node lists. */
  chunksMax: number
}>
/**
 * A reader holds the extents in memory, about 100 bytes each. A merged node of so many fits a chunk: at most 192 Ki extents
 * (changes may be split where they hold zeros, see payload-work.ts) of 9 bytes, and 24 Ki payload chunks of 36.
 */
export const DELTA_LIMITS: DeltaLimits = {
  depthMax: DELTA_DEPTH_MAX,
  extentsMax: 128 * 1024,
  chunksMax: 8 * 1024,
}

export const NO_DELTAS: DeltaLimits = { depthMax: 0, extentsMax: 0, chunksMax: 0 }

/** A delta must save at least half: reading it later costs more than reading whole chunks. */
const SAVING_FACTOR = 2
/** From this part of a chunk on it goes into the tree when the chain is merged. */
const COVERED_SHARE = 1 / 2
const FOLD_SHARE = 1 / 16
/** What a leaf and its path, and an extent in a node, take about. */
const LEAF_BYTES = 8 * 1024
const EXTENT_BYTES = 8

export type DeltaInput = Readonly<{
  dirty: readonly ByteRange[]
  chunkSizeBytes: number
  hasGrown: boolean
  chain: Pick<ResolvedVersion, 'extents' | 'nodes' | 'extentsKept' | 'bytesKept'>
  limits: DeltaLimits
}>

/**
 * `fold`: chunks that are written whole into the tree, of the chain and of what changed. `node`: what is made of the rest;
 * with `none` all that changed goes into the tree, whether `fold` names it or not.
 */
export type DeltaPlan = Readonly<{ fold: ReadonlySet<number>; node: 'none' | 'append' | 'merge' }>

type Weight = { bytes: number; extents: number }

/** Bytes and extents in each chunk. */
function weigh(list: ExtentList, chunkSizeBytes: number): Map<number, Weight> {
  const weights = new Map<number, Weight>()
  for (const { offset, length } of splitAt(list, chunkSizeBytes)) {
    const chunk = Math.floor(offset / chunkSizeBytes)
    const weight = weights.get(chunk) ?? { bytes: 0, extents: 0 }
    weight.bytes += length
    weight.extents += 1
    weights.set(chunk, weight)
  }
  return weights
}

/** Ranges as extents of which only the place counts. */
export function asExtents(ranges: readonly ByteRange[]): DeltaExtent[] {
  return ranges.map(({ offset, length }) => ({ offset, length, payload: undefined, at: 0 }))
}

export function planDelta(input: DeltaInput): DeltaPlan {
  const { chain, chunkSizeBytes, limits } = input
  const bytes = totalBytes(input.dirty)
  const bytesMax = limits.chunksMax * chunkSizeBytes
  const isLarge = input.hasGrown || bytes > bytesMax || input.dirty.length > limits.extentsMax
  // The many chunks of large changes are not counted one by one: all go into the tree, and those of the chain with them.
  if (isLarge) return { fold: new Set(weigh(chain.extents, chunkSizeBytes).keys()), node: 'none' }
  const dirty = asExtents(input.dirty)
  const touched = weigh(dirty, chunkSizeBytes)
  const small = pays(input, touched, bytes)
  if (chain.nodes.length === 0 && !small) return { fold: new Set(), node: 'none' }
  const fits =
    chain.nodes.length < limits.depthMax &&
    chain.extentsKept + dirty.length <= limits.extentsMax &&
    chain.bytesKept + bytes <= bytesMax
  if (small && fits) return { fold: new Set(), node: 'append' }
  const weights = weigh(overlay(chain.extents, dirty), chunkSizeBytes)
  return planMerge(weights, small ? new Set() : new Set(touched.keys()), input)
}

function pays({ dirty, chunkSizeBytes }: DeltaInput, touched: Map<number, Weight>, bytes: number): boolean {
  const leaves = new Set([...touched.keys()].map((chunk) => Math.floor(chunk / FAN_OUT))).size
  const asChunks = touched.size * chunkSizeBytes + leaves * LEAF_BYTES
  const asDelta = bytes + dirty.length * EXTENT_BYTES
  return asDelta * SAVING_FACTOR <= asChunks
}

function planMerge(weights: Map<number, Weight>, fold: Set<number>, input: DeltaInput): DeltaPlan {
  const { chunkSizeBytes, limits } = input
  for (const [chunk, { bytes }] of weights) if (bytes >= chunkSizeBytes * COVERED_SHARE) fold.add(chunk)
  const left = [...weights].filter(([chunk]) => !fold.has(chunk))
  let [extents, bytes] = [sumOf(left, 'extents'), sumOf(left, 'bytes')]
  left.sort(([, a], [, b]) => b.extents - a.extents || b.bytes - a.bytes)
  const room = 1 - FOLD_SHARE
  for (const [chunk, weight] of left) {
    if (extents <= limits.extentsMax * room && bytes <= limits.chunksMax * chunkSizeBytes * room) break
    fold.add(chunk)
    extents -= weight.extents
    bytes -= weight.bytes
  }
  return { fold, node: extents === 0 ? 'none' : 'merge' }
}

function sumOf(weights: Iterable<readonly [number, Weight]>, field: keyof Weight): number {
  let sum = 0
  for (const [, weight] of weights) sum += weight[field]
  return sum
}

/** Whether a payload chunk of which so many bytes are still seen is written again when its chain is merged. */
export function isSpent(seenBytes: number, payloadBytesMax: number): boolean {
  return seenBytes < payloadBytesMax / 2
}
