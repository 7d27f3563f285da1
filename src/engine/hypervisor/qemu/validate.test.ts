import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isHoldfastError } from '#base'
import type { MachineDescription, MachineDisk } from '../machine.ts'
import { isMachineName, machineFaults, requireValidMachine } from './validate.ts'

const DISK: MachineDisk = {
  lun: 0,
  diskId: '0b5c7c7e-3f07-4c57-8a55-0b1b3ad0a001',
  role: 'os',
  path: '/srv/os.qcow2',
  format: 'qcow2',
  bus: 'virtio-blk',
  serial: 'OS',
}
const MACHINE: MachineDescription = {
  schema: 1,
  name: 'web-1',
  uuid: '7f3a1c52-9b1e-4a44-8d5b-1f0c2e6a7b80',
  firmware: 'bios',
  machineType: 'pc',
  cpuCount: 1,
  memoryMib: 64,
  disks: [DISK],
  networks: [{ kind: 'user', mac: '52:54:00:00:00:01', restricted: true, forwards: [] }],
  agent: true,
  tags: {},
}

describe('machineFaults()', () => {
  it('finds nothing wrong with an ordinary machine', () => {
    assert.deepEqual(machineFaults(MACHINE), [])
  })

  it('refuses names that would leave the folder, add options or forge log lines', () => {
    const hostile = ['', '.', '..', '../x', 'a/b', '-S', 'a,b', 'a b', 'a\nb', 'a\0b', 'ä', 'x'.repeat(65)]
    for (const name of hostile) {
      assert.equal(isMachineName(name), false, JSON.stringify(name))
      assert.equal(machineFaults({ ...MACHINE, name }).length, 1, JSON.stringify(name))
    }
  })

  it('refuses relative paths, control characters and serials that a device would cut off', () => {
    const bad: Partial<MachineDisk>[] = [
      { path: 'os.qcow2' },
      { path: 'nbd://host/x' },
      { path: '/srv/a\nb' },
      { serial: 'x'.repeat(21) },
      { serial: 'a,b' },
      { diskId: 'OS' },
      { lun: -1 },
      { lun: 1.5 },
      { lun: 21 },
      { lun: 4, bus: 'ide' },
    ]
    for (const more of bad)
      assert.equal(machineFaults({ ...MACHINE, disks: [{ ...DISK, ...more }] }).length, 1, JSON.stringify(more))
  })

  it('names the LUN limit of the bus and the way out', () => {
    const [fault] = machineFaults({ ...MACHINE, disks: [{ ...DISK, lun: 4, bus: 'ide' }] })
    assert.equal(fault, 'The disk at LUN 4: ide on pc has room for LUNs 0 to 3; use virtio-scsi.')
  })

  it('refuses what two disks or networks may not share', () => {
    const twin = (more: Partial<MachineDisk>): MachineDisk => ({
      ...DISK,
      lun: 1,
      diskId: '0b5c7c7e-3f07-4c57-8a55-0b1b3ad0a002',
      role: 'data',
      path: '/srv/1.qcow2',
      serial: 'D1',
      ...more,
    })
    const shared: Partial<MachineDisk>[] = [
      { lun: 0 },
      { diskId: DISK.diskId },
      { path: DISK.path },
      { serial: DISK.serial },
      { role: 'os' },
    ]
    for (const more of shared)
      assert.equal(machineFaults({ ...MACHINE, disks: [DISK, twin(more)] }).length, 1, JSON.stringify(more))
    assert.deepEqual(machineFaults({ ...MACHINE, disks: [DISK, twin({})] }), [])
    assert.equal(machineFaults({ ...MACHINE, networks: [...MACHINE.networks, ...MACHINE.networks] }).length, 1)
  })

  it('refuses multicast addresses, forged interface names, and taps in two namespaces', () => {
    const mac = '52:54:00:00:00:01'
    const network = '11111111-2222-4333-8444-555555555555'
    const one = { kind: 'segment', mac, network, interface: 'hf0' } as const
    const two = { ...one, mac: '52:54:00:00:00:02', interface: 'hf1' }
    assert.deepEqual(machineFaults({ ...MACHINE, networks: [one, two] }), [])
    const wrong: MachineDescription['networks'][] = [
      [{ kind: 'user', mac: '53:54:00:00:00:01', restricted: true, forwards: [] }],
      [{ kind: 'user', mac, restricted: true, forwards: [{ hostPort: 0, guestPort: 80, protocol: 'tcp' }] }],
      [{ kind: 'tap', mac, interface: 'hf0,script=/bin/sh' }],
      [{ kind: 'tap', mac, interface: 'hf0', namespace: '../../proc/1/ns' }],
      [{ kind: 'link', mac, link: '../x', end: 'a' }],
      [
        { kind: 'tap', mac, interface: 'hf0', namespace: 'one' },
        { kind: 'tap', mac: '52:54:00:00:00:02', interface: 'hf1' },
      ],
      [{ kind: 'segment', mac, network: '../x', interface: 'hf0' }],
      [
        { kind: 'segment', mac, network, interface: 'hf0' },
        { kind: 'tap', mac: '52:54:00:00:00:02', interface: 'hf1' },
      ],
      [
        { kind: 'segment', mac, network, interface: 'hf0' },
        { kind: 'segment', mac: '52:54:00:00:00:02', network: network.replace('1', '2'), interface: 'hf1' },
      ],
    ]
    for (const networks of wrong)
      assert.equal(machineFaults({ ...MACHINE, networks }).length, 1, JSON.stringify(networks))
  })
})

describe('requireValidMachine()', () => {
  it('reports every fault at once', () => {
    assert.throws(
      () => requireValidMachine({ ...MACHINE, name: '..', cpuCount: 0, memoryMib: 1 }),
      (error: unknown) => {
        assert.ok(isHoldfastError(error, 'machine_invalid'))
        assert.equal((error.facts['faults'] as readonly string[]).length, 3)
        return true
      },
    )
  })
})
