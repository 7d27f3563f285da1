/** Space as people read it. */
import { formatBytes } from '#base'
import type { PoolView } from '#server'

export function freeText(space: PoolView['space']): string {
  return space === undefined ? '' : `${formatBytes(space.freeBytes)} free of ${formatBytes(space.totalBytes)}`
}
