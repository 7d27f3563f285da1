/** Resource groups, and what every request to the Azure face has in common. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ActivityEvent, insertResource, listActivity } from '#catalog'
import { ApiWorld, followed, VERSION } from './api-world.ts'

type Group = {
  id: string
  name: string
  type: string
  location: string
  tags: Record<string, string>
  properties: { provisioningState: string }
}
type Failure = { error: { code: string; message: string } }
type List = { value: Group[]; nextLink?: string }

test('Resource groups as az manages them', async (t) => {
  await using world = await ApiWorld.make()
  const ask = await world.asker()
  const groups = `${world.subscription}/resourceGroups`

  await t.test('are made once, shown in the case in which they were made, and found in any', async () => {
    const made = await ask<Group>('PUT', `${world.subscription}/resourcegroups/Rg1?${VERSION}`, {
      location: 'East US',
      tags: { env: 'lab' },
    })
    assert.equal(made.status, 201)
    assert.equal(made.body.id, `${groups}/Rg1`)
    assert.equal(made.body.type, 'Microsoft.Resources/resourceGroups')
    assert.equal(made.body.location, 'eastus')
    assert.equal(made.body.properties.provisioningState, 'Succeeded')
    const again = await ask<Group>(
      'PUT',
      `//Subscriptions/${world.subscription.slice(15)}//resourceGroups/RG1?API-Version=2015-11-01`,
      {
        location: 'eastus',
        tags: { env: 'prod' },
      },
    )
    assert.equal(again.status, 200)
    assert.equal(again.body.name, 'Rg1')
    assert.deepEqual(again.body.tags, { env: 'prod' })
    assert.equal((await ask('HEAD', `${groups}/rg1?${VERSION}`)).status, 204)
    assert.equal((await ask('HEAD', `${groups}/rg2?${VERSION}`)).status, 404)
  })

  await t.test('cannot be moved, nor made in a region that there is not', async () => {
    const moved = await ask<Failure>('PUT', `${groups}/rg1?${VERSION}`, { location: 'westus' })
    assert.equal(moved.status, 409)
    const nowhere = await ask<Failure>('PUT', `${groups}/rg3?${VERSION}`, { location: 'atlantis' })
    assert.equal(nowhere.status, 400)
    assert.equal(nowhere.body.error.code, 'LocationNotAvailableForResourceGroup')
  })

  await t.test('are listed by tag, and in pages whose nextLink is called as it is', async () => {
    for (const name of ['a', 'b', 'c'])
      await ask('PUT', `${groups}/${name}?${VERSION}`, { location: 'eastus', tags: { team: name } })
    const filter = encodeURIComponent("tagName eq 'team' and tagValue eq 'b'")
    const tagged = await ask<List>('GET', `${groups}?${VERSION}&$filter=${filter}`)
    assert.deepEqual(
      tagged.body.value.map(({ name }) => name),
      ['b'],
    )
    const first = await ask<List>('GET', `${groups}?${VERSION}&$top=3`)
    assert.equal(first.body.value.length, 3)
    const rest = await ask<List>('GET', first.body.nextLink ?? assert.fail('a next page'))
    assert.deepEqual(
      [...first.body.value, ...rest.body.value].map(({ name }) => name),
      ['a', 'b', 'c', 'Rg1'],
    )
    assert.equal(rest.body.nextLink, undefined)
    const unread = await ask<Failure>('GET', `${groups}?${VERSION}&$filter=${encodeURIComponent("color eq 'red'")}`)
    assert.equal(unread.body.error.code, 'InvalidFilterInQueryString')
  })

  await t.test('are deleted with what is in them; the operation is followed to its end', async () => {
    const id = `${groups}/Rg1/providers/Microsoft.Test/things/t1`
    const source = { nowMs: () => 1, newEtag: () => 'e' }
    const thing = {
      id,
      subscription: world.subscription.slice(15),
      type: 'Microsoft.Test/things',
      name: 't1',
      location: 'eastus',
    }
    await world.catalog.write((trx) =>
      insertResource(
        trx,
        { ...thing, group: `${groups}/Rg1`, tags: {}, state: 'Succeeded', body: {}, backing: {} },
        source,
      ),
    )
    const deleted = await ask('DELETE', `${groups}/rg1?${VERSION}`)
    assert.equal(deleted.status, 202)
    const end = await followed(ask, deleted)
    assert.equal(end.status, 200, end.text)
    assert.equal((await ask('GET', `${groups}/rg1?${VERSION}`)).status, 404)
    const gone = await ask<Failure>('DELETE', `${groups}/rg1?${VERSION}`)
    assert.equal(gone.body.error.code, 'ResourceGroupNotFound')
  })
})

test('What all requests have in common', async (t) => {
  await using world = await ApiWorld.make()
  const ask = await world.asker()
  const group = `${world.subscription}/resourceGroups/rg`

  await t.test('a request says what is wrong with it, by Azure’s codes', async () => {
    for (const [method, path, body, status, code] of [
      ['GET', `${world.subscription}/resourceGroups`, undefined, 400, 'MissingApiVersionParameter'],
      ['GET', `${world.subscription}/resourceGroups?api-version=latest`, undefined, 400, 'InvalidApiVersionParameter'],
      [
        'GET',
        `/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/x?${VERSION}`,
        undefined,
        404,
        'SubscriptionNotFound',
      ],
      ['PUT', `${group}?${VERSION}`, '{"location": ', 400, 'InvalidRequestContent'],
      ['PUT', `${group}?${VERSION}`, '"eastus"', 400, 'InvalidRequestContent'],
      ['PUT', `${group}?${VERSION}`, {}, 400, 'InvalidLocation'],
      ['PUT', `${group}?${VERSION}`, { location: 'eastus', tags: { a: 1 } }, 400, 'InvalidParameter'],
      [
        'PUT',
        `${world.subscription}/resourceGroups/bad%2Fname?${VERSION}`,
        { location: 'eastus' },
        400,
        'InvalidRequestFormat',
      ],
      [
        'PUT',
        `${world.subscription}/resourceGroups/dot.?${VERSION}`,
        { location: 'eastus' },
        400,
        'InvalidResourceName',
      ],
      ['POST', `${group}?${VERSION}`, {}, 405, 'NotSupported'],
      ['GET', `${group}/providers/Microsoft.Sql/servers?${VERSION}`, undefined, 404, 'InvalidResourceType'],
      ['PUT', `${group}?${VERSION}`, `{"a":${'['.repeat(100)}${']'.repeat(100)}}`, 400, 'InvalidRequestContent'],
      ['PUT', `${group}?${VERSION}`, `{"a":"${'x'.repeat(5_000_000)}"}`, 413, 'RequestBodyTooLarge'],
    ] as const) {
      const answer = await ask<Failure>(method, path, body)
      assert.deepEqual(
        [answer.status, answer.body?.error.code],
        [status, code],
        `${method} ${path} ${answer.text.slice(0, 300)}`,
      )
    }
    assert.equal((await ask('GET', `${group}?${VERSION}`)).status, 404, 'and changed nothing')
  })

  await t.test('an answer carries its ids, and is not cached', async () => {
    const { headers } = await ask('GET', `/subscriptions?${VERSION}`)
    assert.match(String(headers['x-ms-request-id']), /^[0-9a-f-]{36}$/)
    assert.equal(headers['cache-control'], 'no-cache')
    assert.match(String(headers['content-type']), /^application\/json/)
  })

  await t.test('changes are in the activity log with who and what, refused ones too; reading is not', async () => {
    await ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })
    await ask('GET', `${group}?${VERSION}`)
    await ask('PUT', `${group}?${VERSION}`, { location: 'westus' })
    const events = (await listActivity(world.catalog, { limit: 100, resourcePrefix: group })).slice(0, 2)
    const seen = ({ action, status, httpStatus, caller, facts }: ActivityEvent) => [
      action,
      status,
      httpStatus,
      caller,
      facts['code'],
    ]
    const write = 'Microsoft.Resources/subscriptions/resourceGroups/write'
    assert.deepEqual(events.map(seen), [
      [write, 'Failed', 409, world.record.clientId, 'Conflict'],
      [write, 'Succeeded', 201, world.record.clientId, undefined],
    ])
  })
})
