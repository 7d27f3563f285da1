/** A link as an administrator sees it. */
import { isoTime } from '#base'
import type { Link } from '#catalog'
import { findRole } from '#domain'

/** What this process has seen of the other side. */
export type Contact = Readonly<{ ok: boolean; sinceMs: number; why?: string; isRefusal?: boolean }>

export type LinkState = 'joining' | 'reachable' | 'unreachable' | 'refused' | 'not asked yet'

export type LinkView = Readonly<{
  subscription: string
  endpoint: string
  regions: readonly string[]
  /** Role that the other server's principals have here at most. */
  role: string
  /** Role that ours have there at most. */
  granted: string | undefined
  state: LinkState
  /** Since when it is in that state, as far as this server has run. */
  since: string | undefined
  lastSeen: string | undefined
  /** What is wrong, in a sentence. */
  why: string | undefined
  createdAt: string
}>

function stateOf(link: Link, contact: Contact | undefined): LinkState {
  if (link.state === 'joining') return 'joining'
  if (contact === undefined) return 'not asked yet'
  if (contact.ok) return 'reachable'
  return contact.isRefusal === true ? 'refused' : 'unreachable'
}

function roleName(id: string): string {
  return findRole(id)?.name ?? id
}

export function linkView(link: Link, contact: Contact | undefined): LinkView {
  const { subscription, endpoint, regions, role, granted, createdMs, seenMs } = link
  return {
    subscription,
    endpoint,
    regions: regions.map(({ name }) => name),
    role: roleName(role),
    granted: granted === undefined ? undefined : roleName(granted),
    state: stateOf(link, contact),
    since: contact === undefined ? undefined : isoTime(contact.sinceMs),
    lastSeen: seenMs === undefined ? undefined : isoTime(seenMs),
    why: contact?.why,
    createdAt: isoTime(createdMs),
  }
}
