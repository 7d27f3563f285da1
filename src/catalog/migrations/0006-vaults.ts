/** Schema 6: what vaults protect, the points that they hold, the jobs and alerts of backups. Never edited once released. */
import type { Migration } from './migration.ts'

export const vaults: Migration = {
  number: 6,
  name: 'vaults',
  statements: [
    `create table protected_item (
      key text primary key not null, id text not null, vault_key text not null, name text not null,
      machine_id text not null, machine_key text not null, friendly_name text not null, state text not null,
      policy_key text, policy_id text, next_due_ms integer, slot_ms integer, exclusion text, last_backup_ms integer,
      last_backup_status text, soft_deleted_ms integer, purge_at_ms integer, group_name text, facts text not null,
      created_ms integer not null, changed_ms integer not null) strict`,
    'create index protected_item_by_vault on protected_item (vault_key, key)',
    'create index protected_item_by_machine on protected_item (machine_key)',
    'create index protected_item_by_policy on protected_item (policy_key)',
    'create index protected_item_by_due on protected_item (next_due_ms) where next_due_ms is not null',
    'create index protected_item_by_purge on protected_item (purge_at_ms) where purge_at_ms is not null',
    `create table vault_point (
      item_key text not null references protected_item(key) on update cascade on delete cascade, name text not null,
      vault_key text not null, point_id text not null, taken_ms integer not null, sequence integer not null,
      consistency text not null, landed text, slot_ms integer, instant_until_ms integer, vaulted_ms integer,
      mirrored_ms integer, expires_ms integer, kept_until_ms integer, on_demand integer not null, kept_by text not null, soft_deleted_ms integer,
      purge_at_ms integer, size_bytes integer not null, stored_bytes integer not null, disks text not null,
      facts text not null, primary key (item_key, name)) strict`,
    'create index vault_point_by_time on vault_point (item_key, taken_ms)',
    'create index vault_point_by_vault on vault_point (vault_key, point_id)',
    `create table backup_job (
      id text primary key not null, vault_key text not null, item_key text, entity_name text not null,
      operation text not null, status text not null, started_ms integer not null, ended_ms integer,
      user_triggered integer not null, cancellable integer not null, tasks text not null, properties text not null,
      errors text not null, done_bytes integer, total_bytes integer, result text) strict`,
    'create index backup_job_by_vault on backup_job (vault_key, started_ms)',
    'create index backup_job_by_item on backup_job (item_key, started_ms)',
    `create table vault_alert (
      id text primary key not null, vault_key text not null, kind text not null, severity text not null, item_key text,
      message text not null, facts text not null, raised_ms integer not null, resolved_ms integer) strict`,
    'alter table store add column failure_domains integer not null default 1',
    'create index vault_alert_by_vault on vault_alert (vault_key, raised_ms)',
  ],
}
