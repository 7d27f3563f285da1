/** Schema 1: what is protected, and where it is kept. Never edited once released; the golden file of schema 1 holds it. */
import type { Migration } from './migration.ts'

export const inventory: Migration = {
  number: 1,
  name: 'inventory',
  statements: [
    `create table machine (
      id text primary key not null, name text not null, driver text not null, location text not null,
      protected integer not null, description text, seen_ms integer not null) strict`,
    `create table repository (
      id text primary key not null, location text not null, added_ms integer not null) strict`,
    `create table recovery_point (
      repository_id text not null references repository(id) on delete cascade, id text not null,
      machine_id text not null, machine_name text not null, taken_at_ms integer not null, sequence integer not null,
      consistency text not null, expires_at_ms integer, legal_hold integer not null, disks text not null,
      primary key (repository_id, id)) strict`,
    'create index recovery_point_by_machine on recovery_point (machine_id, taken_at_ms)',
  ],
}
