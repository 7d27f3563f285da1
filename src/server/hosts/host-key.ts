/** How a host elsewhere is named throughout: `region/name`. */
import type { Host, HostLink } from '#catalog'

export type HostKey = string

export function hostKey({ region, name }: Pick<Host | HostLink, 'region' | 'name'>): HostKey {
  return `${region}/${name}`
}
