import assert from 'node:assert/strict'
import { copyFile, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { KIB, MIB } from '#base'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { type PointJson, runFailing, runJson, testFolder } from './command-line.ts'
import { makeImages } from './images.ts'
import { startMachine } from './machine.ts'

const BACKUP = ['repo', 'backup', 'store', '--machine', 'vm', '--qmp']

test('A running machine is backed up by its monitor: full first, then only what changed, and both come back', async (t) => {
  const folder = await testFolder()
  const vm = await BlankMachine.create([{}, { format: 'raw' }])
  t.after(() => vm.remove())
  const qmp = join(vm.folder, 'instant.qmp')
  const graph = await vm.graph()
  await runJson(folder, ['repo', 'init', 'store'])
  const before = vm.model.map((bytes) => Buffer.from(bytes))
  const full = await runJson<PointJson>(folder, [...BACKUP, qmp])
  assert.deepEqual(
    [full.mode, full.consistency, full.disks.map(({ reason }) => reason)],
    ['full', 'crash', ['first_backup', 'first_backup']],
  )
  await vm.write(0, 4096, 512)
  await vm.write(1, 3 * MIB, 64 * KIB)
  const next = await runJson<PointJson>(folder, [...BACKUP, qmp])
  assert.deepEqual([next.mode, next.parent], ['incremental', full.id])
  assert.ok(next.disks.every(({ readBytes, reason }) => readBytes <= 64 * KIB && reason === undefined))
  assert.deepEqual(await vm.graph(), graph, 'nothing is left in QEMU')
  assert.equal(await vm.status(), 'running')
  for (const [point, model] of [
    [full, before],
    [next, vm.model],
  ] as const) {
    await runJson(folder, ['repo', 'restore', 'store', point.id, '--to', point.id])
    for (const lun of [0, 1])
      assert.deepEqual(await readFile(join(folder, point.id, `disk-${lun}.raw`)), model[lun], `disk ${lun}`)
  }
  const machine = JSON.parse(await readFile(join(folder, next.id, 'machine.json'), 'utf8')) as {
    description: { memoryMib: number; disks: { path: string }[] }
  }
  assert.equal(machine.description.memoryMib, 32)
  assert.deepEqual(
    machine.description.disks.map(({ path }) => path),
    [vm.pathOf(0), vm.pathOf(1)],
  )
})

test('Images that changed places keep their bitmaps, and are still read whole instead of laid onto each other', async (t) => {
  const folder = await testFolder()
  const vm = await BlankMachine.create([{}, {}])
  t.after(() => vm.remove())
  const qmp = join(vm.folder, 'instant.qmp')
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson<PointJson>(folder, [...BACKUP, qmp])
  await vm.stop()
  await rename(vm.pathOf(0), join(vm.folder, 'aside'))
  await rename(vm.pathOf(1), vm.pathOf(0))
  await rename(join(vm.folder, 'aside'), vm.pathOf(1))
  await vm.start()
  const swapped = await runJson<PointJson>(folder, [...BACKUP, qmp])
  assert.equal(swapped.mode, 'scan')
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
  for (const lun of [0, 1]) assert.deepEqual(await readFile(join(folder, `to/disk-${lun}.raw`)), vm.model[1 - lun])
})

test('A monitor that is not there, and contradictions between options, each say so', async () => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store'])
  const gone = await runFailing(folder, [...BACKUP, 'nowhere.qmp'])
  assert.deepEqual([gone.code, gone.exitCode], ['qmp_unreachable', 6])
  for (const more of [
    ['--disk', '0=a'],
    ['--consistency', 'app'],
  ]) {
    assert.equal((await runFailing(folder, [...BACKUP, 'nowhere.qmp', ...more])).exitCode, 2)
  }
})

test('Firmware variables travel beside the disks and are not taken for one; buses, firmware and networks are described', async () => {
  const folder = await testFolder()
  const { raw, bytes } = await makeImages(folder)
  const vars = join(folder, 'vars.fd')
  await copyFile('/usr/share/OVMF/OVMF_VARS.fd', vars)
  const flash = (unit: number, more: string): string[] => ['-drive', `if=pflash,unit=${unit},format=raw,${more}`]
  const code = flash(0, 'readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd')
  const card = (backend: string, device: string): string[] => ['-netdev', backend, '-device', device]
  const end = (which: string): string => `${which}.type=unix,${which}.path=${join(folder, which)}`
  const cards = [
    ...card('user,id=n0', 'e1000,netdev=n0,mac=52:54:00:00:00:07'),
    ...card(`dgram,id=n1,${end('local')},${end('remote')}`, 'virtio-net-pci,netdev=n1,mac=52:54:00:00:00:08'),
    ...card('hubport,id=n2,hubid=0', 'rtl8139,netdev=n2,mac=52:54:00:00:00:09'),
  ]
  const machine = await startMachine(folder, [raw, 'raw'], {
    device: 'ide-hd,drive=d,id=disk3,serial=WD1',
    args: [...cards, '-M', 'q35', ...code, ...flash(1, `file=${vars}`)],
  })
  await runJson(folder, ['repo', 'init', 'store'])
  const point = await runJson<PointJson>(folder, [...BACKUP, machine.qmp])
  assert.deepEqual(
    point.disks.map(({ lun }) => lun),
    [3],
    'the device id disk3 names its LUN',
  )
  await machine.stop()
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
  assert.deepEqual(await readFile(join(folder, 'to/disk-3.raw')), bytes)
  assert.equal((await readFile(join(folder, 'to/uefi-vars'))).length, (await readFile(vars)).length)
  const { description } = JSON.parse(await readFile(join(folder, 'to/machine.json'), 'utf8')) as {
    description: { firmware: string; machineType: string; networks: unknown; disks: { bus: string; serial: string }[] }
  }
  assert.deepEqual([description.firmware, description.machineType], ['uefi', 'q35'])
  assert.deepEqual(
    description.disks.map(({ bus, serial }) => [bus, serial]),
    [['ide', 'WD1']],
  )
  const restricted = { kind: 'user', restricted: true, forwards: [] }
  assert.deepEqual(description.networks, [
    { ...restricted, mac: '52:54:00:00:00:07', model: 'e1000' },
    {
      ...restricted,
      mac: '52:54:00:00:00:08',
      attachedTo: `type=dgram,udp=${join(folder, 'local')}:${join(folder, 'remote')}`,
    },
    { ...restricted, mac: '52:54:00:00:00:09', model: 'rtl8139', attachedTo: 'netdev n2' },
  ])
})
