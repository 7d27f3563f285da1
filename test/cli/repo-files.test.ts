import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { MIB } from '#base'
import { stampedBytes } from '#engine/block'
import { checkCommand } from '#runtime'
import { run, runFailing, runJson, testFolder } from './command-line.ts'

const FILES = ['repo', 'files', 'store', 'latest']

/** A disk that is one ext4 file system, backed up. */
async function backUpFiles(folder: string): Promise<Buffer> {
  const content = stampedBytes({ disk: 7, version: 1 }, 0, 3 * MIB + 77)
  await mkdir(join(folder, 'tree/etc'), { recursive: true })
  await writeFile(join(folder, 'tree/etc/data'), content)
  await writeFile(join(folder, 'tree/etc/evil\u001b[31mred'), 'x')
  await symlink('/etc/shadow', join(folder, 'tree/etc/link'))
  const image = join(folder, 'disk.img')
  await checkCommand('truncate', ['-s', '32M', image])
  await checkCommand('mkfs.ext4', ['-q', '-L', 'rootfs', '-d', join(folder, 'tree'), image])
  await runJson(folder, ['repo', 'init', 'store'])
  await runJson(folder, ['repo', 'backup', 'store', '-m', 'vm', '-d', '0=raw:disk.img'])
  return content
}

test('files lists what a disk holds and a folder of it, and gets a file to stdout and a folder to the host', async () => {
  const folder = await testFolder()
  const content = await backUpFiles(folder)
  type Contents = { fileSystems: { kind: string; label: string; partition: number }[] }
  const contents = await runJson<Contents>(folder, [...FILES, 'ls'])
  assert.deepEqual(
    contents.fileSystems.map(({ kind, label, partition }) => [kind, label, partition]),
    [['ext4', 'rootfs', 0]],
  )
  type Listing = { entries: { name: string; kind: string; sizeBytes: number; linkTarget?: string }[] }
  const listing = await runJson<Listing>(folder, [...FILES, 'ls', '/etc'])
  assert.deepEqual(
    listing.entries.map(({ name, kind, linkTarget }) => [name, kind, linkTarget]),
    [
      ['data', 'file', undefined],
      ['evil\u001b[31mred', 'file', undefined],
      ['link', 'link', '/etc/shadow'],
    ],
  )
  const text = await run(folder, [...FILES, 'ls', '/etc'])
  assert.match(text.stdout, /link -> \/etc\/shadow/)
  assert.match(text.stdout, /evil\\x1b\[31mred/, 'no name of a guest reaches the terminal as control characters')
  assert.doesNotMatch(text.stdout, /\u001b/)

  const env = { PATH: process.env['PATH'], HOME: folder, HOLDFAST_PASSPHRASE: 'correct horse' }
  const program = join(import.meta.dirname, '../../bin/holdfast')
  const options = { cwd: folder, env, encoding: 'buffer', maxBuffer: 8 * MIB } as const
  const { stdout } = await promisify(execFile)(program, [...FILES, 'get', '/etc/data'], options)
  assert.deepEqual(stdout, content)
  await runJson(folder, [...FILES, 'get', '/etc', '--to', 'out'])
  assert.deepEqual(await readFile(join(folder, 'out/etc/data')), content)

  const missing = await runFailing(folder, [...FILES, 'get', '/etc/none', '--to', 'out'])
  assert.deepEqual([missing.code, missing.exitCode], ['files_not_found', 3])
  assert.equal((await runFailing(folder, [...FILES, 'ls', '/', '--partition', '3'])).exitCode, 2)
  assert.equal((await run(folder, [...FILES, 'get', '/etc'])).code, 2)
})
