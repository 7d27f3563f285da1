/** The directory that `az role assignment create --assignee` and `list` ask, where Microsoft Graph would be. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiWorld, VERSION } from './api-world.ts'

type View = { '@odata.type': string; id: string; appId: string; displayName: string }
type List = { value: View[] }
type Failure = { error: { code: string; message: string } }

test('Principals are found as az looks for them', async (t) => {
  await using world = await ApiWorld.make()
  const ask = await world.asker()
  const backup = await world.principal("night's backup", [])
  const graph = '/graph/v1.0'
  const filtered = async (filter: string, kind = 'servicePrincipals'): Promise<string[]> => {
    const { body, status, text } = await ask<List>('GET', `${graph}/${kind}?$filter=${encodeURIComponent(filter)}`)
    assert.equal(status, 200, text)
    return body.value.map(({ id }) => id)
  }

  await t.test('by client id, by name, by object id', async () => {
    assert.deepEqual(await filtered(`servicePrincipalNames/any(c:c eq '${backup.clientId}')`), [backup.id])
    assert.deepEqual(await filtered(`servicePrincipalNames/any(x:x eq 'nobody')`), [])
    assert.deepEqual(await filtered(`appId eq '${backup.clientId.toUpperCase()}'`), [backup.id])
    assert.deepEqual(await filtered(`displayName eq 'night''s backup'`), [backup.id])
    assert.deepEqual(await filtered(`startswith(displayName,'night')`), [backup.id])
    assert.deepEqual(await filtered(`userPrincipalName eq 'a@b' or mail eq 'a@b'`, 'users'), [])
    const one = await ask<View>('GET', `${graph}/servicePrincipals/${backup.id}`)
    assert.deepEqual(
      [one.body['@odata.type'], one.body.appId, one.body.displayName],
      ['#microsoft.graph.servicePrincipal', backup.clientId, "night's backup"],
    )
    assert.equal((await ask<View>('GET', `${graph}/servicePrincipals(appId='${backup.clientId}')`)).body.id, backup.id)
  })

  await t.test('many at once', async () => {
    const types = ['user', 'group', 'servicePrincipal', 'directoryObjectPartnerReference']
    const ids = [backup.id.toUpperCase(), world.tenant]
    const many = await ask<List>('POST', `${graph}/directoryObjects/getByIds`, { ids, types })
    assert.deepEqual(
      many.body.value.map(({ id }) => id),
      [backup.id],
    )
    const users = await ask<List>('POST', `${graph}/directoryObjects/getByIds`, { ids, types: ['user'] })
    assert.deepEqual(users.body.value, [])
  })

  await t.test('only by who has a token; and nothing but ids and names is told', async () => {
    const none = await world.raw<Failure>({ method: 'GET', path: `${graph}/servicePrincipals` })
    assert.deepEqual([none.status, none.body.error.code], [401, 'AuthenticationFailed'])
    const all = await backup.ask<List>('GET', `${graph}/servicePrincipals`)
    assert.equal(all.body.value.length, 2)
    assert.ok(!/secret|verifier|credential/i.test(all.text))
    for (const [method, path, body, status] of [
      ['GET', '/servicePrincipals/nobody', undefined, 404],
      ['GET', '/applications', undefined, 404],
      ['POST', '/servicePrincipals', {}, 404],
      ['DELETE', `/servicePrincipals/${backup.id}`, undefined, 404],
      ['GET', '/servicePrincipals?$filter=secret%20eq%20%27x%27', undefined, 400],
      ['POST', '/directoryObjects/getByIds', { ids: 'x' }, 400],
      ['GET', '/%zz', undefined, 400],
    ] as const) {
      const refused = await ask<Failure>(method, `${graph}${path}`, body)
      assert.equal(refused.status, status, `${method} ${path} ${refused.text}`)
      assert.ok(refused.body.error.code !== '')
    }
  })

  await t.test('a token is given for it, as az asks for one', async () => {
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: world.record.clientId,
      client_secret: (await import('node:fs')).readFileSync(world.record.clientSecretFile, 'utf8').trim(),
      scope: `${world.record.endpoint}/graph//.default`,
    })
    const answer = await world.raw<{ access_token: string }>({
      method: 'POST',
      path: '/adfs/oauth2/token',
      body: form.toString(),
    })
    assert.equal(answer.status, 200, answer.text)
    const asGraph = await world.asker(answer.body.access_token)
    assert.equal((await asGraph<List>('GET', `${graph}/servicePrincipals`)).status, 200)
    const metadata = await world.raw<{ microsoftGraphResourceId: string }>({
      method: 'GET',
      path: `/metadata/endpoints?${VERSION}`,
    })
    assert.equal(metadata.body.microsoftGraphResourceId, `${world.record.endpoint}/graph/`)
  })
})
