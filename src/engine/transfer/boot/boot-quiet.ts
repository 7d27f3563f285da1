/**
 * When a guest that boots has settled, so that moving its data in does not take from its boot the disk, the decoder and the
 * processor that it waits for. Judged by what it reads, because a guest may have no agent: settled when it has read little
 * for a while, or when the time is up. Pure.
 */
/** A booting guest is silent this long only when it waits for a person. */
const QUIET_MS = 2_000
/** Reads within QUIET_MS that are no boot any more: a log, a timer. */
const QUIET_READS_MAX = 20
/** The data moves in then, whatever the guest does: until it has, the machine depends on its server. */
const SETTLE_MS_MAX = 10_000

export class BootQuiet {
  readonly #beganMs: number
  /** When the guest had asked for how many reads, oldest first, at most QUIET_MS back. */
  #seen: { atMs: number; reads: number }[] = []

  constructor(beganMs: number) {
    this.#beganMs = beganMs
  }

  /** Notes how many reads the guest has asked for so far, and says whether it has settled. */
  isSettled(atMs: number, reads: number): boolean {
    this.#seen.push({ atMs, reads })
    if (atMs - this.#beganMs >= SETTLE_MS_MAX) return true
    const first = this.#seen.findLastIndex((one) => atMs - one.atMs >= QUIET_MS)
    if (first < 0) return false
    this.#seen = this.#seen.slice(first)
    return reads > 0 && reads - (this.#seen[0]?.reads ?? 0) <= QUIET_READS_MAX
  }
}
