/**
 * Waits until a job has come so far that its request can be answered: a milestone, which is on record then. The job's own
 * error is the request's when it ends before; when it takes too long it is cancelled.
 */
import { must } from '#base'
import { ARM_ERROR_CODES, ArmError, type ArmErrorCode } from '#contract'
import { isFinal } from '#domain'
import { milestoneFacts } from '#jobs'
import type { ArmHost } from './call.ts'
import { operationErrorOf } from './error-reply.ts'

const POLL_MS = 20

function errorOf(code: string, message: string): ArmError {
  const known = ARM_ERROR_CODES.find((one) => one === code) satisfies ArmErrorCode | undefined
  return known === undefined
    ? new ArmError('InternalServerError', message, { details: [{ code, message }] })
    : new ArmError(known, message)
}

/**
 * Facts of the milestone; undefined when the job succeeded without it (it found its work done).
 * @throws ArmError the job's; `GatewayTimeout` when it did not come so far within `boundMs`
 */
export async function untilMilestone(
  { catalog, jobs, clock }: ArmHost,
  jobId: string,
  name: string,
  boundMs: number,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const endMs = clock.monotonicMs() + boundMs
  for (;;) {
    const job = await jobs.get(jobId)
    const facts = await milestoneFacts(catalog, jobId, name)
    if (facts !== undefined) return facts
    if (job?.status === 'succeeded') return undefined
    if (job !== undefined && isFinal(job.status)) {
      const { code, message } = operationErrorOf(must(job.error, 'A job that did not succeed has an error'))
      throw errorOf(code, message)
    }
    if (clock.monotonicMs() > endMs) break
    await clock.sleep(POLL_MS)
  }
  await jobs.cancel(jobId, 'the request waited too long')
  throw new ArmError('GatewayTimeout', `It was not begun within ${boundMs / 1000} seconds, so it was given up.`)
}
