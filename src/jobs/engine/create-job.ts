/** Makes the row of a new job: its kind known, its input checked and bounded, its place in the tree not too deep. */
import type { CatalogTransaction } from '#catalog'
import { JobsError } from '../errors.ts'
import { JOB_DEPTH_MAX } from '../limits.ts'
import type { JobDefinition, QueueLimits, StartOptions } from '../port.ts'
import { sealValue } from '../stored-value.ts'
import { addEvent } from './fence.ts'

export const QUEUE_DEFAULT = 'default'
const PRIORITY_DEFAULT = 100

/** The definitions and queues that this process knows. */
export class Registry {
  readonly #definitions = new Map<string, Map<number, JobDefinition>>()
  readonly queues = new Map<string, QueueLimits>([[QUEUE_DEFAULT, { concurrency: 4 }]])

  /** @throws JobsError when the same version of a name is defined twice */
  define(definition: JobDefinition): void {
    const versions = this.#definitions.get(definition.name) ?? new Map<number, JobDefinition>()
    if (versions.has(definition.version)) {
      const message = `The job ${definition.name} has version ${definition.version} already.`
      throw new JobsError('job_kind_unknown', message)
    }
    versions.set(definition.version, definition)
    this.#definitions.set(definition.name, versions)
  }

  /** `name` in exactly that version, or in its newest. @throws JobsError `job_kind_unknown` */
  find(name: string, version?: number): JobDefinition {
    const versions = this.#definitions.get(name) ?? new Map<number, JobDefinition>()
    const definition = versions.get(version ?? Math.max(...versions.keys()))
    if (definition !== undefined) return definition
    throw new JobsError('job_kind_unknown', `There is no kind of job called "${name}".`, { facts: { name, version } })
  }

  known(): (readonly [string, number])[] {
    return Array.from(this.#definitions, ([name, versions]) =>
      Array.from(versions.keys(), (v) => [name, v] as const),
    ).flat()
  }
}

export type NewJob = Readonly<{
  id: string
  job: string
  input: unknown
  options: Omit<StartOptions, 'id'>
  parent?: Readonly<{ id: string; depth: number; queue: string; key: string | null; priority: number }>
}>

function checkPlace(registry: Registry, job: NewJob, queue: string): number {
  if (!registry.queues.has(queue)) {
    throw new JobsError('job_queue_unknown', `There is no queue called "${queue}".`, { facts: { queue } })
  }
  const depth = job.parent === undefined ? 0 : job.parent.depth + 1
  if (depth <= JOB_DEPTH_MAX) return depth
  throw new JobsError('job_too_deep', `Jobs may be nested ${JOB_DEPTH_MAX} deep.`, { facts: { job: job.job } })
}

/** The row's values. A child takes its parent's queue and priority unless told otherwise; never its key. */
export function planJob(registry: Registry, job: NewJob, nowMs: number) {
  const definition = registry.find(job.job)
  const input = definition.parse === undefined ? job.input : definition.parse(job.input)
  const queue = job.options.queue ?? job.parent?.queue ?? QUEUE_DEFAULT
  return {
    id: job.id,
    name: definition.name,
    version: definition.version,
    flags: JSON.stringify(Object.keys(definition.flags ?? {}).map(Number)),
    queue,
    key: job.options.key ?? null,
    priority: job.options.priority ?? job.parent?.priority ?? PRIORITY_DEFAULT,
    parent: job.parent?.id ?? null,
    depth: checkPlace(registry, job, queue),
    status: 'queued' as const,
    input: sealValue(input, `The input of ${definition.name}`),
    epoch: 0,
    due_ms: Math.max(nowMs, job.options.notBeforeMs ?? nowMs),
    wake: 0,
    created_ms: nowMs,
  }
}

export type JobRow = ReturnType<typeof planJob>

/** Writes the row unless there is a job with that id. */
export async function insertJob(trx: CatalogTransaction, row: JobRow): Promise<void> {
  const inserted = await trx
    .insertInto('job')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning('id')
    .executeTakeFirst()
  if (inserted !== undefined)
    await addEvent(trx, row.id, row.created_ms, 'created', { name: row.name, queue: row.queue })
}
