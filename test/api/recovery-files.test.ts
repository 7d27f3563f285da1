/** Files of recovery points by the API: listed, downloaded by signed URLs, and brought out by the script of a session. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { must } from '#base'
import {
  changeProtectedItem,
  findResource,
  findVaultPoint,
  listResources,
  updateResource,
  type VaultPoint,
} from '#catalog'
import { DELETED_VAULT_TYPE } from '#jobs'
import { checkCommand, systemClock } from '#runtime'
import { FILE_SESSION_TYPE } from '../../src/api/providers/recovery/files/file-sessions.ts'
import { assertSameFolder } from '../files/compare-folders.ts'
import { addLinks, makeExt, makeTree } from '../files/make-image.ts'
import { VERSION } from './api-world.ts'
import type { Failure } from './machine-api-world.ts'
import { BACKUP_VERSION, VaultWorld } from './vault-world.ts'

type Entry = { name: string; kind: string; sizeBytes: number; mode: string; linkTarget?: string; fileSystem?: string }
type Listing = { entry: Entry; value: Entry[]; notes: string[] }
type Script = { osType: string; scriptContent: string; scriptExtension: string; scriptNameSuffix: string }
type Operation = { status: string; properties: { recoveryTarget: { clientScripts: Script[] } } }
type Ran = Readonly<{ code: number; out: string; error: string }>

const PASSWORD_OFFSET = 33
const PASSWORD_CHARS = 15

async function prepare(world: VaultWorld, folder: string): Promise<string> {
  const { machines } = world
  const tree = join(folder, 'tree')
  await mkdir(tree)
  await makeTree(tree)
  await addLinks(tree)
  const imports = join(machines.api.home.folder, 'import')
  await mkdir(imports, { recursive: true })
  await makeExt(join(imports, 'data.raw'), tree, 32, ['-t', 'ext4'])
  const creationData = { createOption: 'Import', sourceUri: `file://${join(imports, 'data.raw')}` }
  const data = machines.diskId('data')
  const body = { location: 'eastus', properties: { creationData } }
  await machines.succeed(await machines.ask('PUT', `${data}?${VERSION}`, body))
  const dataDisks = [{ lun: 0, createOption: 'Attach', managedDisk: { id: data } }]
  await machines.succeed(await machines.put('web', await machines.microDisk('os'), { dataDisks }))
  await world.protect('web')
  return tree
}

describe('files of a recovery point', () => {
  it('are listed and downloaded by the API, and brought out by the script of a session', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'hf-rf-'))
    await using world = await VaultWorld.make()
    const tree = await prepare(world, folder)
    const point = await world.backUp('web')
    await t.test('folders are listed, and what is not there is refused', () => listed(world, point))
    await t.test('a file and folders come by signed URLs', () => downloaded(world, point, { tree, folder }))
    await t.test('a session hands out a script that brings files out, until it is revoked', () =>
      inSession(world, point, { tree, folder }),
    )
    await t.test('a vault that was looked into is deleted, kept and brought back', () => deletedAfter(world, point))
    await rm(folder, { recursive: true, force: true })
  })
})

function list(world: VaultWorld, point: VaultPoint, path: string) {
  return world.machines.ask<Listing & Failure>('POST', world.pointUrl('web', point, 'listFiles'), { path })
}

async function listed(world: VaultWorld, point: VaultPoint): Promise<void> {
  const root = await list(world, point, '/')
  assert.equal(root.status, 200, root.text)
  const data = must(
    root.body.value.find(({ name }) => name === 'data0'),
    root.text,
  )
  assert.equal(data.fileSystem, 'ext4')
  const etc = await list(world, point, '/data0/etc')
  assert.deepEqual(
    etc.body.value.map(({ name, kind }) => `${kind} ${name}`),
    ['folder deep', 'file empty', 'file small', 'file two-blocks', 'link up'],
  )
  assert.deepEqual(
    etc.body.value.filter(({ name }) => name === 'small').map(({ sizeBytes, mode }) => [sizeBytes, mode]),
    [[57, '0640']],
  )
  for (const [path, status] of [
    ['/nowhere', 404],
    ['/data0/nothing', 404],
    ['/data0/etc/small/x', 400],
    ['/data0/../../etc', 400],
    ['/data0/short-link/x', 400],
  ] as const) {
    const answer = await list(world, point, path)
    assert.equal(answer.status, status, `${path}: ${answer.text}`)
  }
}

type Places = Readonly<{ tree: string; folder: string }>

async function download(world: VaultWorld, point: VaultPoint, path: string, format?: string) {
  const { machines } = world
  const url = world.pointUrl('web', point, 'downloadFiles')
  const answer = await machines.ask<{ url: string } & Failure>('POST', url, { path, ...(format && { format }) })
  if (answer.status !== 200) return answer
  return machines.api.raw<Failure>({ method: 'GET', path: answer.body.url })
}

async function downloaded(world: VaultWorld, point: VaultPoint, { tree, folder }: Places): Promise<void> {
  const file = await download(world, point, '/data0/etc/deep/er/large')
  assert.ok(file.bytes.equals(await readFile(join(tree, 'etc/deep/er/large'))))
  const tar = await download(world, point, '/data0', 'tar')
  assert.equal(tar.status, 200)
  await writeFile(join(folder, 'a.tar'), tar.bytes)
  await mkdir(join(folder, 'untarred'))
  await checkCommand('tar', ['-xf', join(folder, 'a.tar'), '-C', join(folder, 'untarred')])
  await assertSameFolder(tree, join(folder, 'untarred'), ['lost+found'])
  assert.equal(await readlink(join(folder, 'untarred/long-link')), await readlink(join(tree, 'long-link')))
  const zip = await download(world, point, '/data0/etc', 'zip')
  await writeFile(join(folder, 'a.zip'), zip.bytes)
  const read = `import zipfile,sys; z=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; z.extractall(sys.argv[2])`
  await checkCommand('python3', ['-c', read, join(folder, 'a.zip'), join(folder, 'unzipped')])
  const large = await readFile(join(folder, 'unzipped/etc/deep/er/large'))
  assert.ok(large.equals(await readFile(join(tree, 'etc/deep/er/large'))))
  assert.equal((await download(world, point, '/data0/etc')).status, 400, 'a folder is no file')
  assert.equal((await download(world, point, '/data0/etc', 'rar')).status, 400)
  const { machines } = world
  const asked = await machines.ask<{ url: string }>('POST', world.pointUrl('web', point, 'downloadFiles'), {
    path: '/data0/etc/small',
  })
  const changed = asked.body.url.replace('small', 'empty')
  assert.equal((await machines.api.raw({ method: 'GET', path: changed })).status, 403, 'another path than was signed')
  const part = await machines.api.raw({ method: 'GET', path: asked.body.url, headers: { range: 'bytes=10-19' } })
  assert.equal(part.status, 206)
  assert.ok(part.bytes.equals((await readFile(join(tree, 'etc/small'))).subarray(10, 20)))
}

function python(script: string, args: readonly string[], password: string): Promise<Ran> {
  return new Promise((resolve) => {
    const env = { ...process.env, HOLDFAST_PASSWORD: password }
    execFile('python3', [script, ...args], { env }, (error, out, said) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, error: said }),
    )
  })
}

async function provisioned(world: VaultWorld, point: VaultPoint): Promise<Script> {
  const { machines } = world
  const properties = { objectType: 'IaasVMILRRegistrationRequest', recoveryPointId: point.name, virtualMachineId: 'x' }
  const url = world.pointUrl('web', point, 'provisionInstantItemRecovery')
  const answer = await machines.ask('POST', url, { properties })
  const id = world.jobOf(answer)
  const status = await machines.ask<Operation>('GET', `${world.vaultId}/backupOperations/${id}?${VERSION}`)
  assert.equal(status.body.status, 'Succeeded', status.text)
  return must(status.body.properties.recoveryTarget.clientScripts[0], 'There is a script')
}

/** As az writes it. */
async function written(script: Script, path: string): Promise<string> {
  const name = script.scriptNameSuffix
  const at = name.lastIndexOf('_') + PASSWORD_OFFSET
  const password = name.slice(at, at + PASSWORD_CHARS)
  assert.equal(name.length, at + PASSWORD_CHARS)
  const text = Buffer.from(script.scriptContent, 'base64').toString('utf8')
  const line = `TargetPassword="${password}"`
  assert.ok(text.includes(line), 'az finds the password')
  await writeFile(path, text.replace(line, 'TargetPassword="UserInput012345"'))
  return password
}

async function inSession(world: VaultWorld, point: VaultPoint, { tree, folder }: Places): Promise<void> {
  const path = join(folder, 'recover.py')
  const password = await written(await provisioned(world, point), path)
  const ls = await python(path, ['ls', '/data0/etc'], password)
  assert.equal(ls.code, 0, ls.error)
  assert.match(ls.out, /two-blocks/)
  const out = join(folder, 'out')
  const got = await python(path, ['get', '/data0/etc', out], password)
  assert.equal(got.code, 0, got.error)
  await assertSameFolder(join(tree, 'etc'), join(out, 'etc'), [])
  const one = await python(path, ['get', '/data0/etc/small', out], password)
  assert.equal(one.code, 0, one.error)
  assert.ok((await readFile(join(out, 'small'))).equals(await readFile(join(tree, 'etc/small'))))
  const again = await python(path, ['get', '/data0/etc/small', out], password)
  assert.equal(again.code, 1, 'nothing is replaced')
  assert.deepEqual((await readdir(out)).toSorted(), ['etc', 'small'])
  const wrong = await python(path, ['ls'], 'x'.repeat(PASSWORD_CHARS))
  assert.equal(wrong.code, 1)
  assert.match(wrong.error, /AuthenticationFailed/)
  const revoked = await world.machines.ask('POST', world.pointUrl('web', point, 'revokeInstantItemRecovery'), {})
  assert.equal(revoked.status, 202, revoked.text)
  const after = await python(path, ['ls'], password)
  assert.equal(after.code, 1)
  assert.match(after.error, /over or was revoked/)
}

async function sessionsOf(world: VaultWorld): Promise<string[]> {
  const { catalog } = world.machines.api
  return (await listResources(catalog, { type: FILE_SESSION_TYPE })).map(({ name }) => name)
}

async function deletedAfter(world: VaultWorld, point: VaultPoint): Promise<void> {
  const { machines } = world
  const { catalog } = machines.api
  await provisioned(world, point)
  const [first, ...more] = await sessionsOf(world)
  assert.deepEqual(more, [])
  await provisioned(world, point)
  const [second] = await sessionsOf(world)
  assert.notEqual(second, first, 'the one before is over')
  const other = await world.backUp('web')
  const { backing } = must(await findResource(catalog, `/providers/${FILE_SESSION_TYPE}/${second}`), 'It is on record')
  const old = { ...backing, expiresMs: 1 }
  const source = { nowMs: () => 1, newEtag: () => 'W/"1"' }
  await catalog.write((trx) =>
    updateResource(trx, `/providers/${FILE_SESSION_TYPE}/${second}`, { backing: old }, source),
  )
  await provisioned(world, other)
  assert.ok(!(await sessionsOf(world)).includes(must(second, 'Two')), 'one that is over goes with the next')
  await provisioned(world, point)
  assert.equal((await sessionsOf(world)).length, 2)
  const nowMs = systemClock.nowMs()
  await catalog.write((trx) =>
    changeProtectedItem(
      trx,
      world.itemId('web').toLowerCase(),
      { softDeletedMs: nowMs, purgeAtMs: nowMs + 1e9 },
      nowMs,
    ),
  )
  await machines.succeed(await machines.ask('DELETE', `${world.vaultId}?${BACKUP_VERSION}`))
  assert.equal(await findResource(catalog, world.vaultId), undefined)
  const [deleted] = await listResources(catalog, { type: DELETED_VAULT_TYPE })
  const undelete = `${must(deleted, 'It is kept').id}/undelete?${BACKUP_VERSION}`
  const back = await machines.ask('POST', undelete, {})
  assert.equal(back.status, 200, back.text)
  assert.ok(await findVaultPoint(catalog, world.itemId('web').toLowerCase(), point.name))
}
