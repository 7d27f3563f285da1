/** What a job's step said when it reached a milestone. */
import type { Catalog } from '#catalog'

/** Facts of the milestone; undefined when it was not reached. */
export async function milestoneFacts(
  catalog: Catalog,
  jobId: string,
  name: string,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const rows = await catalog.db
    .selectFrom('job_event')
    .select('facts')
    .where('job_id', '=', jobId)
    .where('kind', '=', 'milestone')
    .orderBy('sequence')
    .execute()
  return rows.map(({ facts }) => JSON.parse(facts) as Record<string, unknown>).find((facts) => facts['name'] === name)
}
