/** A restore that is killed, and restores onto file systems that are full or know no direct writes. Mounts need root. */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { MIB } from '#base'
import { openStore, type PointRecord, Repository } from '#engine/repository'
import { createRawTarget } from '#engine/block'
import { restoreDisk, restoreToQcow2 } from '#engine/transfer'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { runJson, start, testFolder } from './command-line.ts'
import { writeRaw } from './images.ts'

const SIZE = 96 * MIB + 7 * 512
const DATA = [
  [0, 30 * MIB],
  [40 * MIB, 30 * MIB],
  [SIZE - 2 * MIB, 2 * MIB],
] as const
const WAIT_MS = 60_000

/** A repository with one disk whose last chunk ends inside a block, and the disk's bytes. */
async function backedUp(): Promise<{ folder: string; bytes: Buffer }> {
  const folder = await testFolder()
  await writeRaw(join(folder, 'a.img'), SIZE, DATA, { disk: 4, version: 1 })
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=a.img'])
  return { folder, bytes: await readFile(join(folder, 'a.img')) }
}

const restore = (format: string): string[] => ['repo', 'restore', 'store', 'latest', '--to', 'to', '--format', format]

/** The restored disk's bytes; an image of QEMU's is checked as well. */
async function contentOf(folder: string, format: string): Promise<Buffer> {
  const path = join(folder, 'to', `disk-0.${format}`)
  if (format === 'raw') return readFile(path)
  await checkCommand('qemu-img', ['check', '-q', '-f', format, path])
  await checkCommand('qemu-img', ['convert', '-f', format, '-O', 'raw', path, join(folder, 'back.img')])
  return readFile(join(folder, 'back.img'))
}

for (const format of ['raw', 'qcow2']) {
  test(`restore to ${format}, killed at any moment, leaves no file with the name, and the next one is whole`, async () => {
    const { folder, bytes } = await backedUp()
    for (const bytesThere of [0, MIB, 24 * MIB]) {
      await rm(join(folder, 'to'), { recursive: true, force: true })
      const child = start(folder, restore(format))
      await eventually('a part of the file', WAIT_MS, async () => {
        const names = await readdir(join(folder, 'to')).catch(() => [])
        const partial = names.find((name) => name.endsWith('.partial'))
        if (partial === undefined) return child.exitCode === null ? undefined : true
        const { stdout } = await checkCommand('du', ['-k', join(folder, 'to', partial)])
        return Number.parseInt(stdout.toString('utf8'), 10) * 1024 >= bytesThere ? true : undefined
      })
      child.kill('SIGKILL')
      await eventually('its end', WAIT_MS, () => child.exitCode ?? child.signalCode ?? undefined)
      if (child.signalCode === null) break // it was faster than the look at it
      assert.ok(!(await readdir(join(folder, 'to'))).includes(`disk-0.${format}`))
    }
    await rm(join(folder, 'to'), { recursive: true, force: true })
    await runJson(folder, restore(format))
    assert.ok((await contentOf(folder, format)).equals(bytes))
  })
}

/** Works in a new folder on which `args` are mounted; skips the test where nothing can be mounted. */
async function onMount(
  t: TestContext,
  folder: string,
  args: readonly string[],
  work: (at: string) => Promise<void>,
): Promise<void> {
  const at = join(folder, 'mount')
  await mkdir(at)
  try {
    await checkCommand('mount', [...args, at])
  } catch {
    return t.skip('nothing can be mounted here')
  }
  try {
    await work(at)
  } finally {
    await checkCommand('umount', [at])
  }
}

test('restore writes the same bytes where there may be no direct writes (tmpfs)', async (t) => {
  const { folder } = await backedUp()
  await onMount(t, folder, ['-t', 'tmpfs', '-o', 'size=200m', 'tmpfs'], async (at) => {
    for (const format of ['raw', 'qcow2']) {
      const to = join(at, format)
      await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', to, '--format', format])
      const path = join(to, `disk-0.${format}`)
      await checkCommand('qemu-img', ['compare', '-f', format, '-F', 'raw', path, join(folder, 'a.img')])
      await rm(to, { recursive: true })
    }
  })
})

test('A disk that fills up while it is restored to is one clear error, from raw and qcow2, and no thread stays', async (t) => {
  const { folder } = await backedUp()
  const image = join(folder, 'small.ext4')
  await writeFile(image, '')
  await truncate(image, 40 * MIB)
  await checkCommand('mkfs.ext4', ['-q', '-O', '^has_journal', image])
  await onMount(t, folder, ['-o', 'loop', image], async (at) => {
    const { repository, point } = await opened(folder)
    const [disk] = point.disks
    assert.ok(disk)
    const options = { store: { kind: 'folder', path: join(folder, 'store') }, clock: systemClock, threads: 2 } as const
    const raw = join(at, 'a.raw')
    await (await createRawTarget(raw, SIZE)).close()
    await assert.rejects(restoreDisk(repository, disk, { kind: 'raw', path: raw }, options), { code: 'target_full' })
    await rm(raw)
    await assert.rejects(restoreToQcow2(repository, disk, join(at, 'a.qcow2'), options), { code: 'target_full' })
    await repository.close()
  })
})

async function opened(folder: string): Promise<{ repository: Repository; point: PointRecord }> {
  const environment = { clock: systemClock, random: systemRandom, cacheFolder: join(folder, 'cache'), writer: 'test' }
  const store = await openStore({ kind: 'folder', path: join(folder, 'store') })
  const credential = { kind: 'passphrase', passphrase: 'correct horse' } as const
  const repository = await Repository.open(store, credential, environment)
  return { repository, point: repository.findPoint('latest') }
}
