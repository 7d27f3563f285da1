/**
 * What `serve` answers on its socket besides `health`; parameters from the wire are checked here, a job's input by its
 * definition. The socket is the owner's alone, so whoever reaches it may do everything.
 *
 *   job.start {job, input, key?}   → id                        job.list {status?, name?, limit?}   → JobSummary[]
 *   job.show {id}                  → {job, steps, events}      job.cancel {id, reason?}            → boolean
 *   job.watch {id}                 → JobView when it is over, with JobView events as it changes
 *   catalog.repositories           → KnownRepository[]         catalog.points {after}              → ListedPoint[]
 *
 * A message has its bound (MESSAGE_BYTES_MAX): lists of jobs leave inputs and outputs out, points come in pages.
 */
import type { Clock } from '#base'
import { type Catalog, listPoints, listRepositories } from '#catalog'
import { isFinal, JOB_STATUSES, type JobStatus } from '#domain'
import { BACKUP_JOB, type JobEngine, JobsError, type JobView } from '#jobs'
import type { RpcCall, RpcMethods } from '#runtime'
import { ServerError } from './errors.ts'
import { BACKUP_QUEUE } from './jobs-of-serve.ts'
import { parameterReader } from './parameters.ts'

export type JobSummary = Omit<JobView, 'input' | 'output'>
export type ControlParts = Readonly<{ engine: JobEngine; catalog: Catalog; clock: Clock }>

const LIST_MAX = 1000
const WATCH_MS = 250
/** A point has some hundred bytes for each of its disks. */
const POINTS_PAGE = 100

function invalid(what: string): ServerError {
  return new ServerError('request_invalid', `The request has no valid ${what}.`, { facts: { what } })
}

const { fields: fieldsOf, text } = parameterReader(invalid)

function textOf(fields: Record<string, unknown>, name: string): string {
  return text(fields[name], name)
}

function optionalText(fields: Record<string, unknown>, name: string): string | undefined {
  return fields[name] === undefined ? undefined : textOf(fields, name)
}

function unknownJob(id: string): JobsError {
  return new JobsError('job_unknown', `There is no job ${id}.`, { facts: { job: id } })
}

async function find(engine: JobEngine, params: unknown): Promise<JobView> {
  const id = textOf(fieldsOf(params), 'id')
  const job = await engine.get(id)
  if (job === undefined) throw unknownJob(id)
  return job
}

function startJob(engine: JobEngine, params: unknown): Promise<string> {
  const fields = fieldsOf(params)
  const job = textOf(fields, 'job')
  const key = optionalText(fields, 'key')
  const options = { ...(job === BACKUP_JOB && { queue: BACKUP_QUEUE }), ...(key !== undefined && { key }) }
  return engine.start(job, fields['input'] ?? null, options)
}

async function listJobs(engine: JobEngine, params: unknown): Promise<JobSummary[]> {
  const fields = fieldsOf(params)
  const { limit = 100 } = fields
  if (typeof limit !== 'number' || !Number.isSafeInteger(limit) || limit < 1 || limit > LIST_MAX) throw invalid('limit')
  const name = optionalText(fields, 'name')
  const status = optionalText(fields, 'status')
  if (status !== undefined && !isStatus(status)) throw invalid('status')
  const jobs = await engine.list({
    limit,
    ...(name !== undefined && { name }),
    ...(status !== undefined && { status: [status] }),
  })
  return jobs.map(({ input: _input, output: _output, ...summary }) => summary)
}

function isStatus(text: string): text is JobStatus {
  return JOB_STATUSES.some((status) => status === text)
}

async function watch({ engine, clock }: ControlParts, params: unknown, call: RpcCall): Promise<JobView> {
  let told = ''
  for (;;) {
    const job = await find(engine, params)
    if (isFinal(job.status)) return job
    const now = JSON.stringify(job)
    if (now !== told) call.event(job)
    told = now
    await clock.sleep(WATCH_MS, call.signal)
  }
}

export function controlMethods(parts: ControlParts): RpcMethods {
  const { engine, catalog } = parts
  return {
    'job.start': (params) => startJob(engine, params),
    'job.list': (params) => listJobs(engine, params),
    'job.show': async (params) => {
      const job = await find(engine, params)
      return { job, steps: await engine.steps(job.id), events: await engine.events(0, job.id) }
    },
    'job.cancel': (params) => {
      const fields = fieldsOf(params)
      return engine.cancel(textOf(fields, 'id'), optionalText(fields, 'reason') ?? 'asked for')
    },
    'job.watch': (params, call) => watch(parts, params, call),
    'catalog.repositories': () => listRepositories(catalog),
    'catalog.points': async (params) => {
      const { after } = fieldsOf(params)
      if (typeof after !== 'number' || !Number.isSafeInteger(after) || after < 0) throw invalid('after')
      return (await listPoints(catalog)).slice(after, after + POINTS_PAGE)
    },
  }
}
