/** Space as people read it. */
import { formatBytes } from '#base'
import type { PoolView } from '#server'

/** Where a pool lies. */
export function placeText(path: string, host: string | undefined): string {
  return host === undefined ? path : `${host}:${path}`
}

export function freeText(space: PoolView['space']): string {
  return space === undefined ? '' : `${formatBytes(space.freeBytes)} free of ${formatBytes(space.totalBytes)}`
}
