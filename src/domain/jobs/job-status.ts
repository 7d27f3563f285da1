/**
 * The life of a job, as data. A job is a durable operation made of steps; what it is doing now is one of these.
 *
 *   queued ──> running ──> succeeded | failed | cancelled
 *     ^  └──────────┼─────────────────────────^   (a job that never ran is cancelled at once)
 *     │             ├──> sleeping ──┐  until a time
 *     │             ├──> waiting ───┤  for a signal or a child
 *     └─────────────┴───────────────┘  it is due again, or its process died or stopped
 *
 * Invariants: nothing leaves a final state; only `running` has an owner.
 */
import { assert } from '#base'

export const JOB_STATUSES = ['queued', 'running', 'sleeping', 'waiting', 'succeeded', 'failed', 'cancelled'] as const
export type JobStatus = (typeof JOB_STATUSES)[number]

export const JOB_TRANSITIONS = {
  queued: ['running', 'cancelled'],
  running: ['running', 'queued', 'sleeping', 'waiting', 'succeeded', 'failed', 'cancelled'],
  sleeping: ['running', 'queued'],
  waiting: ['running', 'queued'],
  succeeded: [],
  failed: [],
  cancelled: [],
} satisfies Record<JobStatus, readonly JobStatus[]>

/** The states in which a job may be picked up once it is due. */
export const CLAIMABLE_STATUSES = ['queued', 'sleeping', 'waiting'] as const satisfies readonly JobStatus[]

export const FINAL_STATUSES = ['succeeded', 'failed', 'cancelled'] as const satisfies readonly JobStatus[]
export type FinalStatus = (typeof FINAL_STATUSES)[number]

/** Whether the job has ended, one way or another. */
export function isFinal(status: JobStatus): status is FinalStatus {
  return JOB_TRANSITIONS[status].length === 0
}

/** Whether the table allows the move. */
export function mayMove(from: JobStatus, to: JobStatus): boolean {
  const allowed: readonly JobStatus[] = JOB_TRANSITIONS[from]
  return allowed.includes(to)
}

/** `to`, asserted against the table: a move outside it is our own fault. */
export function moveTo(from: JobStatus, to: JobStatus): JobStatus {
  assert(mayMove(from, to), `A job cannot go from ${from} to ${to}`)
  return to
}
