/** Who asks, and what they may: tokens, roles, and what a stranger learns. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BUILT_IN_ROLES } from '#domain'
import { ApiWorld, VERSION } from './api-world.ts'

const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)
type Failure = { error: { code: string; message: string } }
type List = { value: { name: string; id: string }[] }

test('Logging in, and what a token is worth', async (t) => {
  await using world = await ApiWorld.make()

  await t.test('a wrong secret is refused in the words of Entra ID, which az shows', async () => {
    const body = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: world.record.clientId,
      client_secret: 'wrong',
      scope: `${world.record.endpoint}/.default`,
    })
    const answer = await world.raw<{ error: string; error_codes: number[]; error_description: string }>({
      method: 'POST',
      path: '/adfs/oauth2/token',
      body: body.toString(),
    })
    assert.equal(answer.status, 401)
    assert.equal(answer.body.error, 'invalid_client')
    assert.deepEqual(answer.body.error_codes, [7000215])
    assert.match(answer.body.error_description, /^AADSTS7000215: Invalid client secret provided\./)
  })

  await t.test('a token for another server is not given', async () => {
    const body =
      'grant_type=client_credentials&client_id=x&client_secret=y&scope=https%3A%2F%2Fvault.example%2F.default'
    const answer = await world.raw<{ error: string }>({
      method: 'POST',
      path: `/${world.tenant}/oauth2/v2.0/token`,
      body,
    })
    assert.equal(answer.body.error, 'invalid_scope')
  })

  await t.test('without a token nothing is told, and a forged one is no token', async () => {
    const path = `${world.subscription}/resourceGroups?${VERSION}`
    const none = await world.raw<Failure>({ method: 'GET', path })
    assert.equal(none.status, 401)
    assert.equal(none.body.error.code, 'AuthenticationFailed')
    assert.match(String(none.headers['www-authenticate']), /^Bearer /)
    const [head, , signature] = (await world.token()).split('.')
    const claims = Buffer.from(JSON.stringify({ oid: 'x', aud: world.record.endpoint, exp: 9e9 })).toString('base64url')
    const forged = await world.raw<Failure>({
      method: 'GET',
      path,
      headers: { authorization: `Bearer ${head}.${claims}.${signature}` },
    })
    assert.equal(forged.status, 401)
    assert.equal(forged.body.error.code, 'InvalidAuthenticationToken')
  })

  await t.test('the key that signs tokens is published, and outlives a restart', async () => {
    const ask = await world.asker()
    const before = await world.raw<{ keys: { kid: string; d?: string }[] }>({
      method: 'GET',
      path: '/adfs/discovery/keys',
    })
    assert.equal(before.body.keys.length, 1)
    assert.equal(before.body.keys[0]?.d, undefined, 'the private part stays here')
    const token = await world.token()
    await world.restart()
    const after = await world.raw<{ keys: { kid: string }[] }>({ method: 'GET', path: '/adfs/discovery/keys' })
    assert.equal(after.body.keys[0]?.kid, before.body.keys[0]?.kid)
    const again = await world.asker(token)
    // The port is another one here, so the token's audience is; the alias that the SDKs use by default holds everywhere.
    assert.equal((await again('GET', `/subscriptions?${VERSION}`)).status, 401)
    assert.equal((await (await world.asker())('GET', `/subscriptions?${VERSION}`)).status, 200)
    void ask
  })
})

test('Roles hold at their scope and below, and a role that is taken away is gone at once', async (t) => {
  await using world = await ApiWorld.make()
  const admin = await world.asker()
  const groups = `${world.subscription}/resourceGroups`
  for (const name of ['one', 'two']) await admin('PUT', `${groups}/${name}?${VERSION}`, { location: 'eastus' })
  const reader = await world.principal('reader', [{ role: roleNamed('Reader'), scope: `${groups}/one` }])

  await t.test('a reader of one group sees that group alone', async () => {
    const list = await reader.ask<List>('GET', `${groups}?${VERSION}`)
    assert.deepEqual(
      list.body.value.map(({ name }) => name),
      ['one'],
    )
    assert.equal((await reader.ask('GET', `${groups}/one?${VERSION}`)).status, 200)
    const other = await reader.ask<Failure>('GET', `${groups}/two?${VERSION}`)
    assert.equal(other.status, 403)
    assert.equal(other.body.error.code, 'AuthorizationFailed')
    assert.match(other.body.error.message, /Microsoft\.Resources\/subscriptions\/resourceGroups\/read/)
  })

  await t.test('and changes nothing', async () => {
    const refused = await reader.ask<Failure>('PUT', `${groups}/one?${VERSION}`, {
      location: 'eastus',
      tags: { a: 'b' },
    })
    assert.equal(refused.status, 403)
    const group = await admin<{ tags: Record<string, string> }>('GET', `${groups}/one?${VERSION}`)
    assert.deepEqual(group.body.tags, {})
  })

  await t.test('who has no role sees no subscription', async () => {
    const nobody = await world.principal('nobody', [])
    const list = await nobody.ask<List>('GET', `/subscriptions?${VERSION}`)
    assert.deepEqual(list.body.value, [])
    assert.equal((await nobody.ask('GET', `${world.subscription}?${VERSION}`)).status, 403)
  })
})
