/** Deployments as `az deployment group` and the SDKs use them: the wire, the order of things, failure, cancellation, rights. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deleteRoleAssignment, listRoleAssignments } from '#catalog'
import { BUILT_IN_ROLES } from '#domain'
import { eventually } from '../rig/deadline.ts'
import { type Answer, ApiWorld, type Ask, VERSION } from './api-world.ts'
import { letGo, Things } from './things.ts'

const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)

type Failure = { error: { code: string; message: string; target?: string; details?: Failure['error'][] } }
type Status = { status: string } & Partial<Failure>
type Deployment = {
  id: string
  name: string
  type: string
  properties: {
    provisioningState: string
    templateHash: string
    mode: string
    parameters: Record<string, { type: string; value?: unknown }>
    outputs?: Record<string, { type: string; value: unknown }>
    outputResources?: { id: string }[]
    dependencies: { id: string; dependsOn: { id: string }[] }[]
    providers: { namespace: string; resourceTypes: { resourceType: string }[] }[]
    duration: string
    correlationId: string
    error?: Failure['error']
  }
}
type Operations = {
  value: {
    properties: { provisioningState: string; targetResource: { resourceName: string }; statusMessage?: unknown }
  }[]
}

const DEADLINE_MS = 30_000

/** Polls the operation of a deployment to its end, looking after `between` each time. */
function ended(ask: Ask, put: Pick<Answer<unknown>, 'headers'>, between?: () => Promise<unknown>): Promise<Status> {
  const url = String(put.headers['azure-asyncoperation'])
  return eventually('the end of the deployment', DEADLINE_MS, async () => {
    const { body, status, headers } = await ask<Status>('GET', url)
    assert.equal(status, 200)
    if (!['Accepted', 'Running'].includes(body.status)) return body
    assert.equal(headers['retry-after'], '1', 'az waits half a minute without it')
    await between?.()
    return undefined
  })
}

function began(things: Things, count: number): Promise<true> {
  return eventually('the parts to begin', DEADLINE_MS, () => things.puts.length >= count || undefined)
}

const thing = (name: string, properties: object = {}, more: object = {}): object => ({
  type: 'Microsoft.Test/things',
  apiVersion: '2024-01-01',
  name,
  location: '[resourceGroup().location]',
  properties,
  ...more,
})

const templateOf = (resources: object[], more: object = {}): object => ({
  $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
  contentVersion: '1.0.0.0',
  resources,
  ...more,
})

const bodyOf = (template: object, parameters: object = {}, more: object = {}): object => ({
  properties: { mode: 'Incremental', template, parameters, ...more },
})

async function makeWorld() {
  const things = new Things()
  const world = await ApiWorld.make(things)
  const ask = await world.asker()
  const group = `${world.subscription}/resourceGroups/rg`
  await ask('PUT', `${group}?${VERSION}`, { location: 'eastus', tags: { team: 'a' } })
  const at = (name: string, action = ''): string =>
    `${group}/providers/Microsoft.Resources/deployments/${name}${action}?${VERSION}`
  return { things, world, ask, group, at }
}

test('A deployment as az sends it', async (t) => {
  const { things, world, ask, group, at } = await makeWorld()
  await using _world = world
  // Unquoted key, comments, a raw newline in a text: what az makes of a template file.
  const text = `{"properties": {"parameters": {"c": {"value": 2}, "unused": {"value": null}}, "mode": "Incremental", template:{
    // a comment
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "parameters": {"n": {"type": "string", "defaultValue": "td"}, "c": {"type": "int"},
                   "unused": {"type": "string", "nullable": true, "metadata": {"description": "two
lines"}}},
    "resources": [
      {"type": "Microsoft.Test/things", "apiVersion": "2015-06-15", "name": "[format('{0}{1}', parameters('n'), copyIndex())]",
       "location": "[resourceGroup().location]", "copy": {"name": "d", "count": "[parameters('c')]"},
       "properties": {"size": "[add(copyIndex(), 4)]"}},
      {"type": "Microsoft.Test/things", "apiVersion": "2015-06-15", "name": "last", "dependsOn": ["d"],
       "properties": {"first": "[reference('td1').size]", "tags": "[resourceGroup().tags]"}}
    ],
    "outputs": {"id": {"type": "string", "value": "[resourceId('Microsoft.Test/things', 'td0')]"},
                "sz": {"type": "int", "value": "[reference('td0').size]"}}
  }}}`

  await t.test('is validated without being done', async () => {
    const valid = await ask<{ properties: { validatedResources: { id: string }[]; provisioningState: string } }>(
      'POST',
      at('dep1', '/validate'),
      text,
    )
    assert.equal(valid.status, 200, valid.text)
    assert.equal(valid.body.properties.provisioningState, 'Succeeded')
    assert.deepEqual(
      valid.body.properties.validatedResources.map(({ id }) => id.slice(group.length)),
      ['td0', 'td1', 'last'].map((name) => `/providers/Microsoft.Test/things/${name}`),
    )
    assert.deepEqual(things.names(), [])
    assert.equal((await ask('HEAD', at('dep1'))).status, 404)
  })

  await t.test('is accepted, followed by its own URL, and shows what came of it', async () => {
    const put = await ask<Deployment>('PUT', at('dep1'), text)
    assert.equal(put.status, 201, put.text)
    assert.match(
      String(put.headers['azure-asyncoperation']),
      /\/resourceGroups\/rg\/providers\/Microsoft\.Resources\/deployments\/dep1\/operationStatuses\/[0-9a-f-]{36}\?api-version=/,
    )
    assert.equal(put.headers['retry-after'], '1')
    assert.equal(put.body.properties.provisioningState, 'Accepted')
    assert.deepEqual(await ended(ask, put), { status: 'Succeeded' })
    const { body } = await ask<Deployment>('GET', at('dep1'))
    const { properties } = body
    assert.equal(body.id, `${group}/providers/Microsoft.Resources/deployments/dep1`)
    assert.equal(properties.provisioningState, 'Succeeded')
    assert.equal(properties.mode, 'Incremental')
    assert.match(properties.templateHash, /^\d+$/)
    assert.match(properties.duration, /^PT\d+(\.\d+)?S$/)
    assert.match(properties.correlationId, /^[0-9a-f-]{36}$/)
    assert.deepEqual(properties.parameters['c'], { type: 'Int', value: 2 })
    assert.deepEqual(properties.outputs, {
      id: { type: 'String', value: `${group}/providers/Microsoft.Test/things/td0` },
      sz: { type: 'Int', value: 4 },
    })
    assert.deepEqual(
      properties.outputResources?.map(({ id }) => id.slice(id.lastIndexOf('/') + 1)),
      ['td0', 'td1', 'last'],
    )
    assert.deepEqual(properties.providers[0]?.resourceTypes[0]?.resourceType, 'things')
    assert.deepEqual(
      properties.dependencies.map(({ dependsOn }) => dependsOn.length),
      [2],
    )
    assert.deepEqual(things.puts.at(-1)?.body, { properties: { first: 5, tags: { team: 'a' } } })
    assert.equal(things.puts.find(({ name }) => name === 'td0')?.body.location, 'eastus')
  })

  await t.test('is listed, exists, tells its operations and its template, and is forgotten when deleted', async () => {
    assert.equal((await ask('HEAD', at('dep1'))).status, 204)
    const filter = encodeURIComponent("provisioningState eq 'Succeeded'")
    const list = await ask<{ value: Deployment[] }>('GET', `${at('')}&$filter=${filter}`)
    assert.deepEqual(
      list.body.value.map(({ name }) => name),
      ['dep1'],
    )
    const operations = await ask<Operations>('GET', at('dep1', '/operations'))
    assert.deepEqual(
      operations.body.value.map(({ properties }) => [
        properties.targetResource.resourceName,
        properties.provisioningState,
      ]),
      [
        ['td0', 'Succeeded'],
        ['td1', 'Succeeded'],
        ['last', 'Succeeded'],
      ],
    )
    const exported = await ask<{ template: { outputs: object } }>('POST', at('dep1', '/exportTemplate'), {})
    assert.deepEqual(Object.keys(exported.body.template.outputs), ['id', 'sz'])
    const resources = await ask<{ value: { type: string }[] }>('GET', `${group}/resources?${VERSION}`)
    assert.ok(resources.body.value.every(({ type }) => type === 'Microsoft.Test/things'))
    assert.equal((await ask('DELETE', at('dep1'))).status, 204)
    assert.equal((await ask<Failure>('GET', at('dep1'))).body.error.code, 'DeploymentNotFound')
    assert.equal(
      (await ask('GET', `${group}/providers/Microsoft.Test/things/td0?${VERSION}`)).status,
      200,
      'things stay',
    )
  })

  await t.test('says what it does not do', async () => {
    const good = templateOf([thing('a')])
    for (const [action, body, status, code, words] of [
      ['', bodyOf(good, {}, { mode: 'Complete' }), 400, 'UnsupportedField', /Complete/],
      [
        '',
        { properties: { mode: 'Incremental', templateLink: { uri: 'https://x' } } },
        400,
        'UnsupportedField',
        /by link/,
      ],
      ['', bodyOf(good, {}, { parametersLink: { uri: 'https://x' } }), 400, 'UnsupportedField', /by link/],
      ['', bodyOf(good, {}, { onErrorDeployment: { type: 'LastSuccessful' } }), 400, 'UnsupportedField', /earlier/],
      ['/whatIf', bodyOf(good), 400, 'NotSupported', /whatIf/],
      [
        '',
        bodyOf(templateOf([thing('a', { k: "[listKeys('x', '2024-01-01').keys]" })])),
        400,
        'InvalidTemplate',
        /listkeys/,
      ],
      [
        '',
        bodyOf(templateOf([thing('a', {}, { type: 'Microsoft.Sql/servers' })])),
        400,
        'InvalidTemplateDeployment',
        /Sql/,
      ],
      [
        '',
        bodyOf(templateOf([thing('n', {}, { type: 'Microsoft.Resources/deployments' })])),
        400,
        'InvalidTemplate',
        /Nested/,
      ],
      ['', bodyOf(good, { nope: { value: 1 } }), 400, 'InvalidTemplate', /nope/],
      [
        '',
        bodyOf(templateOf([thing('a', {}, { dependsOn: ['b'] }), thing('b', {}, { dependsOn: ['a'] })])),
        400,
        'InvalidTemplate',
        /circle/,
      ],
      ['', '{"properties": {"mode": "Incremental", template: {{}', 400, 'InvalidRequestContent', /deserialized/],
      ['', `{"properties": ${'['.repeat(500)}${']'.repeat(500)}}`, 400, 'InvalidRequestContent', /nested/],
    ] as const) {
      const method = action === '' ? 'PUT' : 'POST'
      const refused = await ask<Failure>(method, at('no', action), body)
      assert.deepEqual([refused.status, refused.body.error.code], [status, code], refused.text)
      assert.match(refused.body.error.message, words)
    }
    assert.equal((await ask('GET', at('no'))).status, 404)
    const elsewhere = await ask<Failure>(
      'PUT',
      `${world.subscription}/providers/Microsoft.Resources/deployments/x?${VERSION}`,
      bodyOf(good),
    )
    assert.deepEqual([elsewhere.status, elsewhere.body.error.code], [404, 'InvalidResourceType'])
  })
})

test('Parts of a deployment', async (t) => {
  const { things, world, ask, at } = await makeWorld()
  await using _world = world

  await t.test('begin when those before them have ended, independent ones at once', async () => {
    const template = templateOf([
      thing('c', {}, { dependsOn: ["[resourceId('Microsoft.Test/things', 'a')]", 'b'] }),
      thing('b', { how: 'job' }),
      thing('a', { how: 'job' }),
    ])
    const put = await ask('PUT', at('order'), bodyOf(template))
    await began(things, 2)
    assert.deepEqual(things.names().toSorted(), ['a', 'b'])
    const running = await ask<Operations>('GET', at('order', '/operations'))
    assert.ok(running.body.value.every(({ properties }) => properties.provisioningState === 'Running'))
    assert.deepEqual(await ended(ask, put, () => letGo(world.jobs)), { status: 'Succeeded' })
    assert.deepEqual(things.names().at(-1), 'c')
    assert.equal(things.puts.length, 3)
  })

  await t.test('that fail are told by name; what depends on them is not begun, what does not is', async () => {
    things.puts.length = 0
    const template = templateOf([
      thing('bad', { how: 'fail' }),
      thing('refused', { how: 'refuse', text: 'blue' }),
      thing('after', {}, { dependsOn: ['bad'] }),
      thing('good', { how: 'job' }),
      thing('next', {}, { dependsOn: ['good'] }),
    ])
    const put = await ask('PUT', at('fails'), bodyOf(template))
    const end = await ended(ask, put, () => letGo(world.jobs))
    assert.equal(end.status, 'Failed')
    assert.equal(end.error?.code, 'DeploymentFailed', JSON.stringify(end))
    assert.deepEqual(
      end.error?.details?.map(({ code, target = '' }) => [code, target.slice(target.lastIndexOf('/') + 1)]),
      [
        ['AllocationFailed', 'bad'],
        ['InvalidParameter', 'refused'],
      ],
    )
    assert.deepEqual(things.names().toSorted(), ['bad', 'good', 'next', 'refused'])
    const { properties } = (await ask<Deployment>('GET', at('fails'))).body
    assert.equal(properties.provisioningState, 'Failed')
    assert.equal(properties.error?.code, 'DeploymentFailed')
    assert.equal(properties.outputs, undefined)
  })

  await t.test(
    'that are repeated: the same request is the same operation while it runs, another one waits',
    async () => {
      things.puts.length = 0
      const template = templateOf([thing('slow', { how: 'job' })])
      const first = await ask('PUT', at('twice'), bodyOf(template))
      const [again, ...others] = await Promise.all(
        Array.from({ length: 5 }, () => ask('PUT', at('twice'), bodyOf(template))),
      )
      for (const one of [again, ...others]) {
        assert.equal(one?.status, 200)
        assert.equal(one?.headers['azure-asyncoperation'], first.headers['azure-asyncoperation'])
      }
      const other = await ask<Failure>('PUT', at('twice'), bodyOf(templateOf([thing('other')])))
      assert.deepEqual([other.status, other.body.error.code], [409, 'AnotherOperationInProgress'])
      assert.equal((await ask('DELETE', at('twice'))).status, 409)
      assert.deepEqual(await ended(ask, first, () => letGo(world.jobs)), { status: 'Succeeded' })
      assert.deepEqual(things.names(), ['slow'])
      const anew = await ask('PUT', at('twice'), bodyOf(templateOf([thing('other')])))
      assert.equal(anew.status, 200, 'a name may be used again')
      assert.deepEqual(await ended(ask, anew), { status: 'Succeeded' })
    },
  )

  await t.test('that are cancelled: nothing more begins', async () => {
    things.puts.length = 0
    const template = templateOf([thing('one', { how: 'job' }), thing('two', {}, { dependsOn: ['one'] })])
    const put = await ask('PUT', at('stop'), bodyOf(template))
    await began(things, 1)
    assert.equal((await ask('POST', at('stop', '/cancel'), {})).status, 204)
    assert.equal((await ended(ask, put)).status, 'Canceled')
    assert.equal((await ask<Deployment>('GET', at('stop'))).body.properties.provisioningState, 'Canceled')
    assert.equal((await ask('POST', at('stop', '/cancel'), {})).status, 409)
    await letGo(world.jobs)
    assert.deepEqual(things.names(), ['one'])
  })
})

test('A deployment may what its caller may', async (t) => {
  const { things, world, ask, group, at } = await makeWorld()
  await using _world = world
  const template = templateOf([thing('a', { how: 'job' }), thing('b', {}, { dependsOn: ['a'] })])

  await t.test('who may deploy, but not make the resource, is refused before anything is done', async () => {
    const operator = await world.principal('operator', [{ role: roleNamed('Backup Operator'), scope: group }])
    const refused = await operator.ask<Failure>('PUT', at('no'), bodyOf(template))
    assert.deepEqual([refused.status, refused.body.error.code], [403, 'InvalidTemplateDeployment'])
    assert.match(refused.body.error.message, /'Microsoft\.Test\/things\/write'/)
    assert.deepEqual(things.names(), [])
  })

  await t.test('and a role that is taken away stops it where it is', async () => {
    const contributor = await world.principal('contributor', [{ role: roleNamed('Contributor'), scope: group }])
    const put = await contributor.ask('PUT', at('part'), bodyOf(template))
    assert.equal(put.status, 201, put.text)
    await began(things, 1)
    assert.equal(things.puts[0]?.by, contributor.clientId)
    for (const { key } of await listRoleAssignments(world.catalog, { principal: contributor.id }))
      await world.catalog.write((trx) => deleteRoleAssignment(trx, key))
    const end = await ended(ask, put, () => letGo(world.jobs))
    assert.equal(end.status, 'Failed')
    assert.deepEqual(things.names(), ['a'])
  })
})
