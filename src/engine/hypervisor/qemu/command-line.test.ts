import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import type { MachineDescription, MachineDisk } from '../machine.ts'
import { buildCommandLine, diskBlockdev, escapeOption } from './command-line.ts'
import { machinePaths, requireUsableRoots } from './machine-paths.ts'

const ROOTS = { machinesFolder: '/var/lib/holdfast/machines', runtimeFolder: '/run/holdfast' }
const FIRMWARE = { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', varsTemplate: '/usr/share/OVMF/OVMF_VARS_4M.fd' }

function disk(lun: number, bus: MachineDisk['bus'], more: Partial<MachineDisk> = {}): MachineDisk {
  const diskId = `00000000-0000-4000-8000-00000000000${lun}`
  const path = `/srv/disks/${lun}.qcow2`
  return { lun, diskId, role: lun === 0 ? 'os' : 'data', path, format: 'qcow2', bus, serial: `S${lun}`, ...more }
}

function machine(more: Partial<MachineDescription> = {}): MachineDescription {
  return {
    schema: 1,
    name: 'web-1',
    uuid: '7f3a1c52-9b1e-4a44-8d5b-1f0c2e6a7b80',
    firmware: 'bios',
    machineType: 'pc',
    cpuCount: 2,
    memoryMib: 512,
    disks: [disk(0, 'virtio-blk')],
    networks: [],
    agent: true,
    tags: {},
    ...more,
  }
}

const build = (of: MachineDescription): string[] =>
  buildCommandLine(of, machinePaths(ROOTS, of.name), { accelerator: 'tcg', firmware: FIRMWARE })

/** One option per line, as in the golden files. */
function lines(args: readonly string[]): string {
  return args.reduce((text, arg) => `${text}${arg.startsWith('-') ? '\n' : ' '}${arg}`, '').trimStart() + '\n'
}

function devicesOf(args: readonly string[]): Record<string, unknown>[] {
  return args.flatMap((arg, index) => (args[index - 1] === '-device' ? [JSON.parse(arg)] : []))
}

const golden = (name: string): string => readFileSync(new URL(`golden/${name}.txt`, import.meta.url), 'utf8')

const EVERY_BUS = (['virtio-blk', 'virtio-scsi', 'ide', 'nvme', 'usb'] as const).map((bus, lun) => disk(lun, bus))

describe('buildCommandLine()', () => {
  it('writes the golden line of a BIOS machine with every bus and network', () => {
    const args = build(
      machine({
        disks: [...EVERY_BUS, disk(7, 'virtio-blk', { path: '/dev/vg/data', format: 'raw' })],
        networks: [
          { kind: 'none' },
          {
            kind: 'user',
            mac: '52:54:00:00:00:01',
            restricted: true,
            forwards: [{ hostPort: 18080, guestPort: 8080, protocol: 'tcp' }],
          },
          { kind: 'link', mac: '52:54:00:00:00:02', link: 'heart', end: 'b' },
          { kind: 'tap', mac: '52:54:00:00:00:03', interface: 'hf0', namespace: 'bubble' },
        ],
      }),
    )
    assert.equal(lines(args), golden('pc-bios'))
  })

  it('writes the golden line of a UEFI machine on q35 with KVM', () => {
    const of = machine({ machineType: 'q35', firmware: 'uefi', disks: EVERY_BUS, agent: false })
    const args = buildCommandLine(
      of,
      machinePaths(ROOTS, of.name),
      { accelerator: 'kvm', firmware: FIRMWARE },
      { paused: true },
    )
    assert.equal(lines(args), golden('q35-uefi'))
  })

  it('keeps a hostile image path inside its one value', () => {
    const path = '/srv/a,driver=host_device,"x":{},snapshot=on\\ b'
    const args = build(machine({ disks: [disk(0, 'virtio-blk', { path })] }))
    const blockdevs = args.filter((_, index) => args[index - 1] === '-blockdev').map((arg) => JSON.parse(arg))
    assert.equal(blockdevs.length, 1)
    assert.equal(blockdevs[0].file.filename, path)
    assert.deepEqual(Object.keys(blockdevs[0].file), ['driver', 'node-name', 'filename', 'discard', 'locking'])
  })

  it('doubles commas in socket paths', () => {
    const of = machine()
    const paths = machinePaths({ ...ROOTS, runtimeFolder: '/run/a,server=off,b' }, of.name)
    const args = buildCommandLine(of, paths, { accelerator: 'tcg' })
    const chardevs = args.filter((_, index) => args[index - 1] === '-chardev' && args[index]?.startsWith('socket'))
    assert.equal(chardevs.length, 4)
    for (const arg of chardevs)
      assert.match(arg, /path=\/run\/a,,server=off,,b\/[0-9a-f]{8}\/[a-z]+,server=on,wait=off$/)
  })

  it('gives every device an address of its own, whatever disks there are', () => {
    for (const machineType of ['pc', 'q35'] as const) {
      const disks = Array.from({ length: machineType === 'pc' ? 21 : 16 }, (_, lun) =>
        disk(lun, lun % 2 === 0 ? 'virtio-blk' : 'nvme', { diskId: `${lun}`, serial: `S${lun}` }),
      )
      const networks = [1, 2, 3, 4].map((n) => ({
        kind: 'user' as const,
        mac: `52:54:00:00:00:0${n}`,
        restricted: true,
        forwards: [],
      }))
      const devices = devicesOf(build(machine({ machineType, disks, networks })))
      const places = devices.flatMap((d) =>
        typeof d['addr'] === 'string' ? [`${d['bus'] as string}/${d['addr']}`] : [],
      )
      assert.equal(new Set(places).size, places.length)
      const ids = devices.map((d) => d['id'])
      assert.ok(ids.every((id) => typeof id === 'string'))
      assert.equal(new Set(ids).size, ids.length)
    }
  })

  it('does not move any other device when a disk comes or goes', () => {
    for (const machineType of ['pc', 'q35'] as const) {
      const before = devicesOf(build(machine({ machineType, disks: EVERY_BUS })))
      const after = devicesOf(build(machine({ machineType, disks: EVERY_BUS.filter((d) => d.lun !== 3) })))
      assert.deepEqual(
        after,
        before.filter((device) => device['id'] !== 'disk3'),
      )
    }
  })
})

describe('diskBlockdev()', () => {
  it('names the format and locks the image', () => {
    const node = diskBlockdev({ lun: 4, format: 'raw', path: '/srv/x.raw' })
    assert.equal(node['driver'], 'raw')
    assert.equal(node['node-name'], 'lun4')
    assert.deepEqual(node['file'], {
      driver: 'file',
      'node-name': 'lun4-file',
      filename: '/srv/x.raw',
      discard: 'unmap',
      locking: 'on',
    })
  })
})

describe('escapeOption()', () => {
  it('doubles every comma and nothing else', () => {
    assert.equal(escapeOption('a,b,,c=d'), 'a,,b,,,,c=d')
  })
})

describe('machinePaths()', () => {
  it('gives two installations different sockets in one runtime folder', () => {
    const one = machinePaths({ ...ROOTS, machinesFolder: '/a' }, 'vm')
    const other = machinePaths({ ...ROOTS, machinesFolder: '/b' }, 'vm')
    assert.notEqual(one.controlSocket, other.controlSocket)
  })

  it('refuses a runtime folder in which a socket path would be cut off', () => {
    const long = `/run/${'x'.repeat(40)}`
    assert.throws(() => requireUsableRoots({ ...ROOTS, runtimeFolder: long }), { code: 'machine_invalid' })
    requireUsableRoots({ ...ROOTS, runtimeFolder: `/run/${'x'.repeat(29)}` })
    const longest = machinePaths({ ...ROOTS, runtimeFolder: `/run/${'x'.repeat(29)}` }, 'vm')
    for (const path of [longest.controlSocket, `${longest.links}/${'n'.repeat(64)}-a`]) assert.ok(path.length <= 107)
  })
})
