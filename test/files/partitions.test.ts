import assert from 'node:assert/strict'
import { mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { MIB } from '#base'
import { type DiskContents, openFileSystems } from '#engine/transfer'
import { checkCommand } from '#runtime'
import { readWhole } from './compare-trees.ts'
import { temporaryWork, type Work } from './make-image.ts'

/** A disk with the partitions of an sfdisk script and an ext4 file system, holding its own number, in each of `ext`. */
async function makeDisk(work: Work, script: string, ext: Readonly<Record<string, number>>): Promise<string> {
  const image = join(work.path, 'image')
  await writeFile(image, '')
  await truncate(image, 64 * MIB)
  await checkCommand('/usr/sbin/sfdisk', ['-q', image], { input: script })
  for (const [name, offsetMib] of Object.entries(ext)) {
    const folder = join(work.path, name)
    await mkdir(folder)
    await writeFile(join(folder, 'name'), name)
    await checkCommand('/usr/sbin/mke2fs', [
      '-q',
      '-F',
      '-t',
      'ext4',
      '-E',
      `offset=${offsetMib * MIB}`,
      '-d',
      folder,
      image,
      '8M',
    ])
  }
  return image
}

async function namesIn(contents: DiskContents): Promise<string[]> {
  return Promise.all(
    contents.fileSystems.map(async ({ partition, root }) => {
      const name = (await readWhole(root, '/name')).toString()
      return `${partition.number} ${partition.offsetBytes / MIB} ${name}`
    }),
  )
}

async function overwrite(image: string, offset: number, data: Buffer): Promise<void> {
  const file = await open(image, 'r+')
  await file.write(data, 0, data.length, offset)
  await file.close()
}

const MBR = `label: dos
start=1MiB, size=8MiB, type=83
start=10MiB, size=50MiB, type=5
start=11MiB, size=8MiB, type=83
start=21MiB, size=9MiB, type=82
start=31MiB, size=8MiB, type=83
`
const GPT = 'label: gpt\nstart=1MiB, size=8MiB, name="first one"\nstart=12MiB, size=8MiB, name="zweite ü"\n'

describe('openFileSystems() on partitioned disks', () => {
  it('finds primary and logical partitions of an MBR under the numbers that Linux gives them', async () => {
    await using work = await temporaryWork()
    const image = await makeDisk(work, MBR, { one: 1, five: 11, seven: 31 })
    const contents = await openFileSystems(await work.open(image))
    assert.deepEqual(await namesIn(contents), ['1 1 one', '5 11 five', '7 31 seven'])
    assert.deepEqual(
      contents.refused.map(({ partition }) => [partition.number, partition.type]),
      [[6, '82']],
    )
  })

  it('ends at a list of logical partitions that runs in a circle, says so, and shows what stands before', async () => {
    await using work = await temporaryWork()
    const image = await makeDisk(work, MBR, { one: 1, five: 11 })
    const second = (await readFile(image)).subarray(10 * MIB, 10 * MIB + 512)
    // The second record's link (its second entry, relative to the extended partition) is made to lead to itself.
    const nextRecordAt = 10 * MIB + second.readUInt32LE(446 + 16 + 8) * 512
    await overwrite(image, nextRecordAt + 446 + 16 + 8, second.subarray(446 + 16 + 8, 446 + 16 + 12))
    const contents = await openFileSystems(await work.open(image))
    assert.match(contents.notes.join(), /circle/)
    assert.deepEqual(await namesIn(contents), ['1 1 one', '5 11 five'])
  })

  it('reads a GPT and the names of its partitions', async () => {
    await using work = await temporaryWork()
    const image = await makeDisk(work, GPT, { one: 1, two: 12 })
    const contents = await openFileSystems(await work.open(image))
    assert.deepEqual(await namesIn(contents), ['1 1 one', '2 12 two'])
    assert.deepEqual(
      contents.fileSystems.map(({ partition }) => partition.name),
      ['first one', 'zweite ü'],
    )
    assert.equal(contents.fileSystems[0]?.partition.type, '0fc63daf-8483-4772-8e79-3d69d8477de4')
    assert.deepEqual(contents.notes, [])
  })

  for (const [what, offset] of [
    ['header', 512 + 90],
    ['table', 1024 + 40],
  ] as const) {
    it(`uses the second copy of a GPT whose first ${what} has one wrong byte, and says so`, async () => {
      await using work = await temporaryWork()
      const image = await makeDisk(work, GPT, { one: 1, two: 12 })
      await overwrite(image, offset, Buffer.of(0x5a))
      const contents = await openFileSystems(await work.open(image))
      assert.deepEqual(await namesIn(contents), ['1 1 one', '2 12 two'])
      assert.match(contents.notes.join(), /second copy/)
    })
  }

  it('says so when both copies of a GPT are damaged', async () => {
    await using work = await temporaryWork()
    const image = await makeDisk(work, GPT, {})
    await overwrite(image, 512 + 90, Buffer.of(0x5a))
    await overwrite(image, 64 * MIB - 512 + 90, Buffer.of(0x5a))
    await assert.rejects(openFileSystems(await work.open(image)), { code: 'files_damaged', message: /GPT/ })
  })
})
