/** What a machine takes from its host: firmware, a user without rights, networks, instants, and what a monitor tells. */
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import {
  addTap,
  describeRunning,
  InstantBroker,
  makeBubble,
  type NewDisk,
  probeAccelerator,
  QemuHypervisor,
  QmpClient,
  removeBubble,
} from '#engine/hypervisor'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { microImage } from '../rig/micro-image.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { emptyMachine, MachineWorld } from './machine-world.ts'

const isRoot = process.getuid?.() === 0
const NOBODY = { uid: 65_534, gid: 65_534 }
const MIB = 1 << 20

function dataDisk(lun: number, bus: NewDisk['bus'] = 'virtio-blk'): NewDisk {
  return { lun, role: lun === 0 ? 'os' : 'data', bus, source: { from: 'empty', sizeBytes: 4 * MIB } }
}

describe('probeAccelerator()', () => {
  it('finds an accelerator that runs guest code, and says why it is not KVM', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hf-probe-'))
    try {
      const choice = await probeAccelerator('qemu-system-x86_64', '7.2.0', folder, systemClock)
      assert.equal(choice.note === undefined, choice.accelerator === 'kvm')
      await assert.rejects(probeAccelerator('false', '7.2.0', folder, systemClock), { code: 'accelerator_unavailable' })
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

describe('QemuHypervisor with UEFI', () => {
  for (const machineType of ['pc', 'q35'] as const) {
    it(`reaches the firmware on ${machineType}, which keeps its variables in the machine's own file`, async () => {
      await using world = await MachineWorld.make()
      await world.host.create(
        emptyMachine('uefi', { machineType, firmware: 'uefi', memoryMib: 128, disks: [dataDisk(0)] }),
      )
      const { attachments } = await world.host.start('uefi')
      const vars = attachments[0]?.path ?? ''
      const before = readFileSync(vars)
      await eventually('the firmware to write its variables', 60_000, () =>
        readFileSync(vars).equals(before) ? undefined : true,
      )
      assert.ok((await world.host.screenshot('uefi')).png.length > 0)
      await world.host.powerOff('uefi')

      const kept = join(world.folder, 'kept.fd')
      copyFileSync(vars, kept)
      await world.host.create(emptyMachine('copy', { machineType, firmware: 'uefi', uefiVarsFrom: kept }))
      const copied = (await world.host.describe('copy')).attachments[0]?.path ?? ''
      assert.deepEqual(readFileSync(copied), readFileSync(kept))
      await world.host.delete('copy', { disks: 'keep' })
      assert.equal(existsSync(copied), false)
    })
  }
})

describe('QemuHypervisor with UEFI and a guest', () => {
  it('boots a kernel from the EFI shell', async () => {
    await using world = await MachineWorld.make()
    const path = join(world.folder, 'uefi.raw')
    await checkCommand('cp', ['--sparse=always', '--no-preserve=mode', await microImage(), path])
    const line = 'fs0:\r\nvmlinuz initrd=initrd.img ro console=ttyS0 net.ifnames=0 no_timer_check tsc=reliable\r\n'
    const script = join(world.folder, 'startup.nsh')
    writeFileSync(script, line)
    await checkCommand('mcopy', ['-i', `${path}@@1M`, script, '::/startup.nsh'])
    const os: NewDisk = { lun: 0, role: 'os', bus: 'virtio-blk', source: { from: 'image', path, format: 'raw' } }
    const more = { machineType: 'q35', firmware: 'uefi', memoryMib: 256, disks: [os] } as const
    await world.host.create(emptyMachine('guest', more))
    await world.host.start('guest')
    await world.waitReady('guest')
    assert.equal(await world.run('guest', 'ls -d /sys/firmware/efi'), '/sys/firmware/efi\n')
    assert.equal((await world.host.shutdown('guest', { deadlineMs: 60_000, thenPowerOff: false })).by, 'agent')
  })
})

describe('QemuHypervisor as root', { skip: !isRoot }, () => {
  it('runs QEMU as a user without rights that can gain none', async () => {
    await using world = await MachineWorld.make(NOBODY)
    await world.host.create(
      emptyMachine('confined', { firmware: 'uefi', disks: [dataDisk(0), dataDisk(1, 'virtio-scsi')] }),
    )
    const { processId } = await world.host.start('confined')
    const status = readFileSync(`/proc/${processId}/status`, 'utf8')
    assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m)
    assert.match(status, /^Gid:\t65534\t65534\t65534\t65534$/m)
    assert.match(status, /^Groups:\t\s*$/m)
    assert.match(status, /^NoNewPrivs:\t1$/m)
    assert.match(status, /^CapEff:\t0+$/m)
    assert.ok((await world.host.screenshot('confined')).png.length > 0)
    const disk = await world.host.attachDisk('confined', dataDisk(2, 'virtio-scsi'))
    assert.equal(disk.lun, 2)
  })

  it('joins machines in a bubble, where the host is not', async () => {
    const bubble = `test-${process.pid}`
    await using world = await MachineWorld.make()
    await makeBubble(bubble)
    try {
      await makeBubble(bubble)
      const names = ['left', 'right']
      for (const [index, name] of names.entries()) {
        const tap = await addTap(bubble, `hf${index}`)
        const network = { kind: 'tap', mac: `52:54:00:00:20:0${index}`, ...tap } as const
        await world.makeMicro(name, { networks: [network] })
        await world.host.start(name)
      }
      for (const [index, name] of names.entries()) {
        await world.waitReady(name)
        await world.run(
          name,
          `ip addr flush dev eth0; ip addr add 192.0.2.${index + 1}/24 dev eth0; ip link set eth0 up`,
        )
      }
      await eventually('an answer from the other machine', 20_000, async () =>
        (await world.run('left', 'ping -c 1 -W 1 192.0.2.2 || true')).includes(' 0% packet loss') ? true : undefined,
      )
      const { stdout } = await checkCommand('ip', ['-n', `hf-${bubble}`, '-4', 'addr', 'show'])
      assert.equal(stdout.toString('utf8'), '') // the host has no address in there
    } finally {
      for (const { machine } of (await world.host.discover()).machines) await world.host.powerOff(machine.name)
      await removeBubble(bubble)
      await removeBubble(bubble)
    }
  })
})

describe('a link between two machines', () => {
  it('carries frames in both directions, whichever machine comes up first', async () => {
    await using world = await MachineWorld.make()
    for (const [index, end] of (['a', 'b'] as const).entries()) {
      const network = { kind: 'link', mac: `52:54:00:00:30:0${index}`, link: 'heart', end } as const
      await world.makeMicro(end, { networks: [network] })
      await world.host.start(end)
    }
    for (const [index, end] of ['a', 'b'].entries()) {
      await world.waitReady(end)
      await world.run(end, `ip addr flush dev eth0; ip addr add 192.0.2.${index + 1}/24 dev eth0`)
    }
    const isAnswered = async (from: string, to: string): Promise<true | undefined> =>
      (await world.run(from, `ping -c 1 -W 1 ${to} || true`)).includes(' 0% packet loss') ? true : undefined
    await eventually('b to answer a', 20_000, () => isAnswered('a', '192.0.2.2'))
    await world.host.powerOff('a')
    await world.host.start('a')
    await world.waitReady('a')
    await world.run('a', 'ip addr flush dev eth0; ip addr add 192.0.2.1/24 dev eth0')
    await eventually('a to answer b after a restart', 20_000, () => isAnswered('b', '192.0.2.1'))
  })
})

describe('QemuHypervisor with the instant broker', () => {
  it('opens instants of a machine, running or stopped, and changes its disks before or after', async () => {
    await using world = await MachineWorld.make()
    const folders = { journalFolder: join(world.folder, 'j'), scratchFolder: join(world.folder, 's') }
    const base = { clock: systemClock, random: systemRandom }
    const runFolder = join(world.roots.runtimeFolder, 'i')
    const instants = new InstantBroker({ host: { ...base, ...folders, runFolder, watchdog: 'elsewhere' }, waitMs: 200 })
    const host = new QemuHypervisor({ ...base, roots: world.roots, instants })
    const disks = [dataDisk(0), dataDisk(3, 'virtio-scsi')]
    await host.create(emptyMachine('source', { disks }))
    await host.start('source')
    const instant = await host.openInstant('source', { consistency: 'crash' })
    assert.deepEqual(
      instant.disks.map((disk) => [disk.lun, disk.sizeBytes]),
      disks.map((disk) => [disk.lun, 4 * MIB]),
    )
    await assert.rejects(host.attachDisk('source', dataDisk(5)), { code: 'instant_open' })
    await instant.abort('it was only looked at')
    assert.equal((await host.attachDisk('source', dataDisk(5))).lun, 5)

    const broken = await host.openInstant('source', { consistency: 'crash' })
    await host.powerOff('source') // does not wait for whoever reads
    await assert.rejects(broken.check(), { code: 'instant_broken' })
    await broken.abort('it is broken')

    const stopped = await host.openInstant('source', { consistency: 'crash' })
    assert.equal(stopped.disks.length, 3)
    await assert.rejects(host.delete('source', { disks: 'delete' }), { code: 'instant_open' })
    assert.equal((await host.start('source')).power, 'running')
    await assert.rejects(stopped.check(), { code: 'instant_broken' })
    await stopped.abort('it is broken')
  })
})

describe('describeRunning()', () => {
  it('describes a QEMU that others started, the same each time', async () => {
    await using guest = await startMicroGuest({
      name: 'foreign "odd" name',
      disks: [
        { sizeMib: 16, format: 'raw', bus: 'virtio-scsi' },
        { sizeMib: 16, bus: 'nvme' },
      ],
      start: 'cold',
      waits: false,
    })
    const ask = async (): Promise<Awaited<ReturnType<typeof describeRunning>>> => {
      const qmp = await QmpClient.connect(guest.paths.qmp, { clock: systemClock })
      try {
        return await describeRunning(qmp)
      } finally {
        await qmp.close()
      }
    }
    const first = await ask()
    assert.deepEqual(await ask(), first)
    const { machine, nodeNames, agentSocketPath } = first
    assert.equal(machine.memoryMib, 192)
    assert.equal(machine.machineType, 'pc')
    assert.equal(machine.firmware, 'bios')
    assert.equal(agentSocketPath, guest.paths.agent)
    assert.deepEqual(
      machine.disks.map(({ lun, role, format, bus, serial }) => [lun, role, format, bus, serial]),
      [
        [0, 'os', 'qcow2', 'virtio-blk', 'D0'],
        [1, 'data', 'raw', 'virtio-scsi', 'D1'],
        [2, 'data', 'qcow2', 'nvme', 'D2'],
      ],
    )
    assert.deepEqual(nodeNames, { 0: 'disk0', 1: 'disk1', 2: 'disk2' })
  })

  it('finds in a machine of ours what it was created with, UEFI flash and all', async () => {
    await using world = await MachineWorld.make()
    const buses = ['virtio-blk', 'virtio-scsi', 'ide', 'nvme', 'usb'] as const
    const request = emptyMachine('known', {
      machineType: 'q35',
      firmware: 'uefi',
      disks: buses.map((bus, lun) => dataDisk(lun, bus)),
      networks: [{ kind: 'user', mac: '52:54:00:00:40:01', restricted: true, forwards: [] }],
    })
    const { machine } = await world.host.create(request)
    const { sockets } = await world.host.start('known')
    const qmp = await QmpClient.connect(sockets?.rescue ?? '', { clock: systemClock })
    try {
      const found = await describeRunning(qmp)
      const withoutIds = (one: typeof machine): unknown => ({
        ...one,
        disks: one.disks.map((disk) => ({ ...disk, diskId: '' })),
      })
      assert.deepEqual(withoutIds(found.machine), withoutIds(machine))
    } finally {
      await qmp.close()
    }
  })
})
