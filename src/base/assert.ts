/**
 * Assertions state what must be true if our own code is right. What may happen (bad input, a full disk, a lying peer) is
 * an error of errors.ts, never an assertion. Assertions stay on in production; a failed one ends the process that runs
 * the data path, and a fresh one goes on from its journal.
 */

export class AssertionFailed extends Error {
  override readonly name = 'AssertionFailed'
}

/** Throws {@link AssertionFailed} unless `condition` holds. `message` says what was expected, in one sentence. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailed(message)
}

/** The value, or {@link AssertionFailed} when it is absent. For lookups that cannot fail if our code is right. */
export function must<T>(value: T | undefined | null, message: string): T {
  if (value === undefined || value === null) throw new AssertionFailed(message)
  return value
}

/** Marks a branch that the types rule out. */
export function unreachable(value: never, message = 'A value outside its union'): never {
  throw new AssertionFailed(`${message}: ${JSON.stringify(value)}`)
}
