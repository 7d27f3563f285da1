/**
 * The Debian guest boots and becomes who its seed says. Only where it has been built (`guest/build-debian`, some minutes): under plain
 * emulation its first boot takes minutes too.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { checkCommand } from '#runtime'
import { eventually } from './deadline.ts'
import { makeOverlay, startMicroGuest } from './micro-guest.ts'
import { CACHE_FOLDER } from './micro-image.ts'
import { SEED_HASH, SEED_KEY, seedImage } from './seed.ts'

const BOOT_MS_MAX = 900_000
const BUILD = resolve(import.meta.dirname, '../../guest/build-debian')

function cached(): string | undefined {
  const { status, stdout } = spawnSync(BUILD, ['--have'], {
    encoding: 'utf8',
    env: { ...process.env, HOLDFAST_CACHE: CACHE_FOLDER },
  })
  return status === 0 ? stdout.trim() : undefined
}

const image = cached()

test(
  'the Debian guest has the name, keys, user and data of its seed, and a larger disk',
  { skip: image === undefined && 'it has not been built: guest/build-debian' },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hf-debian-'))
    try {
      const disk = join(folder, 'os.qcow2')
      await makeOverlay(disk, image ?? '', 'raw')
      await checkCommand('qemu-img', ['resize', '-q', '-f', 'qcow2', disk, '3G'])
      const seed = await seedImage(folder, 'deb1', '#!/bin/sh\necho "ran on $(hostname)" > /root/ran\n')
      const node = { driver: 'raw', 'node-name': 'seed0', 'read-only': true, file: { driver: 'file', filename: seed } }
      const device = ['-device', 'virtio-scsi-pci,id=scsi9', '-device', 'scsi-hd,drive=seed0,bus=scsi9.0']
      await using guest = await startMicroGuest({
        start: 'cold',
        waits: false,
        memoryMib: 512,
        osDisk: { path: disk, format: 'qcow2' },
        extraArguments: ['-blockdev', JSON.stringify(node), ...device],
      })
      await guest.waitReady(BOOT_MS_MAX)
      await eventually('cloud-init to end', BOOT_MS_MAX, async () =>
        (await guest.exec('test -e /var/lib/cloud/instance/boot-finished')).exitCode === 0 ? true : undefined,
      )
      assert.equal((await guest.run('hostname')).trim(), 'deb1')
      assert.match((await guest.run('cat /etc/machine-id')).trim(), /^[0-9a-f]{32}$/)
      assert.match(await guest.run('cat /etc/ssh/ssh_host_ed25519_key.pub'), /^ssh-ed25519 /)
      assert.ok((await guest.run('cat /home/admin/.ssh/authorized_keys')).includes(SEED_KEY))
      assert.ok((await guest.run('grep ^admin: /etc/shadow')).includes(SEED_HASH))
      assert.equal(await guest.run('cat /root/ran'), 'ran on deb1\n')
      assert.equal((await guest.run('systemctl is-active ssh')).trim(), 'active')
      const rootKib = Number((await guest.run("df -Pk / | awk 'NR == 2 { print $2 }'")).trim())
      assert.ok(rootKib > 2.5 * 1024 * 1024, `its root has ${rootKib} KiB of 3 GiB`)
      await guest.run('/usr/local/sbin/deprovision --user admin --yes', 300_000)
      assert.equal(await guest.run('cat /etc/machine-id; ls /etc/ssh/ssh_host_* 2>/dev/null || true'), '')
      assert.equal((await guest.exec('id admin')).exitCode, 1)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
)
