/**
 * The job `deploy`: the resources of a template, each by a PUT in its caller's name, in the order of their dependence.
 *
 * Evaluating templates and asking for resources are the API's, which lends itself over `DeploymentDesk` when it is open; a job
 * that was taken over from a dead process waits for that. This job holds the order of things and what is durable of it: the
 * deployment's record says how far each part is, a step is "put this part" or "look at those that run". Secrets never come here:
 * the input is two names.
 *
 * Crash story: a recorded step is not repeated. A PUT whose step was not recorded is asked for again, which gives the same
 * operation or changes nothing. The sealed order (with its secure parameters) is removed when the deployment has ended, however.
 */
import { isHoldfastError, messageOf } from '#base'
import { Desk } from '../desk.ts'
import { JobsError } from '../errors.ts'
import type { JobContext, JobDefinition, StepRetry } from '../port.ts'
import { recordOf } from '../repository-access.ts'

export const DEPLOYMENT_JOB = 'deploy'
export const DEPLOYMENT_QUEUE = 'deployment'

/** `deployment`: its resource id; `run`: under which name its order is sealed. */
export type DeploymentInput = Readonly<{ deployment: string; run: string }>

export type DeploymentFailure = Readonly<{ code: string; message: string }>

/** What the API does for a deployment. Everything may be asked for twice. */
export interface DeploymentHost {
  begin(input: DeploymentInput, signal: AbortSignal): Promise<void>
  /** Asks how the running parts are; says which parts may begin now, and how many run. */
  look(input: DeploymentInput, signal: AbortSignal): Promise<Readonly<{ ready: readonly number[]; running: number }>>
  /**
   * PUTs one part. A refusal is kept with the part, and is no error here.
   * @param isLast whether a resource that is busy counts as refused @throws JobsError `resource_busy`, to be tried later
   */
  put(input: DeploymentInput, part: number, isLast: boolean, signal: AbortSignal): Promise<void>
  /** Evaluates outputs and settles the record. Gives the failure, or null. */
  end(input: DeploymentInput, signal: AbortSignal): Promise<DeploymentFailure | null>
  /** Settles a record that `end` did not. */
  abandon(input: DeploymentInput, failure: DeploymentFailure | null): Promise<void>
}

/** Where jobs meet the API: it comes later than they do, and goes before them. */
export class DeploymentDesk extends Desk<DeploymentHost> {}

const PUT_RETRY: StepRetry = { attemptsMax: 8, delayMs: 500, delayMsMax: 15_000 }
const WAIT_MS_FIRST = 100
const WAIT_MS_MAX = 10_000
const WAIT_GROWTH = 1.5

function readInput(given: unknown): DeploymentInput {
  const { deployment, run } = recordOf(given, 'fields')
  if (typeof deployment === 'string' && typeof run === 'string') return { deployment, run }
  throw new JobsError('job_input_invalid', 'The job’s input has no valid deployment.', {
    facts: { field: 'deployment' },
  })
}

function waitMs(quietRounds: number): number {
  return Math.min(Math.round(WAIT_MS_FIRST * WAIT_GROWTH ** Math.min(quietRounds, 30)), WAIT_MS_MAX)
}

async function deployAll(job: JobContext, desk: DeploymentDesk, input: DeploymentInput): Promise<void> {
  let [quietRounds, before] = [0, 0]
  for (let round = 0; ; round += 1) {
    const { ready, running } = await job.step(`look ${round}`, async ({ signal }) =>
      (await desk.host(signal)).look(input, signal),
    )
    if (ready.length === 0 && running === 0) return
    quietRounds = ready.length > 0 || running !== before ? 0 : quietRounds + 1
    before = running
    const put = (part: number) =>
      job.step(
        `put ${part}`,
        async ({ signal, attempt }) =>
          (await desk.host(signal)).put(input, part, attempt >= PUT_RETRY.attemptsMax, signal),
        { retry: PUT_RETRY },
      )
    if (ready.length > 0) await Promise.all(ready.map(put))
    else await job.sleep(`wait ${round}`, waitMs(quietRounds))
  }
}

async function deploy(job: JobContext, desk: DeploymentDesk, input: DeploymentInput): Promise<null> {
  await job.step('begin', async ({ signal }) => (await desk.host(signal)).begin(input, signal))
  await deployAll(job, desk, input)
  const failure = await job.step('end', async ({ signal }) => (await desk.host(signal)).end(input, signal))
  if (failure === null) return null
  throw new JobsError('deployment_failed', failure.message, { facts: { code: failure.code } })
}

export function deploymentJob(desk: DeploymentDesk): JobDefinition<DeploymentInput, null> {
  return {
    name: DEPLOYMENT_JOB,
    version: 1,
    parse: readInput,
    run: async (job, input) => {
      let failure: DeploymentFailure | null = null
      job.cleanup('settle', async ({ signal }) => (await desk.host(signal)).abandon(input, failure))
      try {
        return await deploy(job, desk, input)
      } catch (error) {
        // null is: cancelled.
        failure = isHoldfastError(error, 'cancelled') ? null : { code: 'DeploymentFailed', message: messageOf(error) }
        throw error
      }
    },
  }
}
