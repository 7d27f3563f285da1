import assert from 'node:assert/strict'
import { appendFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB } from '#base'
import { checkCommand } from '#runtime'
import { type PointJson, run, runFailing, runJson, testFolder } from './command-line.ts'
import { DISK_BYTES, makeImages, writeRaw } from './images.ts'

type VerifyJson = { ok: boolean; checkedBytes: number; damage: { kind: string; object: string; points: string[] }[] }

test('A machine of a raw and a qcow2 disk is backed up twice, listed, verified and restored byte for byte', async () => {
  const folder = await testFolder()
  const first = await makeImages(folder, 0)
  const second = await makeImages(folder, 1)
  await runJson(folder, ['repo', 'init', 'store'])
  const backup = [
    'repo',
    'backup',
    'store',
    '--machine',
    'web1',
    '--disk',
    '0=disk0.img',
    '--disk',
    '1=qcow2:disk1.qcow2',
  ]

  const full = await runJson<PointJson>(folder, backup)
  assert.equal(full.schema, 1)
  assert.equal(full.machine, 'web1')
  assert.equal(full.mode, 'full')
  assert.equal(full.consistency, 'crash')
  assert.deepEqual(
    full.disks.map(({ lun, format, mode, reason, virtualSizeBytes }) => [lun, format, mode, reason, virtualSizeBytes]),
    [
      [0, 'raw', 'full', 'first_backup', DISK_BYTES],
      [1, 'qcow2', 'full', 'first_backup', DISK_BYTES],
    ],
  )
  assert.ok((full.disks[0]?.newBytes ?? 0) >= 5 * MIB, 'what was written is new')
  assert.ok((full.disks[0]?.readBytes ?? 0) < 8 * MIB, 'holes are not read')

  await writeRaw(first.raw, DISK_BYTES, [[20 * MIB, 4096]], { disk: 0, version: 2 })
  const scan = await runJson<PointJson>(folder, backup)
  assert.equal(scan.mode, 'scan')
  assert.equal(scan.disks[0]?.reason, 'source_without_bitmap')
  assert.equal(scan.disks[0]?.id, full.disks[0]?.id, 'the disk keeps its identity')
  assert.ok((scan.disks[0]?.newBytes ?? 0) < MIB)
  assert.equal(scan.disks[1]?.newBytes, 0)

  assert.deepEqual(await runJson<PointJson[]>(folder, ['repo', 'list', 'store']), [full, scan])
  const shown = await runJson<PointJson>(folder, ['repo', 'show', 'store', full.id.slice(0, 8)])
  assert.equal(shown.id, full.id)
  const verified = await runJson<VerifyJson>(folder, ['repo', 'verify', 'store'])
  assert.deepEqual([verified.ok, verified.damage], [true, []])
  assert.ok(verified.checkedBytes > MIB)

  await runJson(folder, ['repo', 'restore', 'store', full.id, '--to', 'old'])
  assert.deepEqual(await readFile(join(folder, 'old/disk-0.raw')), first.bytes)
  assert.deepEqual(await readFile(join(folder, 'old/disk-1.raw')), second.bytes)
  await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'new', '--disk', '0'])
  assert.deepEqual(await readFile(join(folder, 'new/disk-0.raw')), await readFile(first.raw))
  assert.deepEqual((await readdir(join(folder, 'new'))).sort(), ['disk-0.raw', 'machine.json'])
  const machine = JSON.parse(await readFile(join(folder, 'new/machine.json'), 'utf8')) as PointJson
  assert.equal(machine.machine, 'web1')
  assert.ok((await stat(join(folder, 'new/disk-0.raw'))).blocks * 512 < 12 * MIB, 'a restored raw disk is sparse')
})

test('A disk comes back as qcow2, VHD, VHDX and VMDK', async () => {
  const folder = await testFolder()
  const { bytes } = await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, ['repo', 'backup', 'store', '-m', 'web1', '-d', '0=disk0.qcow2'])
  for (const format of ['qcow2', 'vhd', 'vhdx', 'vmdk']) {
    await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', format, '--format', format])
    const restored = join(folder, format, `disk-0.${format}`)
    const size = (await stat(restored)).size
    const driver = format === 'vhd' ? 'vpc' : format
    await checkCommand('qemu-img', ['convert', '-f', driver, '-O', 'raw', restored, join(folder, `${format}.raw`)])
    assert.deepEqual((await readFile(join(folder, `${format}.raw`))).subarray(0, DISK_BYTES), bytes, format)
    if (format === 'vhd') assert.equal(size, DISK_BYTES + 512, 'a fixed VHD is the disk and its footer')
    assert.deepEqual((await readdir(join(folder, format))).sort(), [`disk-0.${format}`, 'machine.json'])
  }
})

test('Text goes to people: a table, a summary, and errors with facts and a hint on stderr', async () => {
  const folder = await testFolder()
  await makeImages(folder)
  await run(folder, ['repo', 'init', 'store'])
  const made = await run(folder, ['repo', 'backup', 'store', '-m', 'web1', '-d', '0=disk0.img'])
  assert.match(made.stdout, /^Point [0-9a-f]{32} of web1: full \(first_backup\), crash consistent\./)
  const listed = await run(folder, ['repo', 'list', 'store'])
  assert.match(listed.stdout, /^POINT +MACHINE .*\n[0-9a-f]{12} +web1 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +crash +full +1 /)
  const failed = await run(folder, ['repo', 'show', 'store', 'ffff'])
  assert.deepEqual([failed.code, failed.stdout], [3, ''])
  assert.match(failed.stderr, /^holdfast: There is no point "ffff"\. \(point_not_found\)\n(.*\n)*.*repo list/)
})

test('A wrong passphrase, none, a folder that is no repository, and a point that is not there each say so', async () => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store'])
  const wrong = await runFailing(folder, ['repo', 'list', 'store'], { passphrase: 'wrong' })
  assert.deepEqual([wrong.code, wrong.exitCode], ['key_wrong', 4])
  assert.ok(wrong.hint)
  const none = await runFailing(folder, ['repo', 'list', 'store'], { passphrase: undefined })
  assert.deepEqual([none.code, none.exitCode], ['passphrase_missing', 4])
  await mkdir(join(folder, 'empty'))
  const empty = await runFailing(folder, ['repo', 'list', 'empty'])
  assert.deepEqual([empty.code, empty.exitCode], ['repository_not_found', 3])
  const nowhere = await runFailing(folder, ['repo', 'list', 'nowhere'])
  assert.notEqual(nowhere.exitCode, 70, nowhere.message)
  const point = await runFailing(folder, ['repo', 'show', 'store', 'latest'])
  assert.deepEqual([point.code, point.exitCode], ['point_not_found', 3])
  const again = await runFailing(folder, ['repo', 'init', 'store'])
  assert.deepEqual([again.code, again.exitCode], ['repository_exists', 5])
})

test('A passphrase file or a key file opens a repository, and the wrong key file does not', async () => {
  const folder = await testFolder()
  await writeFile(join(folder, 'words'), 'open sesame\n')
  await writeFile(join(folder, 'key'), Buffer.alloc(32, 7))
  await writeFile(join(folder, 'other'), Buffer.alloc(32, 8))
  const words = { passphrase: undefined, env: { HOLDFAST_PASSPHRASE_FILE: 'words' } }
  await runJson(folder, ['repo', 'init', 'a'], words)
  assert.deepEqual(await runJson(folder, ['repo', 'list', 'a'], { passphrase: 'open sesame' }), [])
  const key = { passphrase: undefined, env: { HOLDFAST_KEY_FILE: 'key' } }
  await runJson(folder, ['repo', 'init', 'b'], key)
  assert.deepEqual(await runJson(folder, ['repo', 'list', 'b'], key), [])
  const other = await runFailing(folder, ['repo', 'list', 'b'], {
    passphrase: undefined,
    env: { HOLDFAST_KEY_FILE: 'other' },
  })
  assert.equal(other.code, 'key_wrong')
  const missing = await runFailing(folder, ['repo', 'list', 'b'], {
    passphrase: undefined,
    env: { HOLDFAST_KEY_FILE: 'nowhere' },
  })
  assert.deepEqual([missing.code, missing.exitCode], ['key_file_unreadable', 4])
})

test('restore refuses a folder that holds one of the files, and writes nothing then', async () => {
  const folder = await testFolder()
  await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, ['repo', 'backup', 'store', '-m', 'web1', '-d', '0=disk0.img', '-d', '1=disk0.qcow2'])
  await mkdir(join(folder, 'to'))
  await writeFile(join(folder, 'to/disk-1.raw'), 'mine')
  const refused = await runFailing(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
  assert.deepEqual([refused.code, refused.exitCode], ['target_exists', 5])
  assert.deepEqual(await readdir(join(folder, 'to')), ['disk-1.raw'])
  assert.equal(await readFile(join(folder, 'to/disk-1.raw'), 'utf8'), 'mine')
})

test('verify names a damaged pack and its points, and exits 1, with the key and without', async () => {
  const folder = await testFolder()
  await makeImages(folder)
  await runJson(folder, ['repo', 'init', 'store'])
  const point = await runJson<PointJson>(folder, ['repo', 'backup', 'store', '-m', 'web1', '-d', '0=disk0.img'])
  const [pack] = (await readdir(join(folder, 'store/packs'), { recursive: true, withFileTypes: true })).filter(
    (entry) => entry.isFile(),
  )
  assert(pack)
  const path = join(pack.parentPath, pack.name)
  const bytes = await readFile(path)
  bytes[Math.floor(bytes.length / 2)] = (bytes[Math.floor(bytes.length / 2)] ?? 0) ^ 0xff
  await checkCommand('chmod', ['u+w', path])
  await writeFile(path, bytes)
  for (const extra of [[], ['--without-key']]) {
    const ran = await run(folder, ['repo', 'verify', 'store', '--output', 'json', ...extra])
    assert.equal(ran.code, 1, ran.stderr)
    const report = JSON.parse(ran.stdout) as VerifyJson
    assert.equal(report.ok, false)
    assert.deepEqual(
      report.damage.map(({ kind, points }) => [kind, points]),
      [['pack_corrupt', [point.id]]],
    )
  }
  const restored = await runFailing(folder, ['repo', 'restore', 'store', 'latest', '--to', 'to'])
  assert.equal(restored.exitCode, 1, `${restored.code}: ${restored.message}`)
  assert.deepEqual(await readdir(join(folder, 'to')), [], 'no file is left that could be taken for the disk')
})

test('What precedes a run is not in its output: stdout of list is JSON alone, also with a rolled-back log or noise', async () => {
  const folder = await testFolder()
  await runJson(folder, ['repo', 'init', 'store'])
  await appendFile(join(folder, 'store/README'), 'not ours')
  assert.deepEqual(await runJson(folder, ['repo', 'list', 'store']), [])
})
