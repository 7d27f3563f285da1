-- A job in flight as version 1 of the engine recorded it (catalog schema 2): two steps done, one interrupted, one sleep over,
-- before behaviour flag 1 existed. Never regenerated: later programs must go on with it.
insert into job (id, name, version, flags, queue, key, priority, parent, depth, status, input, output, error, progress,
    owner, lease_ms, epoch, due_ms, wake, cancel_ms, cancel_reason, created_ms, started_ms, finished_ms)
  values ('g-1', 'backup', 1, '[]', 'default', 'm-1', 100, null, 0, 'running', '{"machine":"db-1"}', null, null,
    '{"task":"Reading disk 0","doneBytes":512,"totalBytes":4096}', '4242-dead', 1700000015000, 3, 1700000000000, 1,
    null, null, 1700000000000, 1700000000100, null);
insert into job_step (job_id, name, position, kind, status, epoch, attempts, failures, crashes, due_ms, output, error,
    started_ms, finished_ms)
  values ('g-1', 'freeze', 0, 'step', 'succeeded', 1, 1, 0, 0, null, '{"generation":7}', null, 1700000000100, 1700000000200),
         ('g-1', 'settle', 1, 'sleep', 'succeeded', 2, 0, 0, 0, 1700000005000, null, null, 1700000000200, 1700000005001),
         ('g-1', 'approve', 2, 'signal', 'succeeded', 2, 0, 0, 0, null, '{"payload":{"by":"operator"}}', null, 1700000005002, 1700000005003),
         ('g-1', 'ask', 3, 'step', 'failed', 2, 1, 1, 0, null, null,
          '{"code":"agent_absent","message":"No agent.","facts":{},"retry":"never"}', 1700000005003, 1700000005004),
         ('g-1', 'release', 4, 'step', 'running', 3, 1, 0, 0, null, null, null, 1700000006000, null);
