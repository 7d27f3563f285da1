import assert from 'node:assert/strict'
import { mkdir, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { isHoldfastError, MIB, must } from '#base'
import { type OpenedFileSystem, openFileSystems } from '#engine/transfer'
import { checkCommand, systemClock } from '#runtime'
import { sectorData } from '../rig/sector-data.ts'
import { assertSameTree, readWhole } from './compare-trees.ts'
import { addCrowd, addLinks, makeExt, makeTree, MODIFIED_S, SPARSE, temporaryWork, type Work } from './make-image.ts'

const FLAVOURS: readonly Readonly<{ name: string; kind: string; options: readonly string[] }>[] = [
  { name: 'ext2 with 1 KiB blocks', kind: 'ext2', options: ['-t', 'ext2', '-b', '1024'] },
  { name: 'ext3', kind: 'ext3', options: ['-t', 'ext3', '-b', '4096'] },
  { name: 'ext4', kind: 'ext4', options: ['-t', 'ext4', '-L', 'some-label'] },
  {
    name: 'ext4 with 64 bits, meta_bg and 1 KiB blocks',
    kind: 'ext4',
    options: ['-t', 'ext4', '-b', '1024', '-O', '64bit,meta_bg,^resize_inode'],
  },
  {
    name: 'ext4 without 64 bits or checksums',
    kind: 'ext4',
    options: ['-t', 'ext4', '-O', '^64bit,^metadata_csum', '-I', '128'],
  },
  { name: 'ext4 with data in inodes', kind: 'ext4', options: ['-t', 'ext4', '-O', 'inline_data', '-I', '256'] },
]

async function onlyFileSystem(work: Work, image: string): Promise<OpenedFileSystem> {
  const contents = await openFileSystems(await work.open(image))
  assert.deepEqual(contents.refused, [])
  return must(contents.fileSystems[0], 'There is one file system')
}

describe('openFileSystems() on ext', () => {
  for (const { name, kind, options } of FLAVOURS) {
    it(`reads every file, link and folder of ${name} as it was put in`, async () => {
      await using work = await temporaryWork()
      const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
      await mkdir(folder)
      await makeTree(folder)
      await addLinks(folder)
      await makeExt(image, folder, 64, options)
      const fileSystem = await onlyFileSystem(work, image)
      assert.equal(fileSystem.kind, kind)
      assert.deepEqual(fileSystem.notes, [])
      assert.equal(await assertSameTree(fileSystem.root, '/', folder, ['lost+found']), 12)
    })
  }

  it('shows the label, owners, modes, times and link targets', async () => {
    await using work = await temporaryWork()
    const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
    await mkdir(folder)
    await makeTree(folder)
    await addLinks(folder)
    await makeExt(image, folder, 32, ['-t', 'ext4', '-L', 'some-label'])
    await checkCommand('/usr/sbin/debugfs', ['-w', '-R', 'sif /etc/small uid 70001', image])
    await checkCommand('/usr/sbin/debugfs', ['-w', '-R', 'sif /etc/small gid 33', image])
    const { label, root } = await onlyFileSystem(work, image)
    assert.equal(label, 'some-label')
    const small = await root.stat('/etc/small')
    assert.equal(small.mode, 0o640)
    assert.equal(small.modifiedMs, MODIFIED_S * 1000)
    assert.equal(small.userId, 70_001)
    assert.equal(small.groupId, 33)
    assert.equal((await root.stat('/short-link')).linkTarget, '/etc/passwd')
    assert.equal((await root.stat('etc/two-blocks')).mode, 0o4755)
  })

  it('gives the data of a sparse file without its hole, and zeros for the hole when asked', async () => {
    await using work = await temporaryWork()
    const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
    await mkdir(folder)
    await makeTree(folder)
    await makeExt(image, folder, 32, ['-t', 'ext4'])
    const { root } = await onlyFileSystem(work, image)
    let dataBytes = 0
    for await (const piece of root.readPieces('/sparse')) dataBytes += piece.data.length
    assert.ok(dataBytes < MIB, `${dataBytes} bytes of data`)
    const whole = await readWhole(root, '/sparse')
    assert.ok(whole.subarray(SPARSE.tailAtBytes).equals(sectorData(5, 100, SPARSE.tailSectors, 1)))
    assert.equal(whole.length, SPARSE.tailAtBytes + SPARSE.tailSectors * 512)
  })

  it('lists a hashed folder of 5,000 files in two seconds', async () => {
    await using work = await temporaryWork()
    const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
    await mkdir(folder)
    await addCrowd(folder, 5_000)
    await makeExt(image, folder, 64, ['-t', 'ext4', '-N', '8000'])
    await checkCommand('/usr/sbin/e2fsck', ['-f', '-y', '-D', image]).catch((error: unknown) => {
      // e2fsck exits with 1 when it changed something, which is what -D is for.
      if (!isHoldfastError(error, 'command_failed') || error.facts['exitCode'] !== 1) throw error
    })
    const { root } = await onlyFileSystem(work, image)
    const startMs = systemClock.monotonicMs()
    const entries = await root.list('/crowd')
    assert.ok(systemClock.monotonicMs() - startMs < 2_000)
    assert.equal(entries.length, 5_000)
    assert.equal((await readWhole(root, '/crowd/entry-4321')).toString(), '4321')
  })

  it('says that a journal could not be replayed, and shows the files all the same; an empty one is no matter', async () => {
    await using work = await temporaryWork()
    const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
    await mkdir(folder)
    await makeTree(folder)
    await makeExt(image, folder, 32, ['-t', 'ext4'])
    await checkCommand('/usr/sbin/debugfs', ['-w', '-R', 'feature needs_recovery', image])
    const empty = await onlyFileSystem(work, image)
    assert.deepEqual(empty.notes, [])
    const blocks = await checkCommand('/usr/sbin/debugfs', ['-R', 'blocks <8>', image])
    const [first] = blocks.stdout.toString('latin1').trim().split(' ')
    await checkCommand('/usr/sbin/debugfs', ['-w', '-R', `zap_block -p 0xaa ${first}`, image])
    const hurt = await onlyFileSystem(work, image)
    assert.match(hurt.notes.join(), /^Its journal cannot be replayed/)
    assert.equal(await assertSameTree(hurt.root, '/', folder, ['lost+found']), 9)
  })

  it('refuses a path that does not exist, leads upwards, or goes through a file or a link', async () => {
    await using work = await temporaryWork()
    const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
    await mkdir(folder)
    await makeTree(folder)
    await addLinks(folder)
    await makeExt(image, folder, 32, ['-t', 'ext4'])
    const { root } = await onlyFileSystem(work, image)
    await assert.rejects(root.stat('/etc/none'), { code: 'files_not_found' })
    await assert.rejects(root.stat('/etc/../etc'), { code: 'files_name_unsafe' })
    await assert.rejects(root.list('/etc/small'), { code: 'files_not_a_folder' })
    await assert.rejects(root.list('/etc/up'), { code: 'files_not_a_folder', hint: /link to \.\./ })
    await assert.rejects(readWhole(root, '/etc'), { code: 'files_not_a_file' })
  })
})

describe('openFileSystems() on what it cannot read', () => {
  it('names what it recognises and says why it is not read', async () => {
    await using work = await temporaryWork()
    const image = join(work.path, 'image')
    await checkCommand('qemu-img', ['create', '-q', '-f', 'raw', image, '64M'])
    const { refused } = await openFileSystems(await work.open(image))
    assert.equal(refused[0]?.kind, 'unknown')
    await checkCommand('/usr/sbin/mkswap', [image])
    const swap = await openFileSystems(await work.open(image))
    assert.equal(swap.refused[0]?.kind, 'swap')
    assert.equal((await stat(image)).size, 64 * MIB)
    const file = await open(image, 'r+')
    await file.write('LABELONE', 512)
    await file.close()
    assert.equal((await openFileSystems(await work.open(image))).refused[0]?.kind, 'lvm2')
  })
})
