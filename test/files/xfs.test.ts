import assert from 'node:assert/strict'
import { mkdir, open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { must } from '#base'
import { openFileSystems } from '#engine/transfer'
import { assertSameTree } from './compare-trees.ts'
import { addCrowd, addLinks, makeTree, makeXfs, temporaryWork, type Work } from './make-image.ts'

const FLAVOURS: readonly (readonly string[])[] = [
  [],
  ['-m', 'crc=0', '-i', 'size=256'],
  ['-m', 'crc=0', '-n', 'ftype=0', '-b', 'size=1024'],
  ['-b', 'size=1024', '-n', 'size=8192'],
  ['-m', 'bigtime=0,reflink=0,finobt=0', '-i', 'size=2048,sparse=0'],
  ['-i', 'nrext64=1', '-s', 'size=4096', '-n', 'size=16384'],
]

/** mkfs.xfs takes no names with spaces. */
async function makePlainTree(folder: string): Promise<void> {
  await mkdir(folder)
  await makeTree(folder)
  await rename(join(folder, 'Ünïcödé and a rather long name.txt'), join(folder, 'Ünïcödé-and-a-rather-long-name.txt'))
  await addLinks(folder)
  await addCrowd(folder, 400)
}

async function makeOne(work: Work, options: readonly string[]): Promise<Readonly<{ folder: string; image: string }>> {
  const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
  await makePlainTree(folder)
  await makeXfs(image, folder, 160, options)
  return { folder, image }
}

describe('openFileSystems() on XFS', () => {
  for (const options of FLAVOURS) {
    it(`reads every file, link and folder as it was put in (mkfs.xfs ${options.join(' ')})`, async () => {
      await using work = await temporaryWork()
      const { folder, image } = await makeOne(work, [...options, '-L', 'ein-label'])
      const { fileSystems, refused } = await openFileSystems(await work.open(image))
      assert.deepEqual(refused, [])
      const { kind, label, notes, root } = must(fileSystems[0], 'There is one file system')
      assert.deepEqual([kind, label, notes], ['xfs', 'ein-label', []])
      assert.equal(await assertSameTree(root, '/', folder), 413)
      assert.equal((await root.stat('/etc/small')).mode, 0o640)
      assert.equal((await root.stat('/etc/two-blocks')).mode, 0o4755)
    })
  }

  it('says why a file system is not read that asks for repair, or has a feature that is not known', async () => {
    await using work = await temporaryWork()
    const { image } = await makeOne(work, [])
    for (const [bits, words] of [
      [0x10, /xfs_repair/],
      [0x4000, /feature/],
    ] as const) {
      const file = await open(image, 'r+')
      const incompat = Buffer.alloc(4)
      incompat.writeUInt32BE(bits | 1)
      await file.write(incompat, 0, 4, 216)
      await file.close()
      const { refused } = await openFileSystems(await work.open(image))
      assert.equal(refused[0]?.kind, 'xfs')
      assert.match(refused[0].refusal, words)
    }
  })
})
