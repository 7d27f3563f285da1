import assert from 'node:assert/strict'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { must } from '#base'
import { openFileSystems } from '#engine/transfer'
import { sectorData } from '../rig/sector-data.ts'
import { assertSameTree, readWhole } from './compare-trees.ts'
import { addCrowd, addLinks, makeBtrfs, makeTree, MODIFIED_S, temporaryWork, type Work } from './make-image.ts'

const FLAVOURS: readonly (readonly string[])[] = [
  [],
  ['--mixed', '-s', '4096'],
  ['-n', '65536', '--csum', 'sha256', '-O', 'no-holes'],
  ['-m', 'dup', '-d', 'dup'],
]

async function makeOne(work: Work, options: readonly string[]): Promise<Readonly<{ folder: string; image: string }>> {
  const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
  await mkdir(folder)
  await makeTree(folder)
  await addLinks(folder)
  await addCrowd(folder, 400)
  await makeBtrfs(image, folder, 160, options)
  return { folder, image }
}

/** Overwrites the sector that begins with these bytes, wherever it is; returns how often. */
async function spoil(image: string, sector: Buffer, copies: number): Promise<number> {
  const bytes = await readFile(image)
  const file = await open(image, 'r+')
  let found = 0
  for (let at = bytes.indexOf(sector); at >= 0 && found < copies; at = bytes.indexOf(sector, at + 512)) {
    await file.write(Buffer.from('spoilt'), 0, 6, at)
    found += 1
  }
  await file.close()
  return found
}

describe('openFileSystems() on Btrfs', () => {
  for (const options of FLAVOURS) {
    it(`reads every file, link and folder as it was put in (mkfs.btrfs ${options.join(' ')})`, async () => {
      await using work = await temporaryWork()
      const { folder, image } = await makeOne(work, [...options, '-L', 'ein Etikett'])
      const { fileSystems, refused } = await openFileSystems(await work.open(image))
      assert.deepEqual(refused, [])
      const { kind, label, notes, root } = must(fileSystems[0], 'There is one file system')
      assert.deepEqual([kind, label, notes], ['btrfs', 'ein Etikett', []])
      assert.equal(await assertSameTree(root, '/', folder), 413)
      const small = await root.stat('/etc/small')
      assert.deepEqual([small.mode, small.modifiedMs], [0o640, MODIFIED_S * 1000])
    })
  }

  it('says that checksums of a kind that is not calculated were not compared', async () => {
    await using work = await temporaryWork()
    const { folder, image } = await makeOne(work, ['--csum', 'xxhash'])
    const { fileSystems } = await openFileSystems(await work.open(image))
    const { notes, root } = must(fileSystems[0], 'There is one file system')
    assert.match(notes.join(), /xxhash/)
    assert.equal(await assertSameTree(root, '/', folder), 413)
  })

  it('gives no wrong byte: another copy where there is one, else an error', async () => {
    await using work = await temporaryWork()
    const sector = sectorData(2, 3, 1, 1)
    const twice = await makeOne(work, ['-d', 'dup'])
    assert.equal(await spoil(twice.image, sector, 1), 1)
    const { fileSystems } = await openFileSystems(await work.open(twice.image))
    const { root } = must(fileSystems[0], 'There is one file system')
    assert.ok((await readWhole(root, '/etc/two-blocks')).equals(sectorData(2, 0, 16, 1)))
    assert.ok((await spoil(twice.image, sector, 2)) > 0)
    const spoilt = must((await openFileSystems(await work.open(twice.image))).fileSystems[0], 'It is still there')
    await assert.rejects(readWhole(spoilt.root, '/etc/two-blocks'), { code: 'files_damaged', message: /checksum/ })
  })
})
