/** Our NBD server as other programs see it: nbdinfo, nbdcopy, qemu-img, qemu-io. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { dirtyContext, MemoryDevice, type NbdServer, serveNbd, stampedBytes } from '#engine/block'
import { codeOf, run, testFolder } from './tools.ts'

const MIB = 1024 * 1024
const SIZE = 64 * MIB
const BITMAP = 'qemu:dirty-bitmap:b0'

let folder = ''
let server: NbdServer
const disk = new MemoryDevice(SIZE)
const uri = (name: string): string => `nbd+unix:///${name}?socket=${join(folder, 'nbd')}`

before(async () => {
  folder = await testFolder()
  disk.writeSync(0, stampedBytes({ disk: 1, version: 1 }, 0, 3 * MIB))
  disk.writeSync(40 * MIB, stampedBytes({ disk: 1, version: 1 }, 40 * MIB, 20 * MIB + 512))
  const contexts = new Map([[BITMAP, dirtyContext([{ offset: 65_536, length: 131_072 }])]])
  server = await serveNbd({
    listen: { socketPath: join(folder, 'nbd') },
    exports: (name) =>
      name === 'rw' ? { source: disk, target: disk } : name === 'ro' ? { source: disk, contexts } : undefined,
    list: () => ['ro', 'rw'],
  })
})
after(() => server.close())

describe('serveNbd()', () => {
  it('is listed and described by nbdinfo', async () => {
    const listed: unknown = JSON.parse(await run('nbdinfo', '--json', '--list', uri('')))
    const { exports } = listed as { exports: Record<string, unknown>[] }
    assert.deepEqual(
      exports.map((one) => [one['export-name'], one['export-size'], one['is_read_only'], one['can_multi_conn']]),
      [
        ['ro', SIZE, true, true],
        ['rw', SIZE, false, true],
      ],
    )
    assert.deepEqual(exports[0]?.['contexts'], ['base:allocation', BITMAP])
  })

  it('tells nbdinfo where data is and what is dirty', async () => {
    const map = JSON.parse(await run('nbdinfo', '--json', '--map', uri('ro'))) as Record<string, unknown>[]
    assert.deepEqual(
      map.map((one) => [one['offset'], one['length'], one['type']]),
      [
        [0, 3 * MIB, 0],
        [3 * MIB, 37 * MIB, 3],
        [40 * MIB, 20 * MIB + 65_536, 0],
        [60 * MIB + 65_536, 4 * MIB - 65_536, 3],
      ],
    )
    const dirty = JSON.parse(await run('nbdinfo', '--json', `--map=${BITMAP}`, uri('ro'))) as Record<string, unknown>[]
    assert.deepEqual(
      dirty.map((one) => [one['offset'], one['length'], one['type']]),
      [
        [0, 65_536, 0],
        [65_536, 131_072, 1],
        [196_608, SIZE - 196_608, 0],
      ],
    )
  })

  it('gives nbdcopy and qemu-img the same bytes, and takes them back', async () => {
    const [copied, converted] = [join(folder, 'copied.raw'), join(folder, 'converted.qcow2')]
    await run('nbdcopy', uri('ro'), copied)
    await run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', copied, uri('ro'))
    await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', uri('ro'), converted)
    await run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', converted, copied)
    const before = Buffer.from(disk.toBytes())
    disk.writeSync(0, stampedBytes({ disk: 1, version: 2 }, 0, 5 * MIB))
    await run('nbdcopy', copied, uri('rw'))
    assert.ok(before.equals(disk.toBytes()), 'nbdcopy wrote the disk back as it was')
  })

  it('takes every kind of write of qemu-io, and passes flush on', async () => {
    const flushes = disk.flushes
    await run(
      'qemu-io',
      '-f',
      'raw',
      '-c',
      'write -P 0x5a 5M 100k',
      '-c',
      'write -z 5242880 512',
      '-c',
      'discard 50M 1M',
      '-c',
      'write -f -P 7 6M 4k',
      '-c',
      'flush',
      uri('rw'),
    )
    const bytes = Buffer.from(disk.toBytes())
    assert.ok(bytes.subarray(5 * MIB, 5 * MIB + 512).every((byte) => byte === 0))
    assert.ok(bytes.subarray(5 * MIB + 512, 5 * MIB + 102_400).every((byte) => byte === 0x5a))
    assert.ok(bytes.subarray(50 * MIB, 51 * MIB).every((byte) => byte === 0))
    assert.ok(bytes.subarray(6 * MIB, 6 * MIB + 4096).every((byte) => byte === 7))
    assert.ok(disk.flushes > flushes)
  })

  it('lets nobody write to a read-only export, or find what is not there', async () => {
    assert.equal(await codeOf(run('qemu-io', '-f', 'raw', '-c', 'write 0 512', uri('ro'))), 'command_failed')
    assert.equal(await codeOf(run('nbdinfo', uri('none'))), 'command_failed')
  })
})
