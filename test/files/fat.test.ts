import assert from 'node:assert/strict'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { MIB, must } from '#base'
import { type OpenedFileSystem, openFileSystems } from '#engine/transfer'
import { checkCommand } from '#runtime'
import { assertSameTree } from './compare-trees.ts'
import { addCrowd, makeMbrDisk, makeTree, temporaryWork, type Work } from './make-image.ts'

const FLAVOURS = [
  { kind: 'fat12', sizeMib: 20, options: ['-F', '12', '-s', '16'] },
  { kind: 'fat16', sizeMib: 64, options: ['-F', '16', '-s', '4'] },
  { kind: 'fat32', sizeMib: 80, options: ['-F', '32', '-s', '1'] },
] as const

async function fill(image: string, folder: string): Promise<void> {
  const names = (await readdir(folder)).map((name) => join(folder, name))
  await checkCommand('mcopy', ['-s', '-m', '-i', `${image}@@1M`, ...names, '::/'], { env: { LC_ALL: 'C.UTF-8' } })
}

async function makeFat(work: Work, flavour: (typeof FLAVOURS)[number]): Promise<OpenedFileSystem> {
  const image = join(work.path, 'image')
  await makeMbrDisk(image, flavour.sizeMib, 'c')
  const blocks = String((flavour.sizeMib - 1) * 1024)
  await checkCommand('/usr/sbin/mkfs.vfat', [...flavour.options, '-n', 'A LABEL', '--offset', '2048', image, blocks])
  const folder = join(work.path, 'in')
  await mkdir(folder)
  await makeTree(folder)
  await addCrowd(folder, 300)
  await fill(image, folder)
  const { fileSystems } = await openFileSystems(await work.open(image))
  return must(fileSystems[0], 'There is one file system')
}

describe('openFileSystems() on FAT', () => {
  for (const flavour of FLAVOURS) {
    it(`reads every file and folder of a ${flavour.kind} partition as it was put in`, async () => {
      await using work = await temporaryWork()
      const { kind, label, partition, root } = await makeFat(work, flavour)
      assert.equal(kind, flavour.kind)
      assert.equal(label, 'A LABEL')
      assert.equal(partition.number, 1)
      assert.equal(partition.offsetBytes, MIB)
      assert.equal(await assertSameTree(root, '/', join(work.path, 'in')), 310)
    })
  }

  it('reads a disk that is one FAT file system without partitions', async () => {
    await using work = await temporaryWork()
    const image = join(work.path, 'image')
    await checkCommand('/usr/sbin/mkfs.vfat', ['-C', '-F', '16', image, '20480'])
    const { fileSystems } = await openFileSystems(await work.open(image))
    assert.deepEqual(
      fileSystems.map(({ kind, partition }) => [kind, partition.number]),
      [['fat16', 0]],
    )
  })
})
