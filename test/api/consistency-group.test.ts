/**
 * A stripe over two disks under load, with a real guest: its consistency group mounts clean and holds every record that was
 * durable before the instant. Two snapshots two seconds apart, the control, do not.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { join } from 'node:path'
import { writeFile } from 'node:fs/promises'
import { systemClock } from '#runtime'
import type { RunningGuest } from '../rig/guest-process.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { eventually } from '../rig/deadline.ts'
import { followed, VERSION } from './api-world.ts'
import { type Operation, SnapshotWorld } from './snapshot-world.ts'

const STRIPE = [
  'mdadm --create /dev/md0 --run --level=0 --chunk=64 --raid-devices=2 /dev/vdb /dev/vdc 2>&1',
  'mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/md0',
  'mkdir -p /mnt && mount -t ext4 /dev/md0 /mnt && mkdir /mnt/records',
].join(' && ')
const ASSEMBLE =
  'mdadm --assemble --run /dev/md0 /dev/vdb /dev/vdc >/dev/null 2>&1; mkdir -p /mnt; mount -t ext4 /dev/md0 /mnt'
const APART_MS = 2_000

async function newestRecord(guest: RunningGuest): Promise<number> {
  return Number(await guest.run('tail -n 1 /run/records.acked 2>/dev/null || echo -1'))
}

async function past(guest: RunningGuest, record: number): Promise<void> {
  await eventually(
    `record ${record}`,
    120_000,
    async () => ((await newestRecord(guest)) >= record ? true : undefined),
    200,
  )
}

/** Boots a guest with the bytes of the two snapshots as its disks, and looks at the stripe. */
async function checkStripe(own: SnapshotWorld, names: readonly string[], atLeast: number) {
  const disks: { path: string; format: 'raw' }[] = []
  for (const name of names) {
    const path = join(own.world.home.folder, `${name}.restored`)
    await writeFile(path, await own.bytesOf(name))
    disks.push({ path, format: 'raw' })
  }
  await using guest = await startMicroGuest({ disks })
  const mounted = await guest.exec(ASSEMBLE)
  const records = await guest.exec(`check-records /mnt/records ${atLeast}`)
  await guest.exec('umount /mnt')
  const checked = await guest.exec('fsck.ext4 -f -n /dev/md0 || e2fsck -f -n /dev/md0')
  const log = await guest.exec('dmesg | grep -i "ext4-fs error" | head -n 3')
  return { mounted: mounted.exitCode === 0, records, checked, log: log.stdout }
}

test('A striped pair under load, snapshotted as a consistency group', async (t) => {
  await using guest = await startMicroGuest({ disks: [{ sizeMib: 128 }, { sizeMib: 128 }] })
  await guest.run(STRIPE)
  await guest.start('write-records /mnt/records 64 64')
  await past(guest, 10)
  await using own = await SnapshotWorld.make()
  const machine = `${own.group}/providers/Microsoft.Compute/virtualMachines/db`
  const adoption = await own.ask('POST', `${machine}/adopt?${VERSION}`, {
    location: 'eastus',
    qmp: guest.paths.qmp,
    agent: guest.paths.agent,
  })
  assert.equal((await followed<Operation>(own.ask, adoption)).body.status, 'Succeeded')
  const diskId = (lun: number): string => `${own.group}/providers/Microsoft.Compute/disks/db_DataDisk_${lun}`

  await t.test('it mounts clean with every older record', async () => {
    const before = await newestRecord(guest)
    const url = `${own.group}/providers/Holdfast.Protection/consistencyGroups/night/createSnapshots?${VERSION}`
    const answer = await own.ask('POST', url, { disks: [diskId(1), diskId(2)] })
    assert.equal(answer.status, 202, answer.text)
    const ended = await followed<Operation>(own.ask, answer)
    assert.equal(ended.body.status, 'Succeeded', ended.text)
    const { pauseMs } = (ended.body.properties?.output ?? { pauseMs: Number.NaN }) as { pauseMs: number }
    const found = await checkStripe(own, ['db_DataDisk_1-night', 'db_DataDisk_2-night'], before)
    console.log(
      `group: records up to ${before} were durable; ${found.records.stdout.trim()}; paused ${pauseMs.toFixed(1)} ms`,
    )
    assert.ok(found.mounted)
    assert.equal(found.records.exitCode, 0, found.records.stdout)
    assert.equal(found.log, '')
    assert.equal(found.checked.exitCode, 0, found.checked.stdout)
  })

  await t.test('the control: two snapshots two seconds apart are no stripe', async () => {
    await past(guest, (await newestRecord(guest)) + 5)
    await own.made('c1', diskId(1))
    await systemClock.sleep(APART_MS)
    const before = await newestRecord(guest)
    await own.made('c2', diskId(2))
    const found = await checkStripe(own, ['c1', 'c2'], before)
    const whole = found.mounted && found.records.exitCode === 0 && found.checked.exitCode === 0 && found.log === ''
    console.log(
      `control: ${found.mounted ? 'mounted' : 'not mounted'}; ${found.records.stdout.trim()}; ${found.checked.stdout.trim().split('\n').slice(-3).join(' / ')}`,
    )
    assert.ok(!whole, 'Two moments of a stripe under load are not one file system')
  })
})
