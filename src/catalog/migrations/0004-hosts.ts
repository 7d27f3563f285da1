/** Schema 4: hosts elsewhere, the pools that lie on them, and stores that they reach. Never edited once released. */
import type { Migration } from './migration.ts'

export const hosts: Migration = {
  number: 4,
  name: 'hosts',
  statements: [
    `create table host_link (
      region text not null, name text not null, join_hash text, join_expires_ms integer, join_key text,
      certificates text not null, seen_ms integer, facts text not null, primary key (region, name),
      foreign key (region, name) references host(region, name) on delete cascade) strict`,
    `create table pool_of_host (
      region text not null references region(name), name text not null, path text not null, host text,
      reserve_bytes integer not null, created_ms integer not null, primary key (region, name)) strict`,
    `insert into pool_of_host (region, name, path, host, reserve_bytes, created_ms)
      select region, name, path, null, reserve_bytes, created_ms from pool`,
    'drop table pool',
    'alter table pool_of_host rename to pool',
    `create unique index pool_by_path on pool (path, coalesce(region || '/' || host, ''))`,
    'alter table store add column shared integer not null default 0',
  ],
}
