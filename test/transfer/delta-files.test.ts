/** A file system whose changes are delta nodes: its files are read from the point as the last version has them. */
import assert from 'node:assert/strict'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB, must } from '#base'
import { MemoryDevice } from '#engine/block'
import { isDelta, MemoryStore } from '#engine/repository'
import {
  copyPoints,
  openFileSystems,
  openVersion,
  restoreDisk,
  verifyWithKey,
  verifyWithoutKey,
} from '#engine/transfer'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { assertSameTree } from '../files/compare-trees.ts'
import { makeExt } from '../files/make-image.ts'
import { sectorData } from '../rig/sector-data.ts'
import { DeltaDisk } from './delta-disk.ts'

const DEBUGFS = '/usr/sbin/debugfs'

test('Files of a version with delta nodes are as they were last written; it is verified, and is the same in a copy', async (t) => {
  const disk = await DeltaDisk.make(32 * MIB)
  t.after(() => disk.remove())
  const { repository, descriptor } = disk
  const [folder, image] = [join(disk.folder, 'in'), join(disk.folder, 'image')]
  await mkdir(folder)
  await writeFile(join(folder, 'large'), sectorData(1, 0, 8192, 1))
  await writeFile(join(folder, 'gone'), sectorData(2, 0, 3, 1))
  await makeExt(image, folder, 32, ['-t', 'ext4'])
  disk.replace(await readFile(image))
  await disk.backUp()
  await checkCommand(DEBUGFS, ['-w', '-R', 'rm /gone', image])
  for (let cycle = 0; cycle < 3; cycle += 1) {
    const late = join(folder, `late-${cycle}`)
    await writeFile(late, sectorData(3, 0, 20 + cycle, cycle))
    await checkCommand(DEBUGFS, ['-w', '-R', `write ${late} late-${cycle}`, image])
    disk.replace(await readFile(image))
    assert.ok(isDelta((await disk.backUp()).disk.root), `cycle ${cycle} makes a delta node`)
  }
  const last = must(disk.versions.at(-1), 'It was made')
  await rm(join(folder, 'gone'))
  const source = await openVersion(repository, last.disk, { store: descriptor })
  const { fileSystems, refused } = await openFileSystems(source)
  assert.deepEqual(refused, [])
  const { root } = must(fileSystems[0], 'There is one')
  assert.equal(await assertSameTree(root, '/', folder, ['lost+found']), 4)
  await source.close()

  const withKey = await verifyWithKey(repository, { store: descriptor })
  assert.deepEqual([withKey.ok, withKey.damage], [true, []])
  const environment = { clock: systemClock, random: systemRandom }
  const keyless = await verifyWithoutKey(disk.opened, environment, { store: descriptor })
  assert.deepEqual([keyless.ok, keyless.damage], [true, []])

  const store = new MemoryStore({ name: 'copy' })
  const copy = await disk.emptyCopy(store)
  t.after(() => copy.close())
  await copyPoints(repository, copy, repository.points(), { random: systemRandom })
  for (const { point, bytes } of disk.versions) {
    const target = new MemoryDevice(bytes.length)
    const [copied] = copy.findPoint(point.id).disks
    await restoreDisk(copy, must(copied, 'One disk'), { opened: target }, { store, clock: systemClock })
    const restored = Buffer.alloc(bytes.length)
    await target.read(0, restored)
    assert.ok(restored.equals(bytes))
  }
  assert.ok((await verifyWithKey(copy, { store })).ok)
})
