/**
 * Durable jobs, as those who write and those who start them see them. The embedded engine (SQLite) is one implementation;
 * any other passes the same suite (test/jobs).
 *
 * A job is a *workflow*: an async function that does nothing itself but ask its context for steps, sleeps, signals and
 * children. After every pause and every crash it runs again from its beginning, and what was recorded is given back.
 *
 * What the engine promises:
 *   - a step whose result was recorded never runs again; one that was interrupted does: at least once executed, exactly
 *     once recorded. So a step is idempotent, and destructive writes to a store carry its `epoch` as fencing token;
 *   - of two processes that believe to own a job, only the one with the newest epoch can record anything;
 *   - a cancelled or failed job runs its cleanup handlers, as steps, newest first.
 *
 * What a workflow owes: between the context's calls it awaits nothing else, reads no clock and no chance (those go into
 * steps), and gives every call a name that is unique in the job. Parallel calls under Promise.all are welcome.
 */
import type { ErrorShape, Progress } from '#base'
import type { StepKind, StepStatus } from '#catalog'
import type { JobStatus } from '#domain'

export type StepRetry = Readonly<{
  attemptsMax: number
  delayMs: number
  delayMsMax: number
  /** Codes of errors that are waited out, however long: such an attempt is not counted, the next one follows within 30 s. */
  waitsFor?: readonly string[]
}>

export type StepOptions = Readonly<{
  /** How often a step is tried whose error says `retry: 'now' | 'later'`. Default: 5 times, from 1 s up to 60 s apart. */
  retry?: StepRetry
  /** Then the step's signal aborts; the step fails with `timed_out` (which may be retried) once it has stopped. */
  timeoutMs?: number
}>

export interface StepContext {
  readonly jobId: string
  readonly stepName: string
  /** Counts from 1. */
  readonly attempt: number
  /** Grows with every attempt of any step and every change of owner: the fencing token for writes outside. */
  readonly epoch: number
  /**
   * Aborts with `cancelled` (the job is cancelled), `timed_out`, `job_lost` (another process owns it) or `engine_stopping`
   * (this process ends, the job goes on elsewhere: leave work that survives us alone).
   */
  readonly signal: AbortSignal
  /** Kept with the job at a bounded rate; call it as often as is convenient. */
  readonly progress: (progress: Progress) => void
  /**
   * Keeps in the job's history, durable when it resolves, that this step has come so far: an event of kind `milestone` whose
   * facts are `{step, name, ...facts}`. A milestone is reached once; the same name again adds nothing.
   * @throws JobsError `job_lost`
   */
  readonly milestone: (name: string, facts: Readonly<Record<string, unknown>>) => Promise<void>
  /** Milestones that this step had reached in attempts before this one. */
  readonly reached: readonly string[]
  /** Runs after this attempt's result or failure is durable: the time to let go of what was kept for a repetition. */
  readonly afterRecorded: (callback: () => void | Promise<void>) => void
}

export interface JobContext {
  readonly jobId: string
  /** Behaviour flag that the definition listed when this job was created: how a job in flight keeps its old ways. */
  has(flag: number): boolean
  step<T>(name: string, run: (step: StepContext) => Promise<T> | T, options?: StepOptions): Promise<T>
  /** Durable: survives the process, and takes no place in the queue. */
  sleep(name: string, ms: number): Promise<void>
  /**
   * The oldest signal of that name that was not taken yet; undefined once `timeoutMs` have passed. `as` is the call's own
   * name where one job waits for several signals of one name.
   */
  waitForSignal(name: string, options?: Readonly<{ timeoutMs?: number; as?: string }>): Promise<unknown>
  /** Starts a child job and waits for its output. @throws its error; `cancelled` when the child was cancelled. */
  child<T>(name: string, job: string, input: unknown, options?: ChildOptions): Promise<T>
  /**
   * Registers what is to be done when the job does not succeed (or whenever it ends): runs as a step that a cancellation
   * does not interrupt. Register before the step that makes it necessary.
   */
  cleanup(name: string, run: (step: StepContext) => Promise<void> | void, options?: CleanupOptions): void
}

export type CleanupOptions = StepOptions & Readonly<{ when?: 'not-succeeded' | 'always' }>
export type ChildOptions = Readonly<{ queue?: string; key?: string; priority?: number }>

export type JobDefinition<Input = unknown, Output = unknown> = Readonly<{
  name: string
  /** A job runs under the version that it was created with; keep the old definition until its last job has ended. */
  version: number
  /** Numbered changes of behaviour within this version, each with its story. Numbers are never used again. */
  flags?: Readonly<Record<number, string>>
  /** Checks what came from outside when a job is created; throws an error of its own. Default: taken as it is. */
  parse?: (input: unknown) => Input
  run: (context: JobContext, input: Input) => Promise<Output>
}>

export type QueueLimits = Readonly<{
  /** Jobs running at once over all processes. */
  concurrency: number
  /** Jobs running at once that share a key, for example one machine. Default: no limit. */
  perKeyConcurrency?: number
}>

export type StartOptions = Readonly<{
  /** A job with this id is started once; starting it again gives the one that exists. Default: random. */
  id?: string
  queue?: string
  key?: string
  /** Smaller runs first. Default 100. */
  priority?: number
  /** ms since the epoch. */
  notBeforeMs?: number
}>

export type ScheduleSpec = Readonly<{
  name: string
  cron: string
  timeZone: string
  job: string
  input: unknown
  queue?: string
  key?: string
  /** After downtime: run the newest missed slot once, or none. Default once. */
  catchUp?: 'once' | 'skip'
}>

export type ScheduleView = ScheduleSpec &
  Readonly<{
    nextMs: number | undefined
    lastSlotMs: number | undefined
    lastJobId: string | undefined
    /** Slots that were passed over: the run before was still going, or they were missed. */
    skipped: number
  }>

export type JobView = Readonly<{
  id: string
  sequence: number
  name: string
  version: number
  queue: string
  key: string | undefined
  priority: number
  parent: string | undefined
  status: JobStatus
  input: unknown
  output: unknown
  error: ErrorShape | undefined
  progress: Progress | undefined
  epoch: number
  owner: string | undefined
  dueMs: number | undefined
  cancelRequested: boolean
  createdMs: number
  startedMs: number | undefined
  finishedMs: number | undefined
}>

export type StepView = Readonly<{
  name: string
  kind: StepKind
  status: StepStatus
  attempts: number
  epoch: number
  error: ErrorShape | undefined
  startedMs: number
  finishedMs: number | undefined
}>

export type JobEvent = Readonly<{
  sequence: number
  jobId: string
  atMs: number
  kind: string
  facts: Readonly<Record<string, unknown>>
}>

export type JobFilter = Readonly<{
  status?: readonly JobStatus[]
  name?: string
  key?: string
  parent?: string
  /** At most this many, newest first. Default 100. */
  limit?: number
}>

export interface JobEngine {
  define<Input, Output>(definition: JobDefinition<Input, Output>): void
  queue(name: string, limits: QueueLimits): void
  /** Creates the job, durable when it resolves. @throws JobsError, or what the definition's `parse` throws */
  start(job: string, input: unknown, options?: StartOptions): Promise<string>
  /** Kept until a wait takes it. @throws JobsError `job_unknown`, `job_over` */
  signal(id: string, name: string, payload?: unknown): Promise<void>
  /** Asks the job and its children to stop; false when it is over already. @throws JobsError `job_unknown` */
  cancel(id: string, reason?: string): Promise<boolean>
  get(id: string): Promise<JobView | undefined>
  list(filter?: JobFilter): Promise<JobView[]>
  steps(id: string): Promise<StepView[]>
  /** Events after `sequence` (0: from the beginning), of one job or of all, at most EVENTS_PAGE_MAX. */
  events(afterSequence: number, id?: string): Promise<JobEvent[]>
  /** The job's events from `afterSequence` on as they come, until it is over or the signal aborts. */
  tail(id: string, afterSequence?: number, signal?: AbortSignal): AsyncIterable<JobEvent>
  /** Resolves when the job is over. @throws JobsError `job_unknown`; `cancelled` when the signal aborts */
  wait(id: string, signal?: AbortSignal): Promise<JobView>
  /** Creates or changes the schedule of that name. @throws DomainError */
  schedule(spec: ScheduleSpec): Promise<void>
  unschedule(name: string): Promise<void>
  schedules(): Promise<ScheduleView[]>
  /** Removes jobs that were over before `finishedBeforeMs`, and what belongs to them. Gives their number. */
  forgetHistory(finishedBeforeMs: number): Promise<number>
  /** Picks up and runs jobs until `stop`. */
  run(): void
  /** Ends running steps with `engine_stopping`, gives their jobs back, resolves when nothing runs here any more. */
  stop(): Promise<void>
}
