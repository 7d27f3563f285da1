/**
 * Exit codes, so that a script can tell what to do without reading words.
 *
 *   0    done
 *   1    damage: a check failed, or something that is kept cannot be given back as it was
 *   2    usage: the command line, an option or a location makes no sense
 *   3    not found: a repository, a point, a disk, an image, a program
 *   4    key: the passphrase or key file is missing or opens nothing
 *   5    refused: going on would destroy or endanger something (it exists, it is in use, it is read-only, ...)
 *   6    outside: a store, a host, a network, a disk that is full or does not answer; later it may work
 *   70   a fault of Holdfast itself
 *   130  cancelled
 *
 * docs/errors.md names the exit code of every error code; a test compares.
 */
import { isHoldfastError } from '#base'

export const EXIT = {
  ok: 0,
  damage: 1,
  usage: 2,
  notFound: 3,
  key: 4,
  refused: 5,
  outside: 6,
  fault: 70,
  cancelled: 130,
} as const

/** The codes of each class; a code that is in none is 6 when a retry may help and 5 when it cannot. */
const CODES: readonly (readonly [number, readonly string[]])[] = [
  [EXIT.cancelled, ['cancelled']],
  [EXIT.fault, ['internal_error', 'thread_failed']],
  [EXIT.usage, ['usage_invalid', 'invalid_argument', 'store_location_invalid', 'target_folder_invalid']],
  [EXIT.key, ['key_wrong', 'passphrase_missing', 'passphrase_mismatch', 'key_file_unreadable']],
]

const ENDINGS: readonly (readonly [number, RegExp])[] = [
  [EXIT.damage, /_(corrupt|damaged|missing|mismatch|rolled_back|invalid|broken)$/],
  [EXIT.notFound, /_(not_found|ambiguous|unknown)$/],
  [EXIT.outside, /_(unavailable|full|unreachable|disconnected|timed_out|io_error|contended|failed)$/],
]

/** The exit code for what was thrown. */
export function exitCodeOf(error: unknown): number {
  if (!isHoldfastError(error)) return EXIT.fault
  return exitCodeOfCode(error.code, error.retry !== 'never')
}

/** The exit code of an error code. @param retryable decides for codes that belong to no class of their own */
export function exitCodeOfCode(code: string, retryable = false): number {
  const named = CODES.find(([, codes]) => codes.includes(code))
  if (named !== undefined) return named[0]
  if (code === 'command_missing') return EXIT.notFound
  const ending = ENDINGS.find(([, pattern]) => pattern.test(code))
  if (ending !== undefined) return ending[0]
  return retryable ? EXIT.outside : EXIT.refused
}
