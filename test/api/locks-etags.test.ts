/** What the dispatcher does for every resource: locks, ETags and preconditions, HEAD, the headers that clients show. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BUILT_IN_ROLES } from '#domain'
import { ApiWorld, VERSION } from './api-world.ts'
import { Things } from './things.ts'

const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)
type Failure = { error: { code: string; message: string } }
type Lock = { id: string; name: string; properties: { level: string; notes?: string } }

async function makeWorld() {
  const world = await ApiWorld.make(new Things())
  const ask = await world.asker()
  const group = `${world.subscription}/resourceGroups/rg`
  await ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })
  const thing = `${group}/providers/Microsoft.Test/things/t`
  await ask('PUT', `${thing}?${VERSION}`, { location: 'eastus', properties: { size: 1 } })
  return { world, ask, group, thing }
}

test('Locks as az lock makes them', async (t) => {
  const { world, ask, group, thing } = await makeWorld()
  await using _world = world
  const lockAt = (scope: string, name = 'l'): string =>
    `${scope}/providers/Microsoft.Authorization/locks/${name}?api-version=2016-09-01`
  const expectLocked = async (method: string, path: string, body?: unknown): Promise<void> => {
    const refused = await ask<Failure>(method, `${path}?${VERSION}`, body)
    assert.deepEqual([refused.status, refused.body.error.code], [409, 'ScopeLocked'], `${method} ${path}`)
    assert.match(refused.body.error.message, /following scope\(s\) are locked: '.*\/resourceGroups\/rg/)
  }

  await t.test('CanNotDelete on a group keeps it and what is in it from deletion, and from nothing else', async () => {
    const made = await ask<Lock>('PUT', lockAt(group), { properties: { level: 'canNotDelete', notes: 'keep' } })
    assert.equal(made.status, 201, made.text)
    assert.deepEqual(made.body.properties, { level: 'CanNotDelete', notes: 'keep' })
    await expectLocked('DELETE', group)
    await expectLocked('DELETE', thing)
    assert.equal((await ask('PUT', `${thing}?${VERSION}`, { properties: { size: 2 } })).status, 201)
    assert.equal((await ask('DELETE', lockAt(group))).status, 200)
    assert.equal((await ask('DELETE', lockAt(group))).status, 204)
  })

  await t.test(
    'ReadOnly on a resource keeps it as it is, and its group from deletion; beside it all goes on',
    async () => {
      assert.equal(
        (await ask('PUT', lockAt(thing), { level: 'ReadOnly' })).status,
        201,
        'fields without properties, as old clients',
      )
      await expectLocked('PUT', thing, { properties: { size: 3 } })
      await expectLocked('DELETE', thing)
      await expectLocked('DELETE', group)
      await expectLocked('PUT', `${thing}/providers/Microsoft.Resources/tags/default`, {
        properties: { tags: { a: 'b' } },
      })
      const other = thing.replace(/t$/, 'other')
      assert.equal((await ask('PUT', `${other}?${VERSION}`, {})).status, 201)
      assert.equal((await ask('DELETE', `${other}?${VERSION}`)).status, 200)
      const list = async (scope: string, filter = ''): Promise<string[]> =>
        (
          await ask<{ value: Lock[] }>('GET', `${lockAt(scope, '').replace('/locks/?', '/locks?')}${filter}`)
        ).body.value.map(({ name }) => name)
      assert.deepEqual(await list(world.subscription), ['l'])
      assert.deepEqual(await list(world.subscription, '&$filter=atScope()'), [])
      assert.deepEqual(await list(thing), ['l'])
      assert.deepEqual(await list(other), [])
    },
  )

  await t.test('are a matter of their own right, and go with what they lock', async () => {
    const contributor = await world.principal('contributor', [{ role: roleNamed('Contributor'), scope: group }])
    assert.equal((await contributor.ask<Failure>('DELETE', lockAt(thing))).body.error.code, 'AuthorizationFailed')
    assert.equal((await contributor.ask<Lock>('GET', lockAt(thing))).body.properties.level, 'ReadOnly')
    assert.equal((await ask('DELETE', lockAt(thing))).status, 200)
    assert.equal((await ask('DELETE', `${thing}?${VERSION}`)).status, 200)
    for (const [scope, body, code] of [
      [thing, { level: 'ReadOnly' }, 'ResourceNotFound'],
      [group, { level: 'Sometimes' }, 'InvalidParameter'],
      [group, { level: 'ReadOnly', notes: 'x'.repeat(513) }, 'InvalidParameter'],
    ] as const)
      assert.equal((await ask<Failure>('PUT', lockAt(scope), body)).body.error.code, code)
    assert.equal((await ask<Failure>('GET', lockAt(group))).body.error.code, 'LockNotFound')
  })
})

test('ETags and preconditions', async (t) => {
  const { world, thing } = await makeWorld()
  await using _world = world
  const authorization = `Bearer ${await world.token()}`
  const send = (method: string, body?: object, headers: Record<string, string> = {}, path = thing) =>
    world.raw<Failure>({
      method,
      path: `${path}?${VERSION}`,
      headers: { authorization, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })

  await t.test('a shown resource carries its etag, which changes with it; 304 for who has it', async () => {
    const first = String((await send('GET')).headers['etag'])
    assert.match(first, /^W\/"[0-9a-f-]{36}"$/)
    assert.equal((await send('GET', undefined, { 'if-none-match': first })).status, 304)
    const second = String((await send('PUT', { properties: { size: 5 } })).headers['etag'])
    assert.notEqual(second, first)
    assert.equal((await send('GET')).headers['etag'], second)
    assert.equal((await send('GET', undefined, { 'if-none-match': first })).status, 200)
  })

  await t.test('If-Match and If-None-Match are heeded, and a refused change changes nothing', async () => {
    const etag = String((await send('GET')).headers['etag'])
    const body = { properties: { size: 6 } }
    for (const [method, headers, path] of [
      ['PUT', { 'if-match': 'W/"stale"' }, thing],
      ['DELETE', { 'if-match': '"stale"' }, thing],
      ['PUT', { 'if-none-match': '*' }, thing],
      ['PUT', { 'if-match': '*' }, `${thing}2`],
    ] as const) {
      const refused = await send(method, method === 'DELETE' ? undefined : body, headers, path)
      assert.deepEqual([refused.status, refused.body.error.code], [412, 'PreconditionFailed'])
    }
    assert.equal((await send('GET')).headers['etag'], etag)
    assert.equal((await send('PUT', body, { 'if-match': etag.replace('W/', '') })).status, 201)
    assert.equal((await send('PUT', {}, { 'if-none-match': '*' }, `${thing}3`)).status, 201)
    assert.equal((await send('DELETE', undefined, { 'if-match': '*' })).status, 200)
  })

  await t.test('of twenty that change the same version at once, one does', async () => {
    const etag = String((await send('GET', undefined, {}, `${thing}3`)).headers['etag'])
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, size) => send('PUT', { properties: { size } }, { 'if-match': etag }, `${thing}3`)),
    )
    const statuses = answers.map(({ status }) => status)
    assert.equal(statuses.filter((status) => status === 201).length, 1)
    assert.equal(statuses.filter((status) => status === 412).length, 19)
    const made = await Promise.all(
      Array.from({ length: 20 }, () => send('PUT', {}, { 'if-none-match': '*' }, `${thing}4`)),
    )
    assert.equal(made.filter(({ status }) => status === 201).length, 1)
  })
})

test('HEAD says whether it is there, and answers carry what clients show', async () => {
  const { world, ask, thing, group } = await makeWorld()
  await using _world = world
  assert.equal((await ask('HEAD', `${thing}?${VERSION}`)).status, 204)
  assert.equal((await ask('HEAD', `${thing}x?${VERSION}`)).status, 404)
  assert.equal((await ask('HEAD', `${thing}x?${VERSION}`)).text, '')
  const nobody = await world.principal('nobody', [])
  assert.equal((await nobody.ask('HEAD', `${thing}?${VERSION}`)).status, 403)
  const remaining = async (method: string, word: string): Promise<void> => {
    const { headers } = await ask(method, `${group}?${VERSION}`, method === 'PUT' ? { location: 'eastus' } : undefined)
    assert.match(String(headers[`x-ms-ratelimit-remaining-subscription-${word}`]), /^\d+$/)
  }
  await remaining('GET', 'reads')
  await remaining('PUT', 'writes')
  await remaining('DELETE', 'deletes')
})
