/**
 * Milestones of a step: how far it came, kept as events of the job, so that an answer may rest on it and that a later
 * attempt knows what may not be done a second time.
 */
import type { RunState } from './run-state.ts'

const KIND = 'milestone'

type Facts = Readonly<Record<string, unknown>>

async function read(from: RunState['settings']['catalog']['db'], jobId: string): Promise<Facts[]> {
  const rows = await from
    .selectFrom('job_event')
    .select('facts')
    .where('job_id', '=', jobId)
    .where('kind', '=', KIND)
    .orderBy('sequence')
    .execute()
  return rows.map(({ facts }) => JSON.parse(facts) as Facts)
}

/** Names of the milestones that the step has reached, oldest first. */
export async function milestonesOf(state: RunState, step: string): Promise<string[]> {
  const all = await read(state.settings.catalog.db, state.held.jobId)
  return all.filter((facts) => facts['step'] === step).map(({ name }) => String(name))
}

/** Records that the step came so far, once. @throws JobsError `job_lost` */
export async function reachMilestone(state: RunState, step: string, name: string, facts: Facts): Promise<void> {
  await state.write(async (trx) => {
    const known = await trx
      .selectFrom('job_event')
      .select('facts')
      .where('job_id', '=', state.held.jobId)
      .where('kind', '=', KIND)
      .execute()
    const isKnown = known.some((row) => {
      const given = JSON.parse(row.facts) as Facts
      return given['step'] === step && given['name'] === name
    })
    if (!isKnown) await state.note(trx, KIND, { ...facts, step, name })
  })
}
