/** Where a change of a record takes its time and its etag from. */
import { randomUuid } from '#base'
import type { ChangeSource } from '#catalog'
import type { ArmHost } from './call.ts'

export function changeSourceOf({ clock, random }: Pick<ArmHost, 'clock' | 'random'>): ChangeSource {
  return { nowMs: () => clock.nowMs(), newEtag: () => `W/"${randomUuid(random)}"` }
}
