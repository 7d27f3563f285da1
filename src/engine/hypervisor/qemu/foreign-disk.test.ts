import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DriveState } from '../instant/inventory.ts'
import { machineFaults } from './validate.ts'
import { busOfTypes, derivedUuid, describeDisks, type ForeignDisk } from './foreign-disk.ts'
import { socketPathOf } from './describe-running.ts'

const UUID = '7f3a1c52-9b1e-4a44-8d5b-1f0c2e6a7b80'

function foreign(qomPath: string, filename: string, more: Partial<ForeignDisk> = {}): ForeignDisk {
  const drive: DriveState = {
    qomPath,
    topNode: '#block1',
    formatNode: '#block1',
    foreignFilter: undefined,
    format: 'qcow2',
    filename,
    sizeBytes: 1 << 20,
    readOnly: false,
    keepsBitmaps: true,
    bitmaps: [],
  }
  return { drive, bus: 'virtio-blk', serial: '', bootIndex: undefined, lun: undefined, isOther: false, ...more }
}

describe('describeDisks()', () => {
  it('keeps the identity of a disk whose image was exchanged below it', () => {
    const before = describeDisks(UUID, [foreign('/machine/peripheral-anon/device[1]', '/a.qcow2')])
    const after = describeDisks(UUID, [foreign('/machine/peripheral-anon/device[1]', '/a.snap1')])
    assert.equal(before[0]?.diskId, after[0]?.diskId)
    const byserial = describeDisks(UUID, [foreign('/machine/peripheral-anon/device[7]', '/a', { serial: 'S' })])
    const moved = describeDisks(UUID, [foreign('/machine/peripheral-anon/device[2]', '/a', { serial: 'S' })])
    assert.equal(byserial[0]?.diskId, moved[0]?.diskId)
  })

  it('tells disks apart that share a serial, and machines that share serials', () => {
    const twins = [foreign('/m/a', '/a', { serial: 'S' }), foreign('/m/b', '/b', { serial: 'S' })]
    const described = describeDisks(UUID, twins)
    assert.equal(new Set(described.map((disk) => disk.diskId)).size, 2)
    assert.equal(new Set(described.map((disk) => disk.serial)).size, 2)
    const other = derivedUuid('another machine')
    assert.notEqual(describeDisks(other, twins)[0]?.diskId, described[0]?.diskId)
  })

  it('takes the lowest boot index for the OS disk, else the first, and keeps LUNs of ours', () => {
    const disks = [
      foreign('/m/a', '/a', { bootIndex: 5 }),
      foreign('/m/b', '/b', { bootIndex: 1 }),
      foreign('/m/c', '/c', { lun: 0 }),
    ]
    assert.deepEqual(
      describeDisks(UUID, disks).map((disk) => [disk.lun, disk.path, disk.role]),
      [
        [0, '/c', 'data'],
        [1, '/a', 'data'],
        [2, '/b', 'os'],
      ],
    )
    assert.equal(describeDisks(UUID, [foreign('/m/a', '/a'), foreign('/m/b', '/b')])[0]?.role, 'os')
  })

  it('describes what can be created again, however odd the serials', () => {
    const disks = describeDisks(UUID, [
      foreign('/m/a', '/a', { serial: 'with, comma and far more than twenty characters' }),
      foreign('/m/b', '/b'),
    ])
    const machine = { schema: 1, name: 'x', uuid: UUID, firmware: 'bios', machineType: 'pc', cpuCount: 1 } as const
    assert.deepEqual(machineFaults({ ...machine, memoryMib: 64, disks, networks: [], agent: false, tags: {} }), [])
  })
})

describe('busOfTypes()', () => {
  it('counts a SCSI disk by its controller', () => {
    assert.equal(busOfTypes(['scsi-hd', 'SCSI', 'virtio-scsi-device', 'virtio-scsi-pci']), 'virtio-scsi')
    assert.equal(busOfTypes(['scsi-hd', 'usb-storage']), 'usb')
    assert.equal(busOfTypes(['virtio-blk-device', 'virtio-blk-pci']), 'virtio-blk')
    assert.equal(busOfTypes(['scsi-hd', 'lsi53c895a']), undefined)
  })
})

describe('socketPathOf()', () => {
  it('reads what QEMU shows of a server socket, used and unused', () => {
    assert.equal(socketPathOf('disconnected:unix:/run/x/agent,server=on'), '/run/x/agent')
    assert.equal(socketPathOf('unix:/run/x/agent,server=on <-> '), '/run/x/agent')
    assert.equal(socketPathOf('unix:/run/a,b,server=on'), '/run/a,b')
    assert.equal(socketPathOf('pty:/dev/pts/1'), undefined)
  })
})
