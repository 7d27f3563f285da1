import assert from 'node:assert/strict'
import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { errnoOf, must } from '#base'
import { type FileTree, openFileSystems } from '#engine/transfer'
import { checkCommand } from '#runtime'
import { sectorData } from '../rig/sector-data.ts'
import { assertSameTree, readWhole } from './compare-trees.ts'
import { addCrowd, cannotMountNtfs, makeNtfs, makeTree, MODIFIED_S, temporaryWork, type Work } from './make-image.ts'

async function openOnly(work: Work, image: string): Promise<FileTree> {
  const { fileSystems, refused } = await openFileSystems(await work.open(image))
  assert.deepEqual(refused, [])
  const { kind, label, root } = must(fileSystems[0], 'There is one file system')
  assert.equal(kind, 'ntfs')
  assert.equal(label, 'Ein Etikett')
  return root
}

/** Fills the file system with files of one cluster, frees every other, and writes one file into what is free. */
async function fragment(folder: string): Promise<number> {
  const small = join(folder, 'small')
  await mkdir(small)
  for (let i = 0; ; i += 1) {
    try {
      await writeFile(join(small, `s${i}`), sectorData(1, i * 8, 8, 1))
    } catch (error) {
      if (errnoOf(error) === 'ENOSPC') break
      throw error
    }
  }
  const names = (await readdir(small)).sort()
  for (const [index, name] of names.entries()) if (index % 2 === 0) await rm(join(small, name))
  const sectors = Math.floor(names.length / 2 - 40) * 8
  await writeFile(join(folder, 'fragmented'), sectorData(9, 0, sectors, 1))
  return sectors
}

describe('openFileSystems() on NTFS', { skip: cannotMountNtfs() }, () => {
  for (const clusterBytes of [512, 4096]) {
    it(`reads every file and folder as it was put in, with clusters of ${clusterBytes} bytes`, async () => {
      await using work = await temporaryWork()
      const folder = join(work.path, 'in')
      await mkdir(folder)
      await makeTree(folder)
      await addCrowd(folder, 700)
      const image = await makeNtfs(work, 32, clusterBytes, async (mountpoint) => {
        await checkCommand('cp', ['-r', '--sparse=always', `${folder}/.`, mountpoint])
        await utimes(join(mountpoint, 'etc/small'), MODIFIED_S, MODIFIED_S)
      })
      const root = await openOnly(work, image)
      assert.equal(await assertSameTree(root, '/', folder), 710)
      assert.equal((await root.stat('/etc/small')).modifiedMs, MODIFIED_S * 1000)
      let dataBytes = 0
      for await (const piece of root.readPieces('/sparse')) dataBytes += piece.data.length
      assert.ok(dataBytes < 1024 * 1024, `${dataBytes} bytes of data in the sparse file`)
    })
  }

  it('reads a file in more pieces than its record can list', async () => {
    await using work = await temporaryWork()
    let sectors = 0
    const image = await makeNtfs(work, 12, 4096, async (mountpoint) => {
      sectors = await fragment(mountpoint)
    })
    const info = await checkCommand('ntfsinfo', ['-F', '/fragmented', image])
    assert.match(info.stdout.toString('latin1'), /\$ATTRIBUTE_LIST/)
    const root = await openOnly(work, image)
    assert.ok((await readWhole(root, '/fragmented')).equals(sectorData(9, 0, sectors, 1)))
    assert.ok((await readWhole(root, '/small/s77')).equals(sectorData(1, 77 * 8, 8, 1)))
  })

  it('refuses compressed data by name', async () => {
    await using work = await temporaryWork()
    const fill = (mountpoint: string): Promise<void> =>
      writeFile(join(mountpoint, 'text'), 'the same again and again\n'.repeat(10_000))
    const image = await makeNtfs(work, 16, 4096, fill, ['-C'])
    const root = await openOnly(work, image)
    assert.equal((await root.stat('/text')).sizeBytes, 250_000)
    await assert.rejects(readWhole(root, '/text'), { code: 'files_unsupported', message: /compressed/ })
  })
})
