/** Disks that come, grow and go while a real guest uses them. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import { isHoldfastError } from '#base'
import type { NewDisk } from '#engine/hypervisor'
import { checkCommand } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { microImage } from '../rig/micro-image.ts'
import { emptyMachine, MachineWorld } from './machine-world.ts'

const MIB = 1 << 20
let world: MachineWorld

/** The guest's name of the disk with this serial ("vdb", "sda"), if it has one. */
async function guestDisk(serial: string): Promise<string | undefined> {
  // virtio-blk and nvme show the serial in sysfs; a SCSI disk on its vital product data page 0x80.
  const find = `for d in /sys/block/*; do
    for f in $d/serial $d/device/serial $d/device/vpd_pg80; do
      [ -e $f ] && grep -q ${serial} $f && basename $d; done; done; true`
  const found = (await world.run('disks', find)).trim()
  return found === '' ? undefined : found
}

/** Serves an image read-only until it is killed. */
async function serve(path: string, socketPath: string): Promise<ChildProcess> {
  const args = ['-k', socketPath, '-f', 'raw', '-r', '-t', '-x', 'point', path]
  const server = spawn('qemu-nbd', args, { stdio: 'ignore' })
  await eventually('the server', 10_000, () => (existsSync(socketPath) ? true : undefined))
  return server
}

async function tryRun(where: MachineWorld, name: string, command: string): Promise<string | undefined> {
  try {
    return await where.run(name, command)
  } catch (error) {
    if (isHoldfastError(error, 'agent_unavailable')) return undefined // not booted yet
    throw error
  }
}

function dataDisk(lun: number, bus: NewDisk['bus'], more: Partial<NewDisk> = {}): NewDisk {
  return { lun, role: 'data', bus, serial: `SER-${lun}`, source: { from: 'empty', sizeBytes: 16 * MIB }, ...more }
}

describe('QemuHypervisor, disks of a running machine', () => {
  before(async () => {
    world = await MachineWorld.make()
    // A SCSI disk from the start makes the guest load its driver.
    await world.makeMicro('disks', { disks: [dataDisk(9, 'virtio-scsi', { serial: 'SER-FIRST' })] })
    await world.host.start('disks')
    await world.waitReady('disks')
  })
  after(() => world[Symbol.asyncDispose]())

  for (const [lun, bus] of [
    [1, 'virtio-blk'],
    [3, 'virtio-scsi'],
  ] as const) {
    it(`plugs a ${bus} disk that the guest sees, fills and gives back`, async () => {
      const disk = await world.host.attachDisk('disks', dataDisk(lun, bus))
      const name = await eventually(`${bus} in the guest`, 20_000, () => guestDisk(disk.serial))
      const written = `i=0; while [ $i -lt 256 ]; do printf '%-511s\\n' "${disk.serial} sector $i"; i=$((i + 1)); done`
      await world.run('disks', `${written} > /run/data; cat /run/data > /dev/${name}; sync`)
      const [sum] = (await world.run('disks', 'sha256sum /run/data')).split(' ')

      await world.host.resizeDisk('disks', lun, 24 * MIB)
      await eventually('the larger disk', 20_000, async () =>
        (await world.run('disks', `cat /sys/block/${name}/size`)).trim() === `${(24 * MIB) / 512}` ? true : undefined,
      )

      const detached = await world.host.detachDisk('disks', lun, { deadlineMs: 30_000 })
      assert.deepEqual(detached, disk)
      await eventually('the disk to be gone', 10_000, async () =>
        (await guestDisk(disk.serial)) === undefined ? true : undefined,
      )
      assert.equal((await world.host.describe('disks')).machine.disks.length, 2)
      const raw = `${world.folder}/${lun}.raw`
      await checkCommand('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk.path, raw])
      const bytes = readFileSync(raw)
      assert.equal(bytes.length, 24 * MIB)
      assert.equal(
        createHash('sha256')
          .update(bytes.subarray(0, 256 * 512))
          .digest('hex'),
        sum,
      )
      assert.equal(bytes.toString('latin1', 255 * 512, 255 * 512 + 16), `${disk.serial} sector 255`.slice(0, 16))
    })
  }

  it('attaches the same disk once, however often it is asked', async () => {
    const disk = dataDisk(5, 'virtio-scsi', { diskId: '0b5c7c7e-3f07-4c57-8a55-0b1b3ad0a005' })
    const first = await world.host.attachDisk('disks', disk)
    assert.deepEqual(await world.host.attachDisk('disks', disk), first)
    await assert.rejects(world.host.attachDisk('disks', dataDisk(5, 'virtio-scsi')), { code: 'disk_in_use' })
    await world.host.detachDisk('disks', 5, { deadlineMs: 30_000 })
  })

  it('refuses buses without hot plug, shrinking, odd sizes, and anything while an instant is open', async () => {
    const attach = (disk: NewDisk): Promise<unknown> => world.host.attachDisk('disks', disk)
    await assert.rejects(attach(dataDisk(2, 'ide')), { code: 'disk_unsupported' })
    await assert.rejects(world.host.resizeDisk('disks', 9, 8 * MIB), { code: 'disk_unsupported' })
    await assert.rejects(world.host.resizeDisk('disks', 9, 16 * MIB + 1), { code: 'disk_unsupported' })
    await assert.rejects(world.host.detachDisk('disks', 4, { deadlineMs: 1_000 }), { code: 'disk_unsupported' })
    world.gate.isOpen = true
    await assert.rejects(attach(dataDisk(2, 'virtio-blk')), { code: 'instant_open', retry: 'later' })
    await assert.rejects(world.host.detachDisk('disks', 9, { deadlineMs: 1_000 }), { code: 'instant_open' })
    await assert.rejects(world.host.resizeDisk('disks', 9, 32 * MIB), { code: 'instant_open' })
    world.gate.isOpen = false
    assert.equal((await world.host.describe('disks')).machine.disks.length, 2)
  })

  it('attaches, grows and detaches while the machine is stopped', async () => {
    await world.host.powerOff('disks')
    const disk = await world.host.attachDisk('disks', dataDisk(2, 'virtio-blk'))
    await world.host.resizeDisk('disks', 2, 20 * MIB)
    await world.host.start('disks')
    await world.waitReady('disks')
    const name = await guestDisk(disk.serial)
    assert.equal((await world.run('disks', `cat /sys/block/${name}/size`)).trim(), `${(20 * MIB) / 512}`)
    await world.host.powerOff('disks')
    await world.host.detachDisk('disks', 2, { deadlineMs: 1 })
    assert.equal(existsSync(disk.path), true)
  })
})

describe('QemuHypervisor, a machine on q35', () => {
  it('plugs and unplugs disks behind root ports', async () => {
    await using world = await MachineWorld.make()
    await world.makeMicro('q35', { machineType: 'q35' })
    await world.host.start('q35')
    await world.waitReady('q35')
    await world.host.attachDisk('q35', dataDisk(1, 'virtio-blk'))
    const serials = async (): Promise<string> => world.run('q35', 'cat /sys/block/vd*/serial')
    await eventually('the disk in the guest', 20_000, async () =>
      (await serials()).includes('SER-1') ? true : undefined,
    )
    await world.host.detachDisk('q35', 1, { deadlineMs: 30_000 })
    assert.equal((await serials()).includes('SER-1'), false)
  })
})

describe('QemuHypervisor, a machine on a served image', () => {
  it('boots, and waits out the death of the server', async () => {
    await using world = await MachineWorld.make()
    const socketPath = `${world.folder}/nbd`
    const backing = { kind: 'nbd', socketPath, exportName: 'point', reconnectDelaySeconds: 60 } as const
    const sizeBytes = (await stat(await microImage())).size
    const os = { lun: 0, role: 'os', bus: 'virtio-blk', source: { from: 'overlay', backing, sizeBytes } } as const
    await world.host.create(emptyMachine('instant', { memoryMib: 192, disks: [os] }))
    await assert.rejects(world.host.start('instant'), { code: 'machine_start_failed' }) // nobody serves yet
    let server = await serve(await microImage(), socketPath)
    try {
      await world.host.start('instant')
      // 120 s: this guest boots over a socket on a shared machine.
      await eventually('the guest', 120_000, () => tryRun(world, 'instant', 'true'))
      const read = 'echo 3 > /proc/sys/vm/drop_caches; cat /bin/* /usr/bin/* > /dev/null; echo read > /run/done'
      const wait = 'while [ ! -e /run/go ]; do usleep 50000; done'
      await world.run('instant', `(${wait}; ${read}) > /dev/null 2>&1 < /dev/null &`)
      server.kill('SIGKILL')
      await once(server, 'exit')
      await rm(socketPath)
      await world.run('instant', ': > /run/go')
      assert.equal(await world.run('instant', '[ -e /run/done ] && echo done || echo waiting'), 'waiting\n')
      server = await serve(await microImage(), socketPath)
      await eventually('the read to go on', 60_000, async () =>
        (await world.run('instant', 'cat /run/done 2>/dev/null || true')).includes('read') ? true : undefined,
      )
      assert.equal(await world.run('instant', 'dmesg | grep -c "I/O error" || true'), '0\n')
    } finally {
      await world.host.powerOff('instant')
      server.kill('SIGKILL')
    }
  })
})

describe('QemuHypervisor.detachDisk()', () => {
  it('says that the guest holds on to the disk, and keeps it in the description', async () => {
    await using world = await MachineWorld.make()
    await world.host.create(emptyMachine('firmware', { disks: [dataDisk(1, 'virtio-blk')] }))
    await world.host.start('firmware', { paused: true })
    await assert.rejects(world.host.detachDisk('firmware', 1, { deadlineMs: 300 }), {
      code: 'timed_out',
      retry: 'later',
    })
    assert.equal((await world.host.describe('firmware')).machine.disks.length, 1)
  })

  it('shows every bus to every machine type', async () => {
    await using world = await MachineWorld.make()
    const buses = ['virtio-blk', 'virtio-scsi', 'ide', 'nvme', 'usb'] as const
    for (const machineType of ['pc', 'q35'] as const) {
      await world.host.create(
        emptyMachine(machineType, { machineType, disks: buses.map((bus, lun) => dataDisk(lun, bus)) }),
      )
      assert.equal((await world.host.start(machineType)).power, 'running')
      for (const [lun, bus] of [
        [7, 'nvme'],
        [6, 'usb'],
        [14, 'virtio-blk'],
      ] as const)
        await world.host.attachDisk(machineType, dataDisk(lun, bus))
      await world.host.powerOff(machineType)
      assert.equal((await world.host.start(machineType)).machine.disks.length, 8)
    }
  })
})
