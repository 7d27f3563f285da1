import assert from 'node:assert/strict'
import { lstat, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { must } from '#base'
import { type Extracted, extractFiles, openFileSystems } from '#engine/transfer'
import { checkCommand } from '#runtime'
import { assertSameTree } from './compare-trees.ts'
import { addLinks, makeExt, makeTree, MODIFIED_S, SPARSE, temporaryWork, type Work } from './make-image.ts'

type Prepared = Readonly<{
  image: string
  folder: string
  target: string
  extract: (path: string) => Promise<Extracted>
}>

async function prepare(work: Work, debugfs: readonly string[] = []): Promise<Prepared> {
  const [folder, image, target] = [join(work.path, 'in'), join(work.path, 'image'), join(work.path, 'out')]
  await mkdir(folder)
  await mkdir(target)
  await makeTree(folder)
  await addLinks(folder)
  await makeExt(image, folder, 32, ['-t', 'ext4'])
  for (const request of debugfs) await checkCommand('/usr/sbin/debugfs', ['-w', '-R', request, image])
  const { fileSystems } = await openFileSystems(await work.open(image))
  const { root, partition } = must(fileSystems[0], 'There is one file system')
  const extract = (path: string): Promise<Extracted> =>
    extractFiles(root, path, { targetFolder: target, fileSystemBytes: partition.sizeBytes })
  return { image, folder, target, extract }
}

describe('extractFiles()', () => {
  it('brings out a whole tree with links, modes and times, and drops set-id bits', async () => {
    await using work = await temporaryWork()
    const { image, target, extract } = await prepare(work)
    const result = await extract('/')
    assert.deepEqual(result.skipped, [])
    assert.equal(result.links, 3)
    const { fileSystems } = await openFileSystems(await work.open(image))
    await assertSameTree(must(fileSystems[0], 'There is one').root, '/', target)
    const small = await stat(join(target, 'etc/small'))
    assert.equal(small.mode & 0o7777, 0o640)
    assert.equal(small.mtimeMs, MODIFIED_S * 1000)
    assert.equal((await stat(join(target, 'etc/two-blocks'))).mode & 0o7777, 0o755)
    assert.equal(await readlink(join(target, 'short-link')), '/etc/passwd')
    const sparse = await stat(join(target, 'sparse'))
    assert.equal(sparse.size, SPARSE.tailAtBytes + SPARSE.tailSectors * 512)
    assert.ok(sparse.blocks * 512 < 1024 * 1024, 'the hole stayed a hole')
  })

  it('brings out one file under its own name', async () => {
    await using work = await temporaryWork()
    const { folder, target, extract } = await prepare(work)
    assert.equal((await extract('etc/deep/er/large')).files, 1)
    assert.deepEqual(await readdir(target), ['large'])
    assert.ok((await readFile(join(target, 'large'))).equals(await readFile(join(folder, 'etc/deep/er/large'))))
  })

  it('neither replaces what exists nor writes through a link that stands there', async () => {
    await using work = await temporaryWork()
    const { target, extract } = await prepare(work)
    const [victim, outside] = [join(work.path, 'victim'), join(work.path, 'outside')]
    await writeFile(victim, 'untouched')
    await mkdir(outside)
    await symlink(victim, join(target, 'sparse'))
    await symlink(outside, join(target, 'etc'))
    const result = await extract('/')
    assert.deepEqual(result.skipped.map(({ path }) => path).sort(), ['/etc', '/sparse'])
    assert.equal(await readFile(victim, 'utf8'), 'untouched')
    assert.deepEqual(await readdir(outside), [])
    assert.equal((await lstat(join(target, 'etc'))).isSymbolicLink(), true)
  })

  it('leaves devices out and says so', async () => {
    await using work = await temporaryWork()
    const { extract } = await prepare(work, ['mknod disk b 8 0', 'mknod pipe p'])
    assert.deepEqual((await extract('/')).skipped.map(({ path }) => path).sort(), ['/disk', '/pipe'])
  })

  it('ends at a folder that contains itself', async () => {
    await using work = await temporaryWork()
    const { extract } = await prepare(work, ['link /etc /etc/deep/again'])
    await assert.rejects(extract('/etc'), { code: 'files_damaged' })
  })
})
