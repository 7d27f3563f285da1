/** Instants of one moment as one: all are checked, committed and aborted together. */
import { must } from '#base'
import type { Instant } from '#engine/hypervisor'

async function endAll(instants: readonly Instant[], end: (instant: Instant) => Promise<void>): Promise<void> {
  const ended = await Promise.allSettled(instants.map(end))
  const failed = ended.find((one) => one.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

const WEAKEST_FIRST = ['crash', 'filesystem', 'application'] as const

function weakest(instants: readonly Instant[]): Instant['consistency'] {
  return WEAKEST_FIRST.find((level) => instants.some(({ consistency }) => consistency === level)) ?? 'crash'
}

/** @param instants at least one; their disks' ids differ */
export function joinInstants(instants: readonly Instant[]): Instant {
  const first = must(instants[0], 'Something was opened')
  if (instants.length === 1) return first
  const weaker = instants.flatMap(({ weakerPromise }) => weakerPromise ?? [])
  return {
    id: first.id,
    takenAtMs: Math.max(...instants.map(({ takenAtMs }) => takenAtMs)),
    consistency: weakest(instants),
    notes: instants.flatMap(({ notes }) => notes),
    reasons: [...new Set(instants.flatMap(({ reasons }) => reasons))],
    pauseMs: Math.max(...instants.map(({ pauseMs }) => pauseMs)),
    freezeMs: Math.max(...instants.map(({ freezeMs }) => freezeMs)),
    weakerPromise: weaker.length === 0 ? undefined : weaker.join(' '),
    machine: first.machine,
    disks: instants.flatMap(({ disks }) => disks),
    check: () => endAll(instants, (instant) => instant.check()),
    commit: () => endAll(instants, (instant) => instant.commit()),
    abort: (reason) => endAll(instants, (instant) => instant.abort(reason)),
  }
}
