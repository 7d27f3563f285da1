-- A catalog as schema 1 wrote it. Never regenerated: later programs must read it.
create table machine (
      id text primary key not null, name text not null, driver text not null, location text not null,
      protected integer not null, description text, seen_ms integer not null) strict;
create table repository (
      id text primary key not null, location text not null, added_ms integer not null) strict;
create table recovery_point (
      repository_id text not null references repository(id) on delete cascade, id text not null,
      machine_id text not null, machine_name text not null, taken_at_ms integer not null, sequence integer not null,
      consistency text not null, expires_at_ms integer, legal_hold integer not null, disks text not null,
      primary key (repository_id, id)) strict;
create index recovery_point_by_machine on recovery_point (machine_id, taken_at_ms);
insert into machine values ('11111111-1111-4111-8111-111111111111', 'db-1', 'qemu', '/run/vm/db-1.qmp', 1, '{"schema":1}', 1790000000001);
insert into machine values ('22222222-2222-4222-8222-222222222222', 'web-2', 'libvirt', 'web-2', 0, null, 1790000000002);
insert into repository values ('r-1', '/srv/vault', 1790000000003);
insert into recovery_point values ('r-1', 'p-7', '11111111-1111-4111-8111-111111111111', 'db-1', 1790000000004, 7, 'application',
      1800000000005, 1, '[{"diskId":"d-1","lun":0,"virtualBytes":1048576,"usedBytes":4096,"mode":"full"}]');
pragma application_id = 1212572532;
pragma user_version = 1;
