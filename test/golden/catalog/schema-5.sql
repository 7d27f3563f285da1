-- A catalog of schema 4 as the last program of schema 5 upgraded it, with a link. Never regenerated: later programs must read it.
pragma foreign_keys = off;
CREATE TABLE activity (
      sequence integer primary key autoincrement, id text not null, at_ms integer not null, correlation text not null,
      caller text not null, action text not null, resource_key text not null, resource text not null, status text not null,
      http_status integer not null, operation text, facts text not null) strict;
CREATE TABLE host (
      region text not null references region(name), name text not null, driver text not null, address text not null,
      limits text not null, created_ms integer not null, primary key (region, name)) strict;
INSERT INTO host VALUES('attic','local','qemu','local','{}',1790000000009);
INSERT INTO host VALUES('attic','rack2','qemu','rack2','{}',1790000000008);
CREATE TABLE host_link (
      region text not null, name text not null, join_hash text, join_expires_ms integer, join_key text,
      certificates text not null, seen_ms integer, facts text not null, primary key (region, name),
      foreign key (region, name) references host(region, name) on delete cascade) strict;
INSERT INTO host_link VALUES('attic','rack2',NULL,NULL,NULL,'["ab"]',1790000000009,'{}');
CREATE TABLE job (
      sequence integer primary key autoincrement, id text not null unique, name text not null, version integer not null,
      flags text not null, queue text not null, key text, priority integer not null, parent text, depth integer not null,
      status text not null, input text not null, output text, error text, progress text, owner text, lease_ms integer,
      epoch integer not null, due_ms integer, wake integer not null, cancel_ms integer, cancel_reason text,
      created_ms integer not null, started_ms integer, finished_ms integer) strict;
CREATE TABLE job_event (
      sequence integer primary key autoincrement, job_id text not null references job(id) on delete cascade,
      at_ms integer not null, kind text not null, facts text not null) strict;
CREATE TABLE job_owner (
      id text primary key not null, boot_id text not null, pid_namespace text not null, pid integer not null,
      start_ticks text not null, seen_ms integer not null) strict;
CREATE TABLE job_schedule (
      name text primary key not null, cron text not null, time_zone text not null, job_name text not null,
      input text not null, queue text not null, key text, catch_up text not null, next_ms integer,
      last_slot_ms integer, last_job_id text, skipped integer not null) strict;
CREATE TABLE job_signal (
      sequence integer primary key autoincrement, job_id text not null references job(id) on delete cascade,
      name text not null, payload text not null, sent_ms integer not null, taken_by text) strict;
CREATE TABLE job_step (
      job_id text not null references job(id) on delete cascade, name text not null, position integer not null,
      kind text not null, status text not null, epoch integer not null, attempts integer not null,
      failures integer not null, crashes integer not null, due_ms integer, output text, error text,
      started_ms integer not null, finished_ms integer, primary key (job_id, name)) strict, without rowid;
CREATE TABLE machine (
      id text primary key not null, name text not null, driver text not null, location text not null,
      protected integer not null, description text, seen_ms integer not null) strict;
INSERT INTO machine VALUES('11111111-1111-4111-8111-111111111111','db-1','qemu','/run/vm/db-1.qmp',1,'{"schema":1}',1790000000001);
INSERT INTO machine VALUES('22222222-2222-4222-8222-222222222222','web-2','libvirt','web-2',0,NULL,1790000000002);
CREATE TABLE operation (
      id text primary key not null, kind text not null, subscription text not null, location text not null,
      resource_key text not null, action text not null, principal text not null, request text not null, reply text not null,
      job text not null, job_input text not null, queue text not null, job_key text, created_ms integer not null) strict;
CREATE TABLE IF NOT EXISTS "pool" (
      region text not null references region(name), name text not null, path text not null, host text,
      reserve_bytes integer not null, created_ms integer not null, primary key (region, name)) strict;
INSERT INTO pool VALUES('attic','fast','/srv/fast',NULL,1048576,1790000000007);
INSERT INTO pool VALUES('attic','far','/srv/far','rack2',4096,1790000000010);
CREATE TABLE principal (
      id text primary key not null, client_id text not null unique, name text not null unique,
      created_ms integer not null) strict;
CREATE TABLE principal_credential (
      id text primary key not null, principal text not null references principal(id) on delete cascade, kind text not null,
      verifier text not null, hint text not null, created_ms integer not null, expires_ms integer) strict;
CREATE TABLE recovery_point (
      repository_id text not null references repository(id) on delete cascade, id text not null,
      machine_id text not null, machine_name text not null, taken_at_ms integer not null, sequence integer not null,
      consistency text not null, expires_at_ms integer, legal_hold integer not null, disks text not null,
      primary key (repository_id, id)) strict;
INSERT INTO recovery_point VALUES('r-1','p-7','11111111-1111-4111-8111-111111111111','db-1',1790000000004,7,'application',1800000000005,1,'[{"diskId":"d-1","lun":0,"virtualBytes":1048576,"usedBytes":4096,"mode":"full"}]');
CREATE TABLE region (
      name text primary key not null, display_name text not null, pair text, geography text not null,
      created_ms integer not null) strict;
INSERT INTO region VALUES('attic','The attic',NULL,'Private',1790000000006);
CREATE TABLE repository (
      id text primary key not null, location text not null, added_ms integer not null, listed_ms integer) strict;
INSERT INTO repository VALUES('r-1','/srv/vault',1790000000003,NULL);
CREATE TABLE resource (
      key text primary key not null, id text not null, subscription text not null, group_key text not null,
      type_key text not null, type text not null, name text not null, parent_key text, location text, tags text not null,
      state text not null, etag text not null, body text not null, backing text not null,
      created_ms integer not null, changed_ms integer not null) strict;
CREATE TABLE role_assignment (
      key text primary key not null, name text not null, scope text not null, scope_key text not null, role text not null,
      principal text not null, principal_type text not null, description text, created_ms integer not null,
      created_by text not null) strict;
CREATE TABLE setting (name text primary key not null, value text not null) strict, without rowid;
CREATE TABLE store (
      region text not null references region(name), name text not null, location text not null, repository_id text,
      created_ms integer not null, shared integer not null default 0, primary key (region, name)) strict;
INSERT INTO store VALUES('attic','vault','/srv/vault','r-1',1790000000008,0);
CREATE TABLE link (
      subscription text primary key not null, endpoint text not null, authority text not null, public_key text not null,
      role text not null, granted text, regions text not null, state text not null, created_ms integer not null,
      seen_ms integer) strict;
INSERT INTO link VALUES('11111111-aaaa-4aaa-8aaa-111111111111','https://attic.example:7443','pem','{}','acdd72a7-3385-48ef-bd42-f606fba81ae7',NULL,'[]','linked',1790000000010,NULL);
CREATE TABLE link_invitation (
      verifier text primary key not null, role text not null, created_ms integer not null, expires_ms integer not null,
      used_by text) strict;
DELETE FROM sqlite_sequence;
CREATE INDEX recovery_point_by_machine on recovery_point (machine_id, taken_at_ms);
CREATE INDEX job_by_queue on job (queue, status, priority, due_ms);
CREATE INDEX job_by_owner on job (owner, status);
CREATE INDEX job_by_parent on job (parent);
CREATE INDEX job_by_finish on job (finished_ms);
CREATE INDEX job_signal_by_job on job_signal (job_id, name, sequence);
CREATE INDEX job_event_by_job on job_event (job_id, sequence);
CREATE INDEX resource_by_group on resource (group_key, type_key, key);
CREATE INDEX resource_by_type on resource (type_key, key);
CREATE INDEX resource_by_parent on resource (parent_key, type_key);
CREATE INDEX operation_by_resource on operation (resource_key, created_ms);
CREATE INDEX operation_by_time on operation (created_ms);
CREATE INDEX activity_by_resource on activity (resource_key, sequence);
CREATE INDEX activity_by_time on activity (at_ms);
CREATE INDEX principal_credential_by_principal on principal_credential (principal);
CREATE UNIQUE INDEX role_assignment_once on role_assignment (scope_key, role, principal);
CREATE INDEX role_assignment_by_principal on role_assignment (principal);
CREATE UNIQUE INDEX pool_by_path on pool (path, coalesce(region || '/' || host, ''));
pragma application_id = 1212572532;
pragma user_version = 5;