/** base: what every part may use. Pure: no Node, no clock, no chance of its own. */
export { AssertionFailed, assert, must, unreachable } from './assert.ts'
export type { Brand, DiskOffset } from './brand.ts'
export { formatBytes, fromHex, toHex } from './bytes.ts'
export { type Clock, ManualClock } from './clock.ts'
export {
  BASE_ERROR_CODES,
  BaseError,
  type BaseErrorCode,
  type ErrorDetails,
  errnoOf,
  type Facts,
  HoldfastError,
  isHoldfastError,
  messageOf,
  type RetryVerdict,
} from './errors.ts'
export { type ErrorShape, errorShapeOf, reviveError, RevivedError } from './error-shape.ts'
export { freeMemory } from './free-memory.ts'
export {
  CHUNK_BYTES_DEFAULT,
  CHUNK_BYTES_MAX,
  CHUNK_BYTES_MIN,
  DISK_BYTES_MAX,
  GIB,
  KIB,
  MACHINE_DISKS_MAX,
  MIB,
  SECTOR_BYTES,
  TIB,
} from './limits.ts'
export { type Random, randomUuid, SeededRandom } from './random.ts'
export { type Progress, type ProgressSink, silentProgress } from './progress.ts'
export { type RetryPolicy, withRetry } from './retry.ts'
export { isoTime } from './iso-time.ts'
export { PROGRAM_VERSION, WRITER } from './version.ts'
