import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MIB } from '#base'
import { verifyWithKey } from '#engine/transfer'
import { MachineWorld } from '../hypervisor/machine-world.ts'
import { ProtectedWorld } from './protected-world.ts'

const checksum = 'sha256sum /data/vdb/a /data/vdb/b 2>/dev/null'

test('A running machine is backed up, changes, is backed up by its bitmap, is lost, and boots from the point at once', async () => {
  await using world = await MachineWorld.make()
  const data = {
    lun: 1,
    role: 'data',
    bus: 'virtio-blk',
    serial: 'DATA',
    source: { from: 'empty', sizeBytes: 4096 * MIB },
  } as const
  await world.makeMicro('m', { disks: [data] })
  await world.host.start('m')
  await world.waitReady('m')
  const guarded = await ProtectedWorld.make(world)
  await world.run(
    'm',
    'mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/vdb && mkdir -p /data/vdb && mount /dev/vdb /data/vdb && dd if=/dev/urandom of=/data/vdb/a bs=1M count=20 2>/dev/null && sync',
  )
  const first = await guarded.backUp('m')
  assert.deepEqual(
    [first.mode, first.consistency, first.disks.map(({ mode }) => mode)],
    ['full', 'application', ['full', 'full']],
  )
  await world.run('m', 'dd if=/dev/urandom of=/data/vdb/b bs=1M count=8 conv=fsync 2>/dev/null && sync')
  const sums = await world.run('m', checksum)
  const second = await guarded.backUp('m')
  assert.deepEqual(
    second.disks.map(({ mode }) => mode),
    ['incremental', 'incremental'],
  )
  const read = second.disks.reduce((sum, disk) => sum + disk.readBytes, 0)
  assert.ok(read >= 8 * MIB && read < 40 * MIB, `an incremental reads what changed, not ${read} bytes`)
  assert.deepEqual((await verifyWithKey(guarded.repository, { store: guarded.store })).damage, [])

  await world.host.powerOff('m')
  await world.host.delete('m', { disks: 'delete' })
  const boot = await guarded.boot(second, 'm2')
  await world.waitReady('m2')
  await world.run(
    'm2',
    'mkdir -p /data/vdb; mount /dev/vdb /data/vdb; echo mine > /data/vdb/written-while-hydrating; sync',
  )
  assert.equal(await world.run('m2', checksum), sums, 'what was written before the instant is there')
  await boot.close()
  const again = await guarded.boot(second, 'm2')
  await again.hydrated()
  await again.close()
  assert.equal(
    await world.run('m2', `echo 3 > /proc/sys/vm/drop_caches; ${checksum}`),
    sums,
    'with nobody serving any more',
  )
  assert.equal((await world.run('m2', 'cat /data/vdb/written-while-hydrating')).trim(), 'mine')
  await assert.rejects(guarded.boot(second, 'm2'), { code: 'machine_exists' })
  assert.equal(
    (await world.run('m2', 'cat /data/vdb/written-while-hydrating')).trim(),
    'mine',
    'its disks were not replaced',
  )
  await guarded.repository.close()
})
