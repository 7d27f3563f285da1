-- A catalog of schema 1 as the last program of schema 2 upgraded it; it has no jobs. Never regenerated: later programs must read it.
CREATE TABLE machine (
      id text primary key not null, name text not null, driver text not null, location text not null,
      protected integer not null, description text, seen_ms integer not null) strict;
INSERT INTO machine VALUES('11111111-1111-4111-8111-111111111111','db-1','qemu','/run/vm/db-1.qmp',1,'{"schema":1}',1790000000001);
INSERT INTO machine VALUES('22222222-2222-4222-8222-222222222222','web-2','libvirt','web-2',0,NULL,1790000000002);
CREATE TABLE repository (
      id text primary key not null, location text not null, added_ms integer not null, listed_ms integer) strict;
INSERT INTO repository VALUES('r-1','/srv/vault',1790000000003,NULL);
CREATE TABLE recovery_point (
      repository_id text not null references repository(id) on delete cascade, id text not null,
      machine_id text not null, machine_name text not null, taken_at_ms integer not null, sequence integer not null,
      consistency text not null, expires_at_ms integer, legal_hold integer not null, disks text not null,
      primary key (repository_id, id)) strict;
INSERT INTO recovery_point VALUES('r-1','p-7','11111111-1111-4111-8111-111111111111','db-1',1790000000004,7,'application',1800000000005,1,'[{"diskId":"d-1","lun":0,"virtualBytes":1048576,"usedBytes":4096,"mode":"full"}]');
CREATE TABLE job (
      sequence integer primary key autoincrement, id text not null unique, name text not null, version integer not null,
      flags text not null, queue text not null, key text, priority integer not null, parent text, depth integer not null,
      status text not null, input text not null, output text, error text, progress text, owner text, lease_ms integer,
      epoch integer not null, due_ms integer, wake integer not null, cancel_ms integer, cancel_reason text,
      created_ms integer not null, started_ms integer, finished_ms integer) strict;
CREATE TABLE job_step (
      job_id text not null references job(id) on delete cascade, name text not null, position integer not null,
      kind text not null, status text not null, epoch integer not null, attempts integer not null,
      failures integer not null, crashes integer not null, due_ms integer, output text, error text,
      started_ms integer not null, finished_ms integer, primary key (job_id, name)) strict, without rowid;
CREATE TABLE job_signal (
      sequence integer primary key autoincrement, job_id text not null references job(id) on delete cascade,
      name text not null, payload text not null, sent_ms integer not null, taken_by text) strict;
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
CREATE INDEX recovery_point_by_machine on recovery_point (machine_id, taken_at_ms);
CREATE INDEX job_by_queue on job (queue, status, priority, due_ms);
CREATE INDEX job_by_owner on job (owner, status);
CREATE INDEX job_by_parent on job (parent);
CREATE INDEX job_by_finish on job (finished_ms);
CREATE INDEX job_signal_by_job on job_signal (job_id, name, sequence);
CREATE INDEX job_event_by_job on job_event (job_id, sequence);
pragma application_id = 1212572532;
pragma user_version = 2;
