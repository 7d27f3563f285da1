/**
 * CPU priority of our own threads. Work that can wait (reading, hashing, compressing a backup) yields to what cannot: the
 * guests of the same host, which compete for the same cores. Linux keeps a nice value per thread (sched(7)).
 *
 * A nice value counts within one scheduling group only: where guests and Holdfast are in control groups of their own with a
 * CPU controller, or in sessions of their own under autogrouping, the weights of the groups decide.
 */
import { getPriority, setPriority } from 'node:os'

/** About a tenth of the weight of a thread at 0. */
const YIELDING = 10

/** Lowers the calling thread for good; one that is lower already stays so. Without effect where it is not allowed. */
export function yieldThisThread(): void {
  try {
    if (getPriority(0) < YIELDING) setPriority(0, YIELDING)
  } catch {
    // A sandbox may forbid it; the work goes on at the priority that it has.
  }
}
