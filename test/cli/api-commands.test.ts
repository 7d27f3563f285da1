/** The commands over the API, as a user types them, against a server that runs. */
import assert from 'node:assert/strict'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { after, test, type TestContext } from 'node:test'
import { formatBytes, GIB, MIB } from '#base'
import { until } from '../jobs/processes.ts'
import { ServedHome } from '../server/served-home.ts'
import { ended, run, start } from './command-line.ts'

type Resource = Readonly<{ id: string; name: string; location: string; properties: Readonly<Record<string, unknown>> }>
type Begun = Readonly<{ operation: string; status: string }>
type Operation = Readonly<{ name: string; status: string; action: string }>
type Usage = Resource & Readonly<{ type: string }>
type Face = Readonly<{ endpoint: string; caFile: string; clientId: string; clientSecretFile: string }>

const home = await ServedHome.make()
after(() => home[Symbol.asyncDispose]())

/** What a command prints, as it is. */
async function text(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(home.folder, args, { env: home.env, passphrase: undefined })
  assert.equal(code, 0, `holdfast ${args.join(' ')}: ${stderr}`)
  return stdout
}

/** Bytes of which every sector says where it belongs; every other MiB is a hole. */
function image(bytes: number, version: number): Buffer {
  const made = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; at += 512)
    if (Math.floor(at / MIB) % 2 === 0) made.write(`disk d sector ${at / 512} version ${version}\n`, at, 'latin1')
  return made
}

/** Skips where this server has no such provider, and says so. */
async function lacks(context: TestContext, ...list: readonly string[]): Promise<boolean> {
  const { code, stderr } = await run(home.folder, [...list, '-o', 'json'], { env: home.env, passphrase: undefined })
  if (code === 0) return false
  assert.match(stderr, /InvalidResourceType|NotFound/, stderr)
  context.skip(`this server has no "holdfast ${list.join(' ')}" yet`)
  return true
}

test('Without a server every command over the API says so, with the remedy, and exits 6', async () => {
  for (const args of [['group', 'list'], ['disk', 'list'], ['usage'], ['activity']]) {
    const { code, exitCode, facts, hint } = await home.fail(...args)
    assert.deepEqual([code, exitCode, facts['home']], ['api_unreachable', 6, home.home], args.join(' '))
    assert.match(hint ?? '', /holdfast serve/)
  }
})

test('Resource groups are made, shown, listed, selected by tag and query, and deleted', async () => {
  await home.serve()
  const made = await home.run<Resource>('group', 'create', 'web', '-l', 'East US', '--tags', 'owner=ops', 'stage=prod')
  assert.deepEqual([made.name, made.location], ['web', 'eastus'])
  await home.run('group', 'create', 'db', '-l', 'westus')
  assert.equal(await text('group', 'list', '--query', '[].[name, location]', '-o', 'tsv'), 'db\twestus\nweb\teastus\n')
  assert.equal(await text('group', 'list', '--tag', 'owner=ops', '--query', '[].name', '-o', 'yaml'), '- web\n')
  assert.equal(await text('group', 'list', '--tag', 'owner=nobody', '--query', '[].name', '-o', 'tsv'), '')
  assert.match(
    await text('group', 'list'),
    /^NAME +LOCATION +STATE +TAGS\ndb +westus +Succeeded\nweb +eastus +Succeeded +owner=ops, stage=prod\n$/,
  )
  assert.match(await text('group', 'show', 'web'), /^Name +web\nLocation +eastus\n/)
  const unconfirmed = await home.fail('group', 'delete', 'db')
  assert.deepEqual([unconfirmed.code, unconfirmed.exitCode], ['confirmation_missing', 5])
  assert.equal(await text('group', 'delete', 'db', '--yes'), '')
  const gone = await home.fail('group', 'show', 'db')
  assert.deepEqual([gone.code, gone.exitCode], ['ResourceGroupNotFound', 3])
  assert.match(String(gone.facts['requestId']), /^[0-9a-f-]{36}$/)
})

test('What the API refuses keeps Azure’s code; what the command line gets wrong exits 2', async () => {
  const nowhere = await home.fail('group', 'create', 'x', '-l', 'nowhere')
  assert.deepEqual([nowhere.code, nowhere.exitCode], ['LocationNotAvailableForResourceGroup', 2])
  const moved = await home.fail('group', 'create', 'web', '-l', 'westus')
  assert.deepEqual([moved.code, moved.exitCode], ['Conflict', 5])
  for (const args of [
    ['group', 'create', 'x'],
    ['group', 'list', '--query', '[?'],
    ['disk', 'show', 'd1'],
    ['disk', 'show', '-g', 'web'],
    ['disk', 'create', 'd1', '-g', 'web'],
    ['disk', 'create', 'd1', '-g', 'web', '--size', '1.5G'],
    ['disk', 'import', 'd1', 'https://host/x.vhd?sig=abc', '-g', 'web'],
    ['snapshot', 'show', '--ids', '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d'],
  ]) {
    const { exitCode, code } = await home.fail(...args)
    assert.equal(exitCode, 2, `${args.join(' ')}: ${code}`)
  }
})

test('Defaults come from configure, the environment before them, the command line before both', async () => {
  await home.run('configure', '--defaults', 'group=web', 'location=westus')
  const made = await home.run<Resource>('group', 'create', 'by-default')
  assert.equal(made.location, 'westus')
  assert.match(await text('configure'), /^group: web\nlocation: westus\n/)
  const env = { ...home.env, HOLDFAST_LOCATION: 'eastus' }
  const { stdout } = await run(home.folder, ['group', 'create', 'by-env', '-o', 'json'], { env, passphrase: undefined })
  assert.equal((JSON.parse(stdout) as Resource).location, 'eastus')
  for (const name of ['by-default', 'by-env']) await text('group', 'delete', name, '--yes')
  await home.run('configure', '--defaults', 'group=', 'location=')
  assert.match(await text('configure'), /^group: \(none\)\nlocation: \(none\)\n/)
})

test('A server elsewhere is found by the environment; a wrong secret or an unknown authority is told as that', async () => {
  const face = JSON.parse(await readFile(join(home.home, 'run', 'face.json'), 'utf8')) as Face
  const env = {
    HOLDFAST_ENDPOINT: face.endpoint,
    HOLDFAST_CA_FILE: face.caFile,
    HOLDFAST_CLIENT_ID: face.clientId,
    HOLDFAST_CLIENT_SECRET_FILE: face.clientSecretFile,
  }
  const listed = await run(home.folder, ['group', 'list', '-o', 'tsv', '--query', '[].name'], {
    env,
    passphrase: undefined,
  })
  assert.deepEqual([listed.code, listed.stdout], [0, 'web\n'])
  await writeFile(join(home.folder, 'wrong'), 'not the secret\n')
  const wrong = { ...env, HOLDFAST_CLIENT_SECRET_FILE: join(home.folder, 'wrong') }
  const refused = await run(home.folder, ['group', 'list'], { env: wrong, passphrase: undefined })
  assert.equal(refused.code, 4)
  assert.match(refused.stderr, /api_login_refused/)
  assert.ok(!refused.stderr.includes('not the secret'))
  const untrusted = await run(home.folder, ['group', 'list'], {
    env: { ...env, HOLDFAST_CA_FILE: '' },
    passphrase: undefined,
  })
  assert.equal(untrusted.code, 6)
  assert.match(untrusted.stderr, /HOLDFAST_CA_FILE/)
})

test('activity tells what was done and what was refused', async () => {
  const codes = await text('activity', '--failed', '-o', 'tsv', '--query', '[].[properties.code]')
  assert.deepEqual(codes.trim().split('\n').sort(), ['Conflict', 'LocationNotAvailableForResourceGroup'])
  assert.match(await text('activity', '-g', 'web'), /resourceGroups\/write +web +Succeeded +201/)
})

test('A disk is made, shown, grown and deleted; what goes on is seen', async (t) => {
  if (await lacks(t, 'disk', 'list')) return
  const made = await home.run<Resource>('disk', 'create', 'd1', '-g', 'web', '--size', '1G', '--tags', 'a=b')
  assert.deepEqual(
    [made.location, made.properties['diskSizeGB'], made.properties['provisioningState']],
    ['eastus', 1, 'Succeeded'],
  )
  const grown = await home.run<Resource>('disk', 'grow', 'd1', '-g', 'web', '--size', '2G')
  assert.equal(grown.properties['diskSizeBytes'], 2 * GIB)
  const smaller = await home.fail('disk', 'grow', 'd1', '-g', 'web', '--size', '1G')
  assert.equal(smaller.exitCode, 5, smaller.code)
  assert.match(
    await text('disk', 'list', '-g', 'web'),
    /^NAME +GROUP +LOCATION +SIZE +STATE +MACHINE\nd1 +web +eastus +2\.0 GiB +Unattached\n$/,
  )
  const shown = await home.run<readonly Resource[]>('disk', 'show', '--ids', made.id, made.id)
  assert.deepEqual(
    shown.map(({ name }) => name),
    ['d1', 'd1'],
  )
  const begun = await home.run<Begun>('disk', 'delete', 'd1', '-g', 'web', '--yes', '--no-wait')
  assert.equal(begun.status, 'InProgress')
  const watched = await home.run<Operation>('operation', 'watch', begun.operation)
  assert.equal(watched.status, 'Succeeded')
  assert.equal((await home.fail('disk', 'show', 'd1', '-g', 'web')).exitCode, 3)
  const all = await home.run<Operation[]>('operation', 'list', '--all')
  assert.ok(all.some(({ name, action }) => name === begun.operation && action === 'Microsoft.Compute/disks/delete'))
})

test('An image goes up, is snapshotted, copied to another region and comes back byte for byte', async (t) => {
  if ((await lacks(t, 'disk', 'list')) || (await lacks(t, 'snapshot', 'list'))) return
  const bytes = image(8 * MIB, 1)
  await writeFile(join(home.folder, 'up.img'), bytes)
  await home.run('disk', 'import', 'd2', 'up.img', '-g', 'web')
  await home.run('disk', 'export', 'd2', '-g', 'web', '--to', 'disk.img', '--format', 'raw')
  assert.ok((await readFile(join(home.folder, 'disk.img'))).equals(bytes), 'the disk is what was imported')
  const first = await home.run<Resource>('snapshot', 'create', 's1', '-g', 'web', '--source', 'd2', '--incremental')
  assert.equal(first.properties['incremental'], true)
  await home.run('snapshot', 'copy', 's1-west', '-g', 'web', '--source', 's1', '-l', 'westus')
  await home.run('snapshot', 'export', 's1-west', '-g', 'web', '--to', 'copy.vhd')
  const copied = await readFile(join(home.folder, 'copy.vhd'))
  assert.equal(copied.length, bytes.length + 512)
  assert.ok(copied.subarray(0, bytes.length).equals(bytes), 'the copy is what was snapshotted')
  assert.equal(copied.toString('latin1', bytes.length, bytes.length + 8), 'conectix')
  const { blocks } = await stat(join(home.folder, 'copy.vhd'))
  assert.ok(blocks * 512 < bytes.length, `holes stay holes, but the file takes ${formatBytes(blocks * 512)}`)
  const onServer = join(home.home, 'import', 'up.img')
  await mkdir(dirname(onServer), { recursive: true })
  await writeFile(onServer, bytes)
  await home.run('disk', 'import', 'd5', pathToFileURL(onServer).href, '-g', 'web')
  await home.run('disk', 'export', 'd5', '-g', 'web', '--to', 'imported.img', '--format', 'raw')
  assert.ok((await readFile(join(home.folder, 'imported.img'))).equals(bytes), 'a file of the server is imported')
  const exists = await home.fail('snapshot', 'export', 's1', '-g', 'web', '--to', 'copy.vhd')
  assert.deepEqual([exists.code, exists.exitCode], ['file_exists', 5])
  await home.run('disk', 'create', 'd3', '-g', 'web', '--source', 's1')
  await home.run('disk', 'export', 'd3', '-g', 'web', '--to', 'again.img', '--format', 'raw')
  assert.ok((await readFile(join(home.folder, 'again.img'))).equals(bytes), 'a disk made from the snapshot is it')
})

test('usage counts what is written, and advise sees what protects', async (t) => {
  if ((await lacks(t, 'usage')) || (await lacks(t, 'snapshot', 'list'))) return
  const all = await home.run<Usage[]>('usage', '--measure')
  const used = new Map(all.map(({ name, properties }) => [name, Number(properties['usedBytes'])]))
  for (const name of ['d2', 's1', 's1-west'])
    assert.ok((used.get(name) ?? 0) >= 4 * MIB, `${name} uses ${used.get(name)}`)
  assert.match(await text('usage'), /Counted together: \d+ GiB used/)
  type Shown = Readonly<{
    subject: { name: string }
    protections: readonly { need: string; count: number }[]
    notes: string[]
  }>
  const advice = await home.run<Shown[]>('advise', '-g', 'web', '--disk', 'd2')
  const counts = advice[0]?.protections.map(({ need, count }) => [need, count])
  assert.deepEqual(counts, [
    ['undo-change', 1],
    ['survive-region', 1],
    ['long-history', 0],
  ])
  assert.deepEqual(advice[0]?.notes, [])
  assert.match(await text('advise', '-g', 'web', '--disk', 'd3'), /nothing protects it/)
})

test('Disks that are snapshotted together bear one instant', async (t) => {
  if (await lacks(t, 'snapshot', 'list')) return
  type Taken = Readonly<{ snapshots: readonly unknown[] }>
  const taken = await home.run<Taken>('snapshot', 'group', 'create', 'now', '-g', 'web', '--disk', 'd2', 'd3')
  assert.equal(taken.snapshots.length, 2)
  type Listed = Readonly<{ name: string; snapshots: readonly string[] }>
  const groups = await home.run<readonly Listed[]>('snapshot', 'group', 'list', '-g', 'web')
  assert.deepEqual(
    groups.map(({ name, snapshots }) => [name, snapshots.length]),
    [['now', 2]],
  )
})

test('Ctrl-C leaves an operation going on, and says how it is followed', async (t) => {
  if (await lacks(t, 'disk', 'list')) return
  const worker = await home.worker()
  process.kill(worker.pid, 'SIGSTOP')
  const child = start(home.folder, ['disk', 'create', 'd4', '-g', 'web', '--size', '1G'], {
    env: home.env,
    passphrase: undefined,
  })
  const over = ended(child)
  await until('the operation goes on', async () => {
    const running = await home.run<Operation[]>('operation', 'list')
    return running.some(({ action }) => action === 'Microsoft.Compute/disks/write')
  })
  child.kill('SIGINT')
  const { code, stderr } = await over
  process.kill(worker.pid, 'SIGCONT')
  assert.equal(code, 130, stderr)
  const [, id = ''] = /holdfast operation watch ([0-9a-f-]{36})/.exec(stderr) ?? []
  assert.equal((await home.run<Operation>('operation', 'watch', id)).status, 'Succeeded')
  const made = await home.run<Resource>('disk', 'show', 'd4', '-g', 'web')
  assert.equal(made.properties['provisioningState'], 'Succeeded')
})

test('A group goes with everything in it', async (t) => {
  await text('group', 'delete', 'web', '--yes')
  assert.deepEqual(await home.run('group', 'list'), [])
  if (!(await lacks(t, 'disk', 'list'))) assert.deepEqual(await home.run('disk', 'list', '--all'), [])
})
