import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isRefusal } from './disk.ts'
import { baseName, diskOfImage, type ImageDisk, planBaseRemoval, whyNoImage } from './image.ts'

const version = (point: string, disk: string) => ({ region: 'eastus', point, disk })
const disk = (lun: ImageDisk['lun'], point: string): ImageDisk => ({
  lun,
  version: version(point, 'd'),
  sizeBytes: 1,
  usedBytes: 1,
})

test('diskOfImage() gives the OS disk without a LUN, data disks by theirs, and says which is not there', () => {
  const backing = { disks: [disk(3, 'p3'), disk('os', 'po'), disk(0, 'p0')] }
  const pointOf = (lun: number | null | undefined): string => {
    const found = diskOfImage(backing, lun)
    return isRefusal(found) ? found.message : found.version.point
  }
  assert.deepEqual([undefined, null, 0, 3].map(pointOf), ['po', 'po', 'p0', 'p3'])
  assert.match(pointOf(1), /no data disk with the LUN 1/)
  assert.ok(isRefusal(diskOfImage({}, undefined)), 'an image that is not made has no disk')
})

test('baseName() tells every version apart and takes nothing that is no plain word for a name', () => {
  const names = [version('a', 'b'), version('b', 'a'), version('a', 'a')].map(baseName)
  assert.equal(new Set(names).size, 3)
  for (const bad of ['..', 'a/b', '', 'x'.repeat(65), 'a.b']) {
    assert.ok(isRefusal(baseName(version(bad, 'd'))), bad)
    assert.ok(isRefusal(baseName(version('p', bad))), bad)
  }
})

test('planBaseRemoval() keeps what any disk, image or overlay names', () => {
  const named = (...names: string[]): ReadonlySet<string> => new Set(names)
  const plan = planBaseRemoval({
    bases: ['by-disk', 'by-image', 'by-file', 'by-none'],
    namedByDisks: named('by-disk'),
    namedByImages: named('by-image', 'not-there'),
    namedByFiles: named('by-file'),
  })
  assert.deepEqual(plan, ['by-none'])
})

test('whyNoImage() says which of generalized and deallocated a machine is not', () => {
  const all = { isGeneralized: true, isDeallocated: true, hasOsDisk: true }
  assert.equal(whyNoImage(all), undefined)
  assert.match(whyNoImage({ ...all, isGeneralized: false })?.message ?? '', /it is not generalized\./)
  assert.match(whyNoImage({ ...all, isDeallocated: false })?.message ?? '', /it is not deallocated\./)
  const neither = whyNoImage({ ...all, isGeneralized: false, isDeallocated: false })
  assert.match(neither?.message ?? '', /it is not generalized and not deallocated\./)
  assert.match(whyNoImage({ ...all, hasOsDisk: false })?.message ?? '', /no OS disk/)
})
