/**
 * What the bitmaps found on a disk are worth. Pure: the same state and request give the same decision.
 *
 * A bitmap's name is `hf-<tracker>-<generation>` and says: "recording every write since that generation". QEMU cannot tell
 * that an image was copied back behind its back; the generation in the name can.
 *
 *   committed generation G       found on the disk                        decision
 *   (no tracking asked)          anything                                 all  source_without_bitmap
 *   none                         anything                                 all  first_backup
 *   G                            G inconsistent                           all  bitmap_inconsistent
 *   G                            G recording                              since G
 *   G                            G stopped, a younger one recording       heal (merge the younger into G), then since G
 *   G                            G stopped, nothing recording             all  bitmap_inconsistent
 *   G                            no G, other generations of the tracker   all  bitmap_wrong_generation
 *   G                            nothing, the format keeps bitmaps        all  bitmap_missing
 *   G                            nothing, the format cannot keep them     all  bitmap_unsupported
 *
 * "Heal" is what an interrupted attempt left: at its instant G stopped and a younger one began to record in one
 * transaction, so together they hold every write since G. This makes tracking survive even a lost journal.
 * All other bitmaps of this tracker are stale and removed; those of other trackers and of strangers are never touched.
 */
import { HypervisorError } from '../errors.ts'
import type { Generation, ScanReason, TrackerId, TrackingRequest } from '../port.ts'

export type BitmapState = Readonly<{
  name: string
  recording: boolean
  /** Held by an export or a job: can be neither changed nor removed. */
  busy: boolean
  inconsistent: boolean
  persistent: boolean
  granularityBytes: number
}>

export type TrackedDisk = Readonly<{
  /** The image can keep bitmaps over a restart of QEMU: a writable qcow2 of version 3. */
  keepsBitmaps: boolean
  bitmaps: readonly BitmapState[]
}>

export type TrackingDecision = Readonly<{
  changes: Readonly<{ kind: 'all'; reason: ScanReason }> | Readonly<{ kind: 'since'; generation: Generation }>
  /** Before anything else: let `into` record again and merge `from` into it. */
  heal: Readonly<{ into: string; from: readonly string[] }> | undefined
  /** Stops recording at the instant; its extents are what the consumer reads. */
  previous: string | undefined
  /** Begins to record at the instant; undefined when no tracking was asked for. */
  next: string | undefined
  persistent: boolean
  remove: readonly string[]
}>

const TRACKER = /^[0-9a-f]{8}$/
const GENERATION = /^[0-9a-f]{12}$/

/** @throws `instant_failed` when an id does not have its form: a name with a dash in it could be another tracker's. */
export function bitmapName(tracker: TrackerId, generation: Generation): string {
  if (!TRACKER.test(tracker) || !GENERATION.test(generation)) {
    throw new HypervisorError('instant_failed', 'A tracker is 8 and a generation 12 lower-case hex digits.', {
      facts: { tracker, generation },
    })
  }
  return `hf-${tracker}-${generation}`
}

/** The generation in a bitmap's name, if it is one of `tracker`'s. */
export function generationOf(tracker: TrackerId, name: string): Generation | undefined {
  const generation = name.startsWith(`hf-${tracker}-`) ? name.slice(4 + tracker.length) : ''
  return GENERATION.test(generation) ? generation : undefined
}

export type Ask = Readonly<{ tracker: TrackerId; next: Generation; committed: Generation | undefined }>

/** What is asked of one disk. */
export function askOf(tracking: TrackingRequest | undefined, diskId: string): Ask | undefined {
  if (tracking === undefined) return undefined
  const { tracker, next, committed } = tracking
  return { tracker, next: typeof next === 'string' ? next : next(diskId), committed: committed[diskId] }
}

/** What a journal keeps: the repository is asked for the first disk's generation, since all of them land together. */
export function trackingRecord(
  decisions: readonly TrackingDecision[],
  tracking: TrackingRequest | undefined,
): Readonly<{ tracker: TrackerId; next: Generation }> | undefined {
  if (tracking === undefined) return undefined
  const next = nextGeneration(decisions[0]) ?? (typeof tracking.next === 'string' ? tracking.next : '')
  return { tracker: tracking.tracker, next }
}

/** The generation that begins with the decision. */
export function nextGeneration(decision: Pick<TrackingDecision, 'next'> | undefined): Generation | undefined {
  return decision?.next?.split('-')[2]
}

function judge(disk: TrackedDisk, ours: readonly BitmapState[], ask: Ask): Pick<TrackingDecision, 'changes' | 'heal'> {
  const all = (reason: ScanReason): Pick<TrackingDecision, 'changes' | 'heal'> => {
    return { changes: { kind: 'all', reason }, heal: undefined }
  }
  if (ask.committed === undefined) return all('first_backup')
  const name = bitmapName(ask.tracker, ask.committed)
  const found = ours.find((bitmap) => bitmap.name === name)
  if (found === undefined) {
    if (ours.length > 0) return all('bitmap_wrong_generation')
    return all(disk.keepsBitmaps ? 'bitmap_missing' : 'bitmap_unsupported')
  }
  if (found.inconsistent) return all('bitmap_inconsistent')
  const changes = { kind: 'since', generation: ask.committed } as const
  if (found.recording) return { changes, heal: undefined }
  const younger = ours.filter((bitmap) => bitmap !== found)
  const recorded = younger.length > 0 && younger.every((bitmap) => bitmap.recording && !bitmap.inconsistent)
  if (!recorded) return all('bitmap_inconsistent')
  return { changes, heal: { into: name, from: younger.map((bitmap) => bitmap.name) } }
}

/**
 * What to do with one disk's bitmaps, and what its consumer has to read.
 * @throws `instant_open` when a bitmap of this tracker is in use: another instant of it is open.
 */
export function decideTracking(disk: TrackedDisk, ask: Ask | undefined): TrackingDecision {
  if (ask === undefined) {
    const changes = { kind: 'all', reason: 'source_without_bitmap' } as const
    return { changes, heal: undefined, previous: undefined, next: undefined, persistent: false, remove: [] }
  }
  const ours = disk.bitmaps.filter((bitmap) => generationOf(ask.tracker, bitmap.name) !== undefined)
  const busy = ours.find((bitmap) => bitmap.busy)
  if (busy !== undefined) {
    throw new HypervisorError('instant_open', 'The tracking of a disk is in use by another instant.', {
      facts: { bitmap: busy.name },
      retry: 'later',
    })
  }
  const { changes, heal } = judge(disk, ours, ask)
  const previous = changes.kind === 'since' ? bitmapName(ask.tracker, changes.generation) : undefined
  const kept = new Set([previous, ...(heal?.from ?? [])])
  return {
    changes,
    heal,
    previous,
    next: bitmapName(ask.tracker, ask.next),
    persistent: disk.keepsBitmaps,
    remove: ours.map((bitmap) => bitmap.name).filter((name) => !kept.has(name)),
  }
}
