/** Booting from a version with delta nodes: the guest sees the last version at once, and so does the disk that moved in. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MIB, must } from '#base'
import { isDelta, type PointRecord } from '#engine/repository'
import { MachineWorld } from '../hypervisor/machine-world.ts'
import { ProtectedWorld } from './protected-world.ts'

const DISK_MIB = 48
const CYCLES = 3
const DROP = 'echo 3 > /proc/sys/vm/drop_caches'

/** Small writes: into what the tree has, into what it has not, and zeros over a part of what it has. */
function writesOf(cycle: number): string {
  const places = Array.from({ length: 6 }, (_, i) => 1024 * i + 16 * cycle)
  const write = (from: string, at: number): string =>
    `dd if=/dev/${from} of=/dev/vdb bs=4k seek=${at} count=3 conv=notrunc,fsync 2>/dev/null`
  return [
    ...places.map((at) => write('urandom', at)),
    ...[2048, 3072].map((at) => write('zero', at + 64 * cycle)),
  ].join('; ')
}

test('A machine boots from a point whose disk is a chain of delta nodes over a tree, and keeps its bytes when the data has moved in', async () => {
  await using world = await MachineWorld.make()
  const source = { from: 'empty', sizeBytes: DISK_MIB * MIB } as const
  await world.makeMicro('m', { disks: [{ lun: 1, role: 'data', bus: 'virtio-blk', serial: 'DATA', source }] })
  await world.host.start('m')
  await world.waitReady('m')
  const guarded = await ProtectedWorld.make(world)
  await world.run('m', 'dd if=/dev/urandom of=/dev/vdb bs=1M count=16 conv=fsync 2>/dev/null')
  let point: PointRecord = await guarded.backUp('m')
  for (let cycle = 0; cycle < CYCLES; cycle += 1) {
    await world.run('m', writesOf(cycle))
    point = await guarded.backUp('m')
  }
  const { root } = must(
    point.disks.find(({ lun }) => lun === 1),
    'The data disk',
  )
  assert.ok(
    isDelta(root) && root.delta === CYCLES,
    `the last version is a chain of delta nodes: ${JSON.stringify(root)}`,
  )
  const sum = await world.run('m', `${DROP}; sha256sum /dev/vdb`)
  await world.host.powerOff('m')
  await world.host.delete('m', { disks: 'delete' })

  const boot = await guarded.boot(point, 'm2')
  await world.waitReady('m2')
  assert.equal(await world.run('m2', 'sha256sum /dev/vdb'), sum, 'read through, while it is served')
  await boot.hydrated()
  await boot.close()
  assert.equal(await world.run('m2', `${DROP}; sha256sum /dev/vdb`), sum, 'with nobody serving any more')
  await guarded.repository.close()
})
