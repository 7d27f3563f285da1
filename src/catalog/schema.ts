/**
 * The catalog's tables as they are now (after the last migration). Columns hold text, integers (ms since the epoch, bytes,
 * 0 or 1) and JSON as text, so that the same queries run on another database later. Keys are text.
 */
import type { JobStatus, PointConsistency } from '#domain'
import type { Generated } from 'kysely'

export type MachineTable = {
  /** SMBIOS UUID. */
  id: string
  name: string
  driver: string
  /** Where the hypervisor finds it: a QMP socket or a libvirt domain. Never a secret. */
  location: string
  protected: number
  description: string | null
  seen_ms: number
}

export type RepositoryTable = {
  id: string
  /** A path or URL without a secret. */
  location: string
  added_ms: number
  listed_ms: number | null
}

export type RecoveryPointTable = {
  repository_id: string
  id: string
  machine_id: string
  machine_name: string
  taken_at_ms: number
  sequence: number
  consistency: PointConsistency
  expires_at_ms: number | null
  legal_hold: number
  disks: string
}

export type JobTable = {
  id: string
  /** Order of creation in this catalog. */
  sequence: Generated<number>
  name: string
  version: number
  /** Behaviour flags that held when it was created: JSON array of numbers. */
  flags: string
  queue: string
  /** Jobs with the same key share the queue's limit per key: a machine's id, for example. */
  key: string | null
  priority: number
  parent: string | null
  depth: number
  status: JobStatus
  input: string
  output: string | null
  error: string | null
  progress: string | null
  owner: string | null
  lease_ms: number | null
  epoch: number
  /** When it may next be picked up; null: only a wake-up makes it due. */
  due_ms: number | null
  /** Counts wake-ups (signal, child's end, cancel), so that none is lost between looking and going to sleep. */
  wake: number
  cancel_ms: number | null
  cancel_reason: string | null
  created_ms: number
  started_ms: number | null
  finished_ms: number | null
}

export type StepKind = 'step' | 'cleanup' | 'sleep' | 'signal' | 'child'
export type StepStatus = 'running' | 'retrying' | 'succeeded' | 'failed' | 'cancelled' | 'interrupted'

export type JobStepTable = {
  job_id: string
  name: string
  position: number
  kind: StepKind
  status: StepStatus
  epoch: number
  /** How often it was begun, how often it threw, how often its process died under it. */
  attempts: number
  failures: number
  crashes: number
  due_ms: number | null
  output: string | null
  error: string | null
  started_ms: number
  finished_ms: number | null
}

export type JobSignalTable = {
  sequence: Generated<number>
  job_id: string
  name: string
  payload: string
  sent_ms: number
  /** The step that took it. */
  taken_by: string | null
}

export type JobEventTable = {
  sequence: Generated<number>
  job_id: string
  at_ms: number
  kind: string
  facts: string
}

export type JobOwnerTable = {
  id: string
  boot_id: string
  pid_namespace: string
  pid: number
  start_ticks: string
  seen_ms: number
}

export type JobScheduleTable = {
  name: string
  cron: string
  time_zone: string
  job_name: string
  input: string
  queue: string
  key: string | null
  catch_up: 'once' | 'skip'
  next_ms: number | null
  last_slot_ms: number | null
  last_job_id: string | null
  skipped: number
}

export type CatalogSchema = {
  machine: MachineTable
  repository: RepositoryTable
  recovery_point: RecoveryPointTable
  job: JobTable
  job_step: JobStepTable
  job_signal: JobSignalTable
  job_event: JobEventTable
  job_owner: JobOwnerTable
  job_schedule: JobScheduleTable
}
