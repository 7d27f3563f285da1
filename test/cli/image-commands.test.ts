/** Images by the command line, as a user types them; and a guest that is built, offered, and becomes a disk. */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MIB } from '#base'
import { CACHE_FOLDER, microImage } from '../rig/micro-image.ts'
import { ServedHome } from '../server/served-home.ts'
import { run } from './command-line.ts'

type Resource = Readonly<{ id: string; name: string; location: string; properties: Readonly<Record<string, unknown>> }>

const home = await ServedHome.make()
after(() => home[Symbol.asyncDispose]())

async function text(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(home.folder, args, { env: home.env, passphrase: undefined })
  assert.equal(code, 0, `holdfast ${args.join(' ')}: ${stderr}`)
  return stdout
}

test('An image is made of disks, shown, and outlived by the disks that are made from it', async () => {
  await home.serve()
  await home.run('group', 'create', 'web', '-l', 'eastus')
  const bytes = Buffer.alloc(4 * MIB)
  for (let at = 0; at < bytes.length; at += 512) bytes.write(`disk d sector ${at / 512} version 1\n`, at, 'latin1')
  const file = join(home.folder, 'disk.img')
  await writeFile(file, bytes)
  for (const name of ['os', 'data']) await home.run('disk', 'import', name, file, '-g', 'web', '--format', 'raw')
  const made = await home.run<Resource>('image', 'create', 'img', '-g', 'web', '--source', 'os', '--data', '3=data')
  assert.deepEqual([made.name, made.location, made.properties['provisioningState']], ['img', 'eastus', 'Succeeded'])
  const table = await text('image', 'list', '-g', 'web')
  assert.match(
    table,
    /NAME +GROUP +LOCATION +SYSTEM +KIND +DISKS +MADE OF +STATE\n.*img +web +eastus +Linux +Generalized +2 +os +Succeeded/,
  )
  assert.match(await text('image', 'show', 'img', '-g', 'web'), /Data disks +LUN 3: data/)
  await text('disk', 'create', 'd1', '-g', 'web', '--image', 'img', '--lun', '3')
  await text('disk', 'delete', '--yes', '-g', 'web', 'data')
  await text('image', 'delete', '--yes', '-g', 'web', 'img')
  const out = join(home.folder, 'out.img')
  await text('disk', 'export', 'd1', '-g', 'web', '--to', out, '--format', 'raw')
  assert.ok(bytes.equals(await readFile(out)))
})

test('What makes no sense is refused: exit 2', async () => {
  for (const args of [
    ['image', 'create', 'x', '-g', 'web'],
    ['image', 'create', 'x', '-g', 'web', '--source', 'os', '--machine', 'm'],
    ['image', 'create', 'x', '-g', 'web', '--source', 'os', '--data', 'data'],
    ['disk', 'create', 'x', '-g', 'web', '--source', 'os', '--image', 'img'],
  ])
    assert.equal((await home.fail(...args)).exitCode, 2, args.join(' '))
})

test('guest build micro offers it by a word, and a disk of it is the guest', async () => {
  const built = await microImage()
  const env = { ...home.env, HOLDFAST_CACHE: CACHE_FOLDER }
  const args = ['guest', 'build', 'micro', '-l', 'eastus', '-o', 'json']
  const { code, stdout, stderr } = await run(home.folder, args, { env, passphrase: undefined })
  assert.equal(code, 0, stderr)
  const { alias, id } = JSON.parse(stdout) as { alias: string; id: string }
  assert.equal(alias, 'Micro')
  assert.match(await text('guest', 'list'), /Micro +Linux +Holdfast +micro +gen1/)
  await text('disk', 'create', 'm1', '-g', 'web', '--image', id)
  const out = join(home.folder, 'micro.img')
  await text('disk', 'export', 'm1', '-g', 'web', '--to', out, '--format', 'raw')
  assert.ok((await readFile(built)).equals(await readFile(out)))
})
