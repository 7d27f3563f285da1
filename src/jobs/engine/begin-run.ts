/** Puts together one life of a claimed job: its definition, its records, and the way it makes children. */
import type { ClaimedJob } from './ownership.ts'
import { insertJob, planJob, type Registry } from './create-job.ts'
import type { Held } from './fence.ts'
import { JobRun } from './job-run.ts'
import { RunState } from './run-state.ts'
import type { CreateChild } from './run-waits.ts'
import type { EngineSettings, EngineTiming } from './settings.ts'
import { StepRecords } from './step-records.ts'

function childMaker(settings: EngineSettings, registry: Registry, parent: ClaimedJob): CreateChild {
  return async (trx, { id, job, input, options }) => {
    await insertJob(trx, planJob(registry, { id, job, input, options, parent }, settings.clock.nowMs()))
  }
}

export async function beginRun(
  settings: EngineSettings,
  timing: EngineTiming,
  owner: string,
  registry: Registry,
  job: ClaimedJob,
): Promise<JobRun> {
  const held: Held = { jobId: job.id, owner, epoch: job.epoch }
  const steps = await StepRecords.load(settings, held)
  const state = new RunState(settings, timing, job, held, steps)
  return new JobRun(state, registry.find(job.name, job.version), childMaker(settings, registry, job))
}
