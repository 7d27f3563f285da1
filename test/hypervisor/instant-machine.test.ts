import assert from 'node:assert/strict'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { MIB, toHex } from '#base'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { type Instant, InstantBroker, QemuHypervisor, type TrackingRequest } from '#engine/hypervisor'
import { emptyMachine, MachineWorld } from './machine-world.ts'

/** Disk ids to generations, as the repository's log would hold them. */
type Committed = Record<string, string | undefined>

function track(committed: Committed): TrackingRequest & { next: string } {
  return { tracker: 'a1b2c3d4', next: toHex(systemRandom.bytes(6)), committed, granularityBytes: 65_536 }
}

async function commit(instant: Instant, tracking: { next: string }, committed: Committed): Promise<void> {
  await instant.commit()
  for (const disk of instant.disks) committed[disk.diskId] = tracking.next
}

const kinds = (instant: Instant): string[] =>
  instant.disks.map(({ changes }) => (changes.kind === 'all' ? changes.reason : changes.kind))

describe('QemuHypervisor.openInstant()', () => {
  it('follows a machine through running, growing, stopping and starting without losing track', async () => {
    await using world = await MachineWorld.make()
    const folders = {
      journalFolder: join(world.folder, 'j'),
      scratchFolder: join(world.folder, 's'),
      runFolder: join(world.folder, 'o'),
    }
    const common = { clock: systemClock, random: systemRandom }
    const broker = new InstantBroker({
      host: { ...common, ...folders, scratchFloorBytes: 0, watchdog: 'elsewhere' },
      waitMs: 300,
    })
    const host = new QemuHypervisor({ roots: world.roots, ...common, instants: broker })
    const data = { lun: 1, role: 'data', bus: 'virtio-blk', source: { from: 'empty', sizeBytes: 32 * MIB } } as const
    await world.makeMicro('web', { disks: [data] })
    await host.start('web')
    await world.waitReady('web')
    const committed: Committed = {}

    let tracking = track(committed)
    const full = await host.openInstant('web', { consistency: 'application', strict: true, tracking })
    assert.deepEqual(kinds(full), ['first_backup', 'first_backup'])
    assert.equal(full.consistency, 'application')
    await assert.rejects(host.resizeDisk('web', 1, 64 * MIB), { code: 'instant_open' })
    await commit(full, tracking, committed)

    await host.resizeDisk('web', 1, 64 * MIB)
    await world.run('web', 'dd if=/dev/urandom of=/dev/vdb bs=1M count=1 seek=40 conv=fsync')
    tracking = track(committed)
    const grown = await host.openInstant('web', { consistency: 'crash', tracking })
    assert.deepEqual(kinds(grown), ['since', 'since'])
    assert.equal(grown.disks[1]?.sizeBytes, 64 * MIB)
    await grown.check()
    await commit(grown, tracking, committed)

    await host.shutdown('web', { deadlineMs: 60_000, thenPowerOff: false })
    tracking = track(committed)
    const offline = await host.openInstant('web', { consistency: 'filesystem', tracking })
    assert.deepEqual(kinds(offline), ['since', 'since'])
    assert.equal(offline.consistency, 'filesystem')
    // A user's start does not wait: it breaks the offline instant off, and tracking goes on from the last committed one.
    await host.start('web')
    await assert.rejects(offline.check(), { code: 'instant_broken' })
    await assert.rejects(commit(offline, tracking, committed), { code: 'instant_broken' })
    tracking = track(committed)
    const again = await host.openInstant('web', { consistency: 'crash', tracking })
    assert.deepEqual(kinds(again), ['since', 'since'])
    await again.abort('seen')
    await host.powerOff('web')
    const { machine } = await host.describe('web')
    for (const disk of machine.disks) {
      await access(disk.path)
      await checkCommand('qemu-img', ['check', '-q', '-f', disk.format, disk.path])
    }
  })

  it('works for a QEMU that runs as another user than Holdfast', { skip: process.getuid?.() !== 0 }, async () => {
    const user = { uid: 65_534, gid: 65_534 }
    await using world = await MachineWorld.make(user)
    const folders = {
      journalFolder: join(world.folder, 'j'),
      scratchFolder: join(world.folder, 's'),
      runFolder: join(world.folder, 'o'),
    }
    const common = { clock: systemClock, random: systemRandom }
    const broker = new InstantBroker({
      host: { ...common, ...folders, processUser: user, scratchFloorBytes: 0, watchdog: 'elsewhere' },
    })
    const host = new QemuHypervisor({ roots: world.roots, ...common, instants: broker, user })
    const source = { from: 'empty', sizeBytes: 8 * MIB } as const
    await host.create(emptyMachine('plain', { disks: [{ lun: 0, role: 'os', bus: 'virtio-blk', source }] }))
    await host.start('plain')
    const committed: Committed = {}
    for (const expected of ['first_backup', 'since']) {
      const tracking = track(committed)
      const instant = await host.openInstant('plain', { consistency: 'crash', tracking })
      assert.deepEqual(kinds(instant), [expected])
      await instant.check()
      await commit(instant, tracking, committed)
    }
    await host.powerOff('plain')
    const tracking = track(committed)
    const offline = await host.openInstant('plain', { consistency: 'crash', tracking })
    assert.deepEqual(kinds(offline), ['since'])
    await offline.check()
    await commit(offline, tracking, committed)
    await host.start('plain')
    await host.powerOff('plain')
  })
})
