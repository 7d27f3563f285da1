/**
 * What a vault needs by itself, and when: a pass of its mirror, a check of both sides, a copy of the catalog in it; and whether its mirror is
 * so far behind that somebody must be told. Pure. Times that lie ahead (a clock was put back) count as passed long ago.
 */
export type CareTimes = Readonly<{
  mirrorEveryMs: number
  lagAlertMs: number
  /** 0: never. */
  checkEveryMs: number
  /** 0: never. */
  copyEveryMs: number
}>

export type CareState = Readonly<{
  isMirrored: boolean
  /** When the oldest point that is not mirrored was committed; undefined: all are. */
  waitingSinceMs?: number | undefined
  /** When the last pass, check and copy came to their end; of one that failed, when that was. */
  passedMs?: number | undefined
  failedMs?: number | undefined
  checkedMs?: number | undefined
  /** When the last check broke off; undefined: it came to its end. */
  checkFailedMs?: number | undefined
  copiedMs?: number | undefined
  /** When this vault was first seen: nothing is checked in its first hours. */
  madeMs: number
}>

export type Care = Readonly<{ pass: boolean; check: boolean; copy: boolean; isLate: boolean }>

/** After a failure it is tried again this much later, whatever waits. */
export const MIRROR_RETRY_MS = 60_000
/** A check that broke off does so for long, and passes must go on meanwhile. */
export const CHECK_RETRY_MS = 6 * 60 * 60_000

function isOver(sinceMs: number | undefined, everyMs: number, nowMs: number): boolean {
  return sinceMs === undefined || nowMs - sinceMs >= everyMs || sinceMs > nowMs
}

export function careOf(state: CareState, times: CareTimes, nowMs: number): Care {
  const { isMirrored, waitingSinceMs, passedMs, failedMs, checkedMs, checkFailedMs, copiedMs, madeMs } = state
  const mayTry = failedMs === undefined || isOver(failedMs, MIRROR_RETRY_MS, nowMs)
  const isDue = waitingSinceMs !== undefined || isOver(passedMs, times.mirrorEveryMs, nowMs)
  return {
    pass: isMirrored && mayTry && isDue,
    check:
      isMirrored &&
      passedMs !== undefined &&
      times.checkEveryMs > 0 &&
      (checkFailedMs === undefined || isOver(checkFailedMs, CHECK_RETRY_MS, nowMs)) &&
      isOver(checkedMs ?? madeMs, times.checkEveryMs, nowMs),
    copy: times.copyEveryMs > 0 && isOver(copiedMs, times.copyEveryMs, nowMs),
    isLate: isMirrored && waitingSinceMs !== undefined && nowMs - waitingSinceMs >= times.lagAlertMs,
  }
}
