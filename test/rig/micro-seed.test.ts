/** The micro guest reads its seed once for each instance: it becomes who the seed says, and is nobody it was before. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { makeOverlay, startMicroGuest } from './micro-guest.ts'
import { microImage } from './micro-image.ts'
import { SEED_HASH, SEED_KEY, seedImage } from './seed.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-seed-'))
})
after(() => rm(folder, { recursive: true, force: true }))

function boot(osDisk: string, image?: string) {
  const node = { driver: 'raw', 'node-name': 'seed0', 'read-only': true, file: { driver: 'file', filename: image } }
  const device = ['-device', 'virtio-scsi-pci,id=scsi9', '-device', 'scsi-hd,drive=seed0,bus=scsi9.0']
  return startMicroGuest({
    start: 'cold',
    osDisk: { path: osDisk, format: 'qcow2' },
    ...(image !== undefined && { extraArguments: ['-blockdev', JSON.stringify(node), ...device] }),
  })
}

type Identity = Readonly<{ host: string; machine: string; hostKey: string }>

test('a machine from the micro image has its own name, ids, keys and user, once', async () => {
  const disk = join(folder, 'os.qcow2')
  await makeOverlay(disk, await microImage(), 'raw')
  const script = '#!/bin/sh\necho "ran on $(hostname)" >> /root/ran\n'
  const identity = async (guest: Awaited<ReturnType<typeof boot>>): Promise<Identity> => ({
    host: (await guest.run('hostname')).trim(),
    machine: (await guest.run('cat /etc/machine-id')).trim(),
    hostKey: (await guest.run('dropbearkey -y -f /etc/dropbear/host_key | grep ^ssh-')).trim(),
  })
  let first: Identity
  {
    await using guest = await boot(disk, await seedImage(folder, 'web1', script))
    first = await identity(guest)
    assert.equal(first.host, 'web1')
    assert.match(first.machine, /^[0-9a-f]{32}$/)
    assert.match(first.hostKey, /^ssh-ed25519 /)
    assert.equal(await guest.run('cat /home/admin/.ssh/authorized_keys'), `${SEED_KEY}\n${SEED_KEY}2\n`)
    assert.ok((await guest.run('cat /etc/shadow')).includes(`admin:${SEED_HASH}:`))
    assert.equal((await guest.run('stat -c %a /etc/shadow /home/admin/.ssh/authorized_keys')).trim(), '600\n600')
    assert.equal(await guest.run('cat /var/lib/seed/user-data'), script)
    assert.equal((await guest.run('wc -l < /root/ran')).trim(), '1')
    assert.match(await guest.run('ip -4 addr show eth0'), /inet 10\.0\.2\.\d+/, 'by DHCP')
    assert.ok((await guest.run('netstat -ltn')).includes(':22 '), 'it answers by SSH')
    await guest.shutdown()
  }
  {
    await using guest = await boot(disk, join(folder, 'web1.iso'))
    assert.deepEqual(await identity(guest), first, 'a second boot changes nothing')
    assert.equal((await guest.run('wc -l < /root/ran')).trim(), '1')
    await guest.run('deprovision --user admin --yes')
    await guest.shutdown()
  }
  {
    await using guest = await boot(disk, await seedImage(folder, 'web2', '#cloud-config\n{}\n'))
    const second = await identity(guest)
    assert.equal(second.host, 'web2')
    assert.notEqual(second.machine, first.machine)
    assert.notEqual(second.hostKey, first.hostKey)
    assert.equal((await guest.run('grep -c ^admin: /etc/passwd')).trim(), '1')
    await guest.shutdown()
  }
})

test('without a seed the guest stays who it is', async () => {
  const disk = join(folder, 'alone.qcow2')
  await makeOverlay(disk, await microImage(), 'raw')
  await using guest = await boot(disk)
  assert.equal((await guest.run('hostname')).trim(), 'micro')
  assert.equal((await guest.exec('test -e /etc/machine-id')).exitCode, 1)
  assert.match(await guest.run('ip -4 addr show eth0'), /inet 10\.0\.2\.15/)
})
