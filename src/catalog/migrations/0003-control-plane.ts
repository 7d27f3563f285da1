/** Schema 3: what the Azure face manages, who may, and what was done. Never edited once released. */
import type { Migration } from './migration.ts'

export const controlPlane: Migration = {
  number: 3,
  name: 'control-plane',
  statements: [
    `create table setting (name text primary key not null, value text not null) strict, without rowid`,
    `create table resource (
      key text primary key not null, id text not null, subscription text not null, group_key text not null,
      type_key text not null, type text not null, name text not null, parent_key text, location text, tags text not null,
      state text not null, etag text not null, body text not null, backing text not null,
      created_ms integer not null, changed_ms integer not null) strict`,
    'create index resource_by_group on resource (group_key, type_key, key)',
    'create index resource_by_type on resource (type_key, key)',
    'create index resource_by_parent on resource (parent_key, type_key)',
    `create table operation (
      id text primary key not null, kind text not null, subscription text not null, location text not null,
      resource_key text not null, action text not null, principal text not null, request text not null, reply text not null,
      job text not null, job_input text not null, queue text not null, job_key text, created_ms integer not null) strict`,
    'create index operation_by_resource on operation (resource_key, created_ms)',
    'create index operation_by_time on operation (created_ms)',
    `create table activity (
      sequence integer primary key autoincrement, id text not null, at_ms integer not null, correlation text not null,
      caller text not null, action text not null, resource_key text not null, resource text not null, status text not null,
      http_status integer not null, operation text, facts text not null) strict`,
    'create index activity_by_resource on activity (resource_key, sequence)',
    'create index activity_by_time on activity (at_ms)',
    `create table principal (
      id text primary key not null, client_id text not null unique, name text not null unique,
      created_ms integer not null) strict`,
    `create table principal_credential (
      id text primary key not null, principal text not null references principal(id) on delete cascade, kind text not null,
      verifier text not null, hint text not null, created_ms integer not null, expires_ms integer) strict`,
    'create index principal_credential_by_principal on principal_credential (principal)',
    `create table role_assignment (
      key text primary key not null, name text not null, scope text not null, scope_key text not null, role text not null,
      principal text not null, principal_type text not null, description text, created_ms integer not null,
      created_by text not null) strict`,
    'create unique index role_assignment_once on role_assignment (scope_key, role, principal)',
    'create index role_assignment_by_principal on role_assignment (principal)',
    `create table region (
      name text primary key not null, display_name text not null, pair text, geography text not null,
      created_ms integer not null) strict`,
    `create table pool (
      region text not null references region(name), name text not null, path text not null unique,
      reserve_bytes integer not null, created_ms integer not null, primary key (region, name)) strict`,
    `create table store (
      region text not null references region(name), name text not null, location text not null, repository_id text,
      created_ms integer not null, primary key (region, name)) strict`,
    `create table host (
      region text not null references region(name), name text not null, driver text not null, address text not null,
      limits text not null, created_ms integer not null, primary key (region, name)) strict`,
  ],
}
