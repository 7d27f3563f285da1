/** How `az` finds the server and logs in to it: what the README says, and what must not work. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { run } from '../cli/command-line.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

type Account = Readonly<{ id: string; tenantId: string; state: string; user: Readonly<{ name: string; type: string }> }>
type Cloud = Readonly<{ endpoints: Readonly<{ activeDirectory: string; resourceManager: string }> }>
type Location = Readonly<{ name: string; metadata: Readonly<{ pairedRegion: readonly Readonly<{ name: string }>[] }> }>

test('az: finding the server and logging in', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.make()
  const { az, record } = world
  const flow = world.flows(t)

  await flow('az version', async () => {
    const version = await az.run<Record<string, string>>('version')
    assert.match(version['azure-cli'] ?? '', /^2\.74\./)
  })

  await flow('cloud register, cloud set: one address is enough', async () => {
    await az.run('cloud', 'register', '--name', 'holdfast', '--endpoint-resource-manager', record.endpoint)
    await az.run('cloud', 'set', '--name', 'holdfast')
    const { endpoints } = await az.run<Cloud>('cloud', 'show')
    assert.equal(endpoints.activeDirectory, `${record.endpoint}/adfs`)
  })

  await flow('login with a wrong secret is refused', async () => {
    const wrong = (await world.secret()).replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))
    const who = ['--username', record.clientId, '--password', wrong, '--tenant', record.tenantId]
    await az.refused('AADSTS7000215', 'login', '--service-principal', ...who)
  })

  await flow('login', async () => {
    const accounts = (await az.logIn(record, record.clientId, await world.secret())) as Account[]
    assert.deepEqual(
      accounts.map(({ id, tenantId, state, user }) => [id, tenantId, state, user.name, user.type]),
      [[record.subscriptionId, record.tenantId, 'Enabled', record.clientId, 'servicePrincipal']],
    )
  })

  await flow('account show, list, list-locations', async () => {
    assert.equal((await az.run<Account>('account', 'show')).id, record.subscriptionId)
    const accounts = await az.run<Account[]>('account', 'list', '--refresh')
    assert.deepEqual(
      accounts.map(({ id }) => id),
      [record.subscriptionId],
    )
    const locations = await az.run<Location[]>('account', 'list-locations')
    const pairs = locations.map(({ name, metadata }) => `${name} ${metadata.pairedRegion[0]?.name ?? ''}`)
    assert.deepEqual(new Set(pairs), new Set(['eastus westus', 'westus eastus']))
  })

  await flow('account get-access-token: a token that the server takes', async () => {
    const { accessToken } = await az.run<{ accessToken: string }>('account', 'get-access-token')
    assert.equal(accessToken.split('.').length, 3)
  })

  await flow('a certificate that nobody vouches for is not trusted', async () => {
    const other = await AzWorld.make()
    try {
      const foreign = await world.another() // trusts this server’s authority, not the other one’s
      const { stderr } = await foreign.fail(
        'cloud',
        'register',
        '--name',
        'other',
        '--endpoint-resource-manager',
        other.record.endpoint,
      )
      assert.match(stderr, /certificate|SSL/i)
    } finally {
      await other[Symbol.asyncDispose]()
    }
    assert.notEqual(await readFile(other.record.caFile, 'utf8').catch(() => ''), await readFile(record.caFile, 'utf8'))
  })

  await flow('client-env: its lines, as they are, log in', async (t) => {
    const { env, folder } = world.served
    const { code, stdout: lines } = await run(folder, ['client-env'], { env, passphrase: undefined })
    if (code !== 0) return t.skip('the command line has no client-env yet')
    const printed = await (await world.another()).shell(`${lines}\naz account show --query id --output tsv`)
    assert.equal(printed.trim().split('\n').at(-1), record.subscriptionId)
    return undefined
  })

  await flow('logged out, nothing is shown', async () => {
    await az.run('logout')
    const { stderr } = await az.fail('group', 'list')
    assert.match(stderr, /az login/)
  })
})
