/** Schema 2: durable jobs, their steps, signals, events, owners and schedules. Never edited once released. */
import type { Migration } from './migration.ts'

export const jobs: Migration = {
  number: 2,
  name: 'jobs',
  statements: [
    'alter table repository add column listed_ms integer',
    `create table job (
      sequence integer primary key autoincrement, id text not null unique, name text not null, version integer not null,
      flags text not null, queue text not null, key text, priority integer not null, parent text, depth integer not null,
      status text not null, input text not null, output text, error text, progress text, owner text, lease_ms integer,
      epoch integer not null, due_ms integer, wake integer not null, cancel_ms integer, cancel_reason text,
      created_ms integer not null, started_ms integer, finished_ms integer) strict`,
    'create index job_by_queue on job (queue, status, priority, due_ms)',
    'create index job_by_owner on job (owner, status)',
    'create index job_by_parent on job (parent)',
    'create index job_by_finish on job (finished_ms)',
    `create table job_step (
      job_id text not null references job(id) on delete cascade, name text not null, position integer not null,
      kind text not null, status text not null, epoch integer not null, attempts integer not null,
      failures integer not null, crashes integer not null, due_ms integer, output text, error text,
      started_ms integer not null, finished_ms integer, primary key (job_id, name)) strict, without rowid`,
    `create table job_signal (
      sequence integer primary key autoincrement, job_id text not null references job(id) on delete cascade,
      name text not null, payload text not null, sent_ms integer not null, taken_by text) strict`,
    'create index job_signal_by_job on job_signal (job_id, name, sequence)',
    `create table job_event (
      sequence integer primary key autoincrement, job_id text not null references job(id) on delete cascade,
      at_ms integer not null, kind text not null, facts text not null) strict`,
    'create index job_event_by_job on job_event (job_id, sequence)',
    `create table job_owner (
      id text primary key not null, boot_id text not null, pid_namespace text not null, pid integer not null,
      start_ticks text not null, seen_ms integer not null) strict`,
    `create table job_schedule (
      name text primary key not null, cron text not null, time_zone text not null, job_name text not null,
      input text not null, queue text not null, key text, catch_up text not null, next_ms integer,
      last_slot_ms integer, last_job_id text, skipped integer not null) strict`,
  ],
}
