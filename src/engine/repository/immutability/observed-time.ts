/**
 * How much time is believed to have passed: folded from what the entries of the log state, so that everyone who read the
 * same entries believes the same. Pure.
 *
 *   observedMs never goes back. It follows the statements of writers as long as they are plausible: not further ahead of
 *   it than a day and twice the longest silence that the log has seen (at most 35 days in all). The time of a store's own
 *   clock, or one that an operator accepted, is always believed. A statement that is too far ahead is doubted: it moves
 *   nothing, and whoever made it neither prunes nor gives up locked points. The next plausible one ends the doubt.
 *
 * So a host whose clock runs ahead can end no lock; one whose clock runs behind ends locks later (`passedMs`), never
 * earlier. A log that really was silent for long needs an operator's word, where the store has no clock of its own.
 */

export const DAY_MS = 24 * 60 * 60_000
const ALLOWED_MS_MAX = 35 * DAY_MS
/** A lock that is counted from a doubted clock begins at most this long after what was observed. */
const DOUBT_MS_MAX = 366 * DAY_MS

export type ObservedTime = Readonly<{
  /** Unix ms; 0 before the first entry. */
  observedMs: number
  /** The longest time between two statements that was believed. */
  longestGapMs: number
  /** The newest entry, when its time was not believed. */
  doubted?: Readonly<{ number: number; atMs: number }>
}>
export const NO_TIME: ObservedTime = { observedMs: 0, longestGapMs: 0 }

export type TimeStatement = Readonly<{
  number: number
  /** The writer's clock. */
  atMs: number
  /** The store's own clock, where the writer asked it. */
  storeMs?: number
  /** An operator said that it is as late as this. */
  acceptedMs?: number
}>

export type Judgement =
  | Readonly<{ plausible: true; passedMs: number }>
  | Readonly<{ plausible: false; passedMs: number; saysMs: number; allowedMs: number }>

/** How far ahead of what was observed a statement may be. */
export function allowedGapMs({ longestGapMs }: ObservedTime): number {
  return Math.min(DAY_MS + 2 * longestGapMs, ALLOWED_MS_MAX)
}

/** What is believed after one more statement. */
export function observe(time: ObservedTime, statement: TimeStatement): ObservedTime {
  const saysMs = statement.acceptedMs ?? statement.storeMs ?? statement.atMs
  const { observedMs, longestGapMs } = time
  if (observedMs === 0) return { observedMs: saysMs, longestGapMs }
  const gapMs = saysMs - observedMs
  if (gapMs <= 0) return { observedMs, longestGapMs }
  const isProven = statement.storeMs !== undefined || statement.acceptedMs !== undefined
  const believed = isProven || gapMs <= allowedGapMs(time)
  if (believed) return { observedMs: saysMs, longestGapMs: Math.max(longestGapMs, gapMs) }
  return { observedMs, longestGapMs, doubted: { number: statement.number, atMs: statement.atMs } }
}

/**
 * What somebody whose clocks say this may take for the time that has passed: the earlier of what was observed and what
 * they say, so that neither a clock that is ahead nor one that is behind ends a lock early.
 */
export function judge(
  time: ObservedTime,
  clocks: Readonly<{ nowMs: number; storeMs?: number | undefined }>,
): Judgement {
  const saysMs = clocks.storeMs ?? clocks.nowMs
  const allowedMs = allowedGapMs(time)
  const plausible = time.observedMs === 0 || clocks.storeMs !== undefined || saysMs - time.observedMs <= allowedMs
  if (plausible) return { plausible, passedMs: saysMs }
  return { plausible, passedMs: time.observedMs, saysMs, allowedMs }
}

/**
 * When a lock that is asked for now begins to count: by the latest of all clocks, since a lock may be too long but not too
 * short; of a doubted clock at most a year, since nobody can take a lock back.
 */
export function lockBaseMs(
  time: ObservedTime,
  clocks: Readonly<{ nowMs: number; storeMs?: number | undefined }>,
): number {
  const judged = judge(time, clocks)
  if (judged.plausible) return Math.max(judged.passedMs, time.observedMs)
  return Math.min(judged.saysMs, time.observedMs + DOUBT_MS_MAX)
}
