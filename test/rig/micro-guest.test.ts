import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe, it } from 'node:test'
import { eventually } from './deadline.ts'
import { startMicroGuest } from './micro-guest.ts'

const STRIPE = [
  'mdadm --create /dev/md0 --run --level=0 --chunk=4 --raid-devices=2 /dev/vdb /dev/vdc 2>&1',
  'mkfs.ext4 -q /dev/md0',
  'mount -t ext4 /dev/md0 /mnt',
].join(' && ')

describe('startMicroGuest()', () => {
  it('boots from power-on until the agent answers, and shuts down', async () => {
    await using guest = await startMicroGuest({ start: 'cold' })
    assert.match(await guest.run('cat /var/log/boots'), /^boot \d/)
    assert.equal((await guest.exec('exit 3')).exitCode, 3)
    await guest.shutdown()
    assert.equal(await guest.exited, 0)
  })

  it('resumes a saved guest, again and again, each with disks of its own', async () => {
    for (const name of ['first', 'second']) {
      await using guest = await startMicroGuest({ name, disks: [{ sizeMib: 16 }] })
      assert.equal((await guest.exec('test -e /run/saved')).exitCode, 0, 'it was resumed')
      assert.equal(await guest.run('cat /root/name 2>/dev/null || echo none'), 'none\n')
      assert.equal(await guest.run('head -c 5 /dev/vdb | tr "\\0" 0'), '00000')
      await guest.run(`echo ${name} > /root/name; echo ${name} > /dev/vdb; sync`)
      assert.equal(await guest.run('head -c 5 /dev/vdb'), name.slice(0, 5))
    }
  })

  it('kills the process and removes the folder when it is destroyed', async () => {
    const guest = await startMicroGuest()
    await guest.destroy()
    assert.equal(guest.isRunning, false)
    assert.equal(existsSync(guest.paths.folder), false)
    assert.throws(() => process.kill(guest.pid, 0))
  })

  it('says what QEMU said when it gives up at once', async () => {
    await assert.rejects(
      startMicroGuest({ start: 'cold', extraArguments: ['-device', 'no-such-thing'] }),
      /no-such-thing/,
    )
  })
})

describe('write-records and check-records', () => {
  it('show every damaged, missing and lost record of a striped file system', async () => {
    await using guest = await startMicroGuest({ disks: [{ sizeMib: 64 }, { sizeMib: 64 }] })
    await guest.run(STRIPE)
    await guest.start('write-records /mnt')
    const acked = async (): Promise<number> =>
      Number(await guest.run('tail -n 1 /run/records.acked 2>/dev/null || true'))
    await eventually('12 durable records', 30_000, async () => ((await acked()) >= 12 ? true : undefined))
    await guest.run('kill $(cat /run/records.pid); while [ -d /proc/$(cat /run/records.pid) ]; do usleep 10000; done')
    const last = await acked()

    const check = async (): Promise<string> => (await guest.exec(`check-records /mnt ${last}`)).stdout.trim()
    assert.match(await check(), /^intact=\d+ first=0 last=\d+ bad=0$/)
    await guest.run('printf X | dd of=/mnt/r0000000008 bs=1 seek=9001 conv=notrunc')
    assert.match(await check(), / bad=1 first-bad=8 reason=wrong-checksum$/)
    await guest.run('cp /mnt/r0000000004 /mnt/r0000000005')
    assert.match(await check(), / bad=2 first-bad=5 reason=wrong-number$/)
    await guest.run('rm /mnt/r0000000002')
    assert.match(await check(), / bad=3 first-bad=2 reason=missing$/)
    assert.match((await guest.exec(`check-records /mnt ${last + 50}`)).stdout, / bad=4 /)
    assert.equal((await guest.exec('check-records /srv')).exitCode, 2)
  })
})
