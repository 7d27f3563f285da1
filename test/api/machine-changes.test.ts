/** Machines that run and change: data disks that come and go, another size, scripts, logs and screens, what a first boot finds. */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { putSetting } from '#catalog'
import { SNAPSHOT_VERSION } from './snapshot-world.ts'
import { type Failure, type Machine, MachineApiWorld } from './machine-api-world.ts'
import { VERSION } from './api-world.ts'

const PASSWORD = 'Correct-horse-7'
const CUSTOM = 'only for the first boot'

/** Every file of the home that could hold what was said, but for the disks and the seed. */
async function filesWith(folder: string, needle: string): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || /\.(qcow2|raw)$|\/packs\/|seed\.iso$/.test(path)) continue
    const text = await readFile(path).catch(() => Buffer.alloc(0))
    if (text.includes(needle)) found.push(path)
  }
  return found
}

type Ran = { value: { code: string; message: string }[] }
type Diagnostics = { consoleScreenshotBlobUri: string; serialConsoleLogBlobUri: string }

test('A machine that runs is changed', async (t) => {
  await using world = await MachineApiWorld.make()
  const { ask } = world
  const os = await world.microDisk('os1')
  const keyData = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFake me@here'
  const osProfile = {
    computerName: 'web1',
    adminUsername: 'ops',
    adminPassword: PASSWORD,
    customData: Buffer.from(CUSTOM).toString('base64'),
    linuxConfiguration: { ssh: { publicKeys: [{ path: '/home/ops/.ssh/authorized_keys', keyData }] } },
  }

  await t.test('its first boot finds a seed; what is secret in it stands nowhere else', async () => {
    const dataDisks = [{ lun: 2, createOption: 'Empty', diskSizeGB: 1, deleteOption: 'Delete' }]
    const answer = await world.put('m1', os, { osProfile, dataDisks })
    assert.equal(answer.status, 201, answer.text)
    assert.equal(answer.body.properties.osProfile?.['adminPassword'], undefined)
    assert.equal(answer.body.properties.osProfile?.['customData'], undefined)
    assert.equal(answer.body.properties.osProfile?.['adminUsername'], 'ops')
    await world.succeed(answer)
    const machine = await world.hostName('m1')
    const seed = await readFile(join(world.api.home.folder, 'machines', machine, 'seed.iso'))
    for (const known of ['cidata', '"local-hostname":"web1"', CUSTOM, keyData, '"name":"ops"', '$6$'])
      assert.ok(seed.includes(known), known)
    assert.ok(!seed.includes(PASSWORD), 'it is hashed')
    const custom = Buffer.from(CUSTOM).toString('base64')
    for (const secret of [PASSWORD, CUSTOM, custom])
      assert.deepEqual(await filesWith(world.api.home.folder, secret), [], secret)
    assert.deepEqual(await readdir(join(world.api.home.folder, 'machine-orders')), [], 'the order is gone')
    const devices = await world.run('m1', 'cat /proc/partitions; cat /sys/class/scsi_device/*/device/vpd_pg80 || true')
    assert.match(devices, /sd[ab]/)
  })

  await t.test('a disk that was made with it stands at its lun', async () => {
    const { dataDisks } = (await world.show('m1')).properties.storageProfile
    assert.deepEqual(
      dataDisks.map(({ lun }) => lun),
      [2],
    )
    const found = await world.run(
      'm1',
      'ls -d /sys/bus/scsi/devices/0:0:0:3 /sys/bus/scsi/devices/*:0:0:3 2>/dev/null | tail -1',
    )
    assert.match(found, /:0:0:3/)
  })

  await t.test('data disks come and go while it runs, by the whole list and by name', async () => {
    const pid = await world.processId('m1')
    const a = await world.emptyDisk('a')
    const b = await world.emptyDisk('b')
    const now = (await ask<Machine>('GET', world.url('m1'))).body
    now.properties.storageProfile.dataDisks.push({ lun: 0, createOption: 'Attach', managedDisk: { id: a } } as never)
    const put = await ask('PUT', world.url('m1'), now)
    assert.equal(put.status, 200, put.text)
    await world.succeed(put)
    assert.equal((await world.disk('a')).properties.diskState, 'Attached')
    await world.commanded('m1', 'attachDetachDataDisks', { dataDisksToAttach: [{ diskId: b }] })
    const luns = async (): Promise<number[]> =>
      (await world.show('m1')).properties.storageProfile.dataDisks.map(({ lun }) => lun)
    assert.deepEqual(await luns(), [0, 1, 2])
    const written = await world.run(
      'm1',
      'for d in /sys/bus/scsi/devices/*:0:0:1/block/*; do n=${d##*/}; done; echo kept > /tmp/x; dd if=/tmp/x of=/dev/$n conv=fsync 2>/dev/null; echo $n',
    )
    assert.match(written, /^sd[a-z]/)
    await world.commanded('m1', 'attachDetachDataDisks', { dataDisksToDetach: [{ diskId: a }] })
    assert.deepEqual(await luns(), [1, 2])
    const disk = await world.disk('a')
    assert.deepEqual([disk.managedBy, disk.properties.diskState], [undefined, 'Unattached'])
    assert.equal(await world.processId('m1'), pid, 'it ran all the time')
    const back = await ask('PATCH', world.url('m1'), {
      properties: {
        storageProfile: {
          dataDisks: [
            { lun: 5, createOption: 'Attach', managedDisk: { id: a } },
            { lun: 1, createOption: 'Attach', managedDisk: { id: b } },
            { lun: 2, createOption: 'Empty' },
          ],
        },
      },
    })
    assert.equal(back.status, 200, back.text)
    await world.succeed(back)
    assert.deepEqual(await luns(), [1, 2, 5])
    const read = await world.run('m1', 'head -c 4 /dev/$(basename $(ls -d /sys/bus/scsi/devices/*:0:0:6/block/*))')
    assert.equal(read, 'kept')
  })

  await t.test('a snapshot of a running machine’s disk is of its moment', async () => {
    await world.run('m1', 'echo before > /root/mark && sync')
    const id = `${world.group}/providers/Microsoft.Compute/snapshots/s1`
    const creationData = { createOption: 'Copy', sourceResourceId: os }
    const made = await ask('PUT', `${id}?${SNAPSHOT_VERSION}`, { location: 'eastus', properties: { creationData } })
    assert.equal(made.status, 202, made.text)
    await world.run('m1', 'echo after > /root/mark && sync')
    await world.succeed(made)
    const copy = { createOption: 'Copy', osType: 'Linux', sourceResource: { id }, deleteOption: 'Delete' }
    const answer = await ask<Machine>('PUT', world.url('m2'), world.body({ storageProfile: { osDisk: copy } }))
    assert.equal(answer.status, 201, answer.text)
    await world.succeed(answer)
    assert.equal((await world.run('m2', 'cat /root/mark')).trim(), 'before')
    const diskId = (await world.show('m2')).properties.storageProfile.osDisk.managedDisk.id
    await world.delete('m2')
    assert.equal((await ask('GET', `${diskId}?${VERSION}`)).status, 404, 'it was to go with its machine')
  })

  await t.test('another size restarts it with that, and what it cannot have leaves it as it was', async () => {
    const pid = await world.processId('m1')
    const patch = { properties: { hardwareProfile: { vmSize: 'Holdfast_2x256' } } }
    await world.succeed(await ask('PATCH', world.url('m1'), patch))
    assert.notEqual(await world.processId('m1'), pid)
    assert.equal((await world.run('m1', 'grep -c ^processor /proc/cpuinfo')).trim(), '2')
    const fixed = await ask<Failure>('PATCH', world.url('m1'), { properties: { osProfile: { computerName: 'other' } } })
    assert.equal(fixed.body.error?.code, 'PropertyChangeNotAllowed', fixed.text)
  })

  await t.test('a script runs in it once, and says what it said', async () => {
    const body = {
      commandId: 'RunShellScript',
      script: ['echo "hello $who from $(id -u)"', 'echo "first: $1" >&2', 'cat; exit 3'],
      parameters: [{ name: 'who', value: "o'neill; reboot" }],
    }
    const answer = await ask('POST', world.url('m1', 'runCommand'), body)
    assert.equal(answer.status, 202, answer.text)
    await world.succeed(answer)
    const { body: ran } = await ask<Ran>('GET', String(answer.headers['location']))
    const message = ran.value[0]?.message ?? ''
    assert.match(message, /\[stdout\]\nhello o'neill; reboot from 0\n/)
    assert.match(message, /\[stderr\]\nfirst: o'neill; reboot\n/)
    assert.match(message, /exit code 3/)
    const bad = await ask<Failure>('POST', world.url('m1', 'runCommand'), {
      commandId: 'RunPowerShellScript',
      script: ['x'],
    })
    assert.equal(bad.body.error.code, 'UnsupportedField')
  })

  await t.test('its serial log and its screen are behind signed URLs', async () => {
    const answer = await ask<Diagnostics>('POST', world.url('m1', 'retrieveBootDiagnosticsData'))
    assert.equal(answer.status, 200, answer.text)
    const log = await world.api.raw({ method: 'GET', path: answer.body.serialConsoleLogBlobUri })
    assert.equal(log.status, 200)
    assert.ok(log.bytes.length > 0, 'the guest says something at its boot')
    const shot = await world.api.raw({ method: 'GET', path: answer.body.consoleScreenshotBlobUri })
    assert.equal(shot.bytes.subarray(1, 4).toString(), 'PNG')
    const forged = answer.body.serialConsoleLogBlobUri.replace(/serial\?/, 'screenshot?')
    assert.equal((await world.api.raw({ method: 'GET', path: forged })).status, 403)
    await world.succeed(
      await ask('PATCH', world.url('m1'), {
        properties: { diagnosticsProfile: { bootDiagnostics: { enabled: false } } },
      }),
    )
    assert.equal((await ask('POST', world.url('m1', 'retrieveBootDiagnosticsData'))).status, 409)
  })

  await t.test('deleted it takes with it what was to go with it', async () => {
    const { dataDisks } = (await world.show('m1')).properties.storageProfile
    const made = dataDisks.find(({ lun }) => lun === 2)?.managedDisk.id ?? ''
    await world.delete('m1')
    assert.equal((await ask('GET', `${made}?${VERSION}`)).status, 404)
    for (const name of ['a', 'b', 'os1'])
      assert.equal((await world.disk(name)).properties.diskState, 'Unattached', name)
  })
})

test('A UEFI guest boots, and its variables are its own', async () => {
  await using world = await MachineApiWorld.make()
  const os = await world.microDisk('os1', { hyperVGeneration: 'V2' })
  await world.succeed(await world.put('m1', os, { size: 'Holdfast_1x256' }))
  assert.match(await world.run('m1', 'ls -d /sys/firmware/efi'), /efi/)
  const { instanceView } = (await world.show('m1')).properties
  assert.equal((instanceView as unknown as { hyperVGeneration: string }).hyperVGeneration, 'V2')
})

test('What the host has no room for is made and not started', async () => {
  await using world = await MachineApiWorld.make()
  await world.api.catalog.write((trx) => putSetting(trx, 'machine-memory-mib', '400'))
  const empty = { osDisk: { createOption: 'Empty', osType: 'Linux', diskSizeGB: 1, deleteOption: 'Delete' } }
  const names = ['m1', 'm2', 'm3', 'm4']
  const answers = await Promise.all(
    names.map((name) => world.ask<Machine>('PUT', world.url(name), world.body({ storageProfile: empty }))),
  )
  for (const answer of answers) await world.succeed(answer)
  const powers = await Promise.all(names.map((name) => world.power(name)))
  assert.deepEqual(powers.toSorted(), ['deallocated', 'deallocated', 'running', 'running'])
  const off = names[powers.indexOf('deallocated')] ?? ''
  const on = names[powers.indexOf('running')] ?? ''
  assert.match(String((await world.powerLine(off)).message), /not started.* 192 MiB .* 400 MiB .* 16 MiB are free/)
  const started = await world.command(off, 'start')
  assert.equal(started.status, 'Failed')
  assert.equal(started.error?.code, 'AllocationFailed')
  assert.equal(await world.power(off), 'deallocated')
  const patch = { properties: { hardwareProfile: { vmSize: 'Holdfast_1x300' } } }
  const larger = await world.end(await world.ask('PATCH', world.url(on), patch))
  assert.equal(larger.error?.code, 'AllocationFailed')
  assert.equal(await world.power(on), 'running')
  assert.equal((await world.show(on)).properties.hardwareProfile.vmSize, 'Holdfast_1x192')
  await world.succeed(await world.ask('POST', `${world.url(on, 'powerOff')}&skipShutdown=true`))
  const still = await world.command(off, 'start')
  assert.equal(still.status, 'Failed', 'a machine that is stopped keeps its room')
  await world.commanded(on, 'deallocate')
  await world.commanded(off, 'start')
  assert.equal(await world.power(off), 'running')
})
