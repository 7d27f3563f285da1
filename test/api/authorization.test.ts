/**
 * Every route that is served, asked by those who may not: no route forgets to ask who may. Routes are filled with the names of a
 * world that has something to show, so that an answer with data in it would be seen.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allRoutes, type ArmRoute } from '#api'
import { insertResource } from '#catalog'
import { BUILT_IN_ROLES, isAllowed } from '#domain'
import { ApiWorld, followed, VERSION } from './api-world.ts'

const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)

/** Whoever has a token may ask these: what they tell is the same for all, or is told only to who began it. */
const SIGNED_IN = [
  '/tenants',
  '/subscriptions',
  '/providers',
  '/providers/{namespace}',
  '/subscriptions/{subscription}/providers',
  '/subscriptions/{subscription}/providers/{namespace}',
  '/{scope}/providers/Microsoft.Authorization/roleDefinitions',
  '/{scope}/providers/Microsoft.Authorization/roleDefinitions/{name}',
  '/providers/Microsoft.Resources/calculateTemplateHash',
  '/providers/Microsoft.RecoveryServices/operations',
]
const OPERATIONS = /\/(operations|operationresults|operationStatus|DiskOperations)\/\{operation\}$/
/** The vault that an alert is of decides who may: who may not see it is told that there is none. */
const ALERT = /\/alerts\/\{alert\}/
const CANARY = 'canary-of-the-walk'

type Failure = { error: { code: string } }
type Filled = Readonly<{ route: ArmRoute; path: string }>

/** Paths of resources that are there, by type in lower case. */
function fill(route: ArmRoute, subscription: string): Filled {
  const group = `${subscription}/resourceGroups/rg`
  const isGroupItself = route.path.endsWith('/resourceGroups/{name}')
  const path = route.path
    .replace('/{scope}', group)
    .replace('{subscription}', subscription.slice('/subscriptions/'.length))
    .replace('{group}', 'rg')
    .replace('{namespace}', 'Microsoft.Resources')
    .replaceAll(/\{(location|region)\}/gi, 'eastus')
    .replaceAll(/\{\w+\}/g, isGroupItself ? 'rg' : CANARY)
  return { route, path: `${path}?${VERSION}` }
}

/** A record of every type that has a route by name, so that there is something to be shown by mistake. */
async function furnish(world: ApiWorld, filled: readonly Filled[]): Promise<void> {
  const ask = await world.asker()
  const group = `${world.subscription}/resourceGroups/rg`
  await ask('PUT', `${group}?${VERSION}`, { location: 'eastus', tags: { note: CANARY } })
  const deployment = `${group}/providers/Microsoft.Resources/deployments/${CANARY}`
  const template = { outputs: { note: { type: 'string', value: CANARY } } }
  const made = await ask('PUT', `${deployment}?${VERSION}`, { properties: { mode: 'Incremental', template } })
  assert.equal(made.status, 201, made.text)
  await followed(ask, made)
  const lock = `${group}/providers/Microsoft.Authorization/locks/${CANARY}`
  await ask('PUT', `${lock}?${VERSION}`, { properties: { level: 'CanNotDelete', notes: CANARY } })
  const vault = `${group}/providers/Microsoft.RecoveryServices/vaults/${CANARY}`
  const vaultBody = { location: 'eastus', sku: { name: 'Standard' }, properties: {}, tags: { note: CANARY } }
  await followed(ask, await ask('PUT', `${vault}?${VERSION}`, vaultBody))
  const seen = new Set([deployment, lock, vault].map((id) => id.toLowerCase()))
  for (const { path } of filled) {
    const id = path.split('?', 1)[0] ?? ''
    const [, type, name] = new RegExp(`^${group}/providers/([^/]+/[^/]+)/([^/]+)$`, 'i').exec(id) ?? []
    if (type === undefined || name !== CANARY || seen.has(id.toLowerCase())) continue
    seen.add(id.toLowerCase())
    const common = { subscription: world.subscription.slice(15), group, location: 'eastus', tags: { note: CANARY } }
    const record = {
      ...common,
      id,
      type,
      name,
      state: 'Succeeded',
      body: { properties: { note: CANARY } },
      backing: {},
    }
    const source = { nowMs: () => 1, newEtag: () => 'W/"e"' }
    await world.catalog.write((trx) => insertResource(trx, record, source).then(() => undefined))
  }
  assert.ok(seen.size > 2)
}

test('Every route asks who may', async (t) => {
  await using world = await ApiWorld.make()
  const routes = allRoutes()
  const filled = routes.map((route) => fill(route, world.subscription))
  await furnish(world, filled)
  const nobody = await world.principal('nobody', [])
  const reader = await world.principal('reader', [{ role: roleNamed('Reader'), scope: world.subscription }])

  await t.test('who has no role is refused or shown an empty list, and changes nothing', async () => {
    for (const { route, path } of filled) {
      const what = `${route.method} ${route.path}`
      const { status, body, text } = await nobody.ask<Failure & { value?: unknown[] }>(
        route.method,
        path,
        route.method === 'GET' || route.method === 'HEAD' ? undefined : {},
      )
      assert.ok(status < 500, `${what}: ${text}`)
      if (SIGNED_IN.includes(route.path)) {
        assert.ok(!text.includes(CANARY) || status >= 400, what)
        continue
      }
      if (route.access === 'signed-in' && OPERATIONS.test(route.path)) {
        assert.equal(body.error.code, 'OperationNotFound', what)
        continue
      }
      if (ALERT.test(route.path)) {
        assert.deepEqual([status, body.error.code], [404, 'ResourceNotFound'], what)
        continue
      }
      if (route.access === 'filter') {
        assert.equal(status, 200, `${what}: ${text}`)
        assert.deepEqual(body.value, [], what)
        continue
      }
      assert.ok(status === 403 || (status === 404 && route.access === 'entered'), `${what}: ${status} ${text}`)
      if (route.method !== 'HEAD' && status === 403) assert.equal(body.error.code, 'AuthorizationFailed', what)
      assert.ok(!text.includes('"note"'), what)
    }
  })

  await t.test('a Reader may read; whatever changes or gives a secret is refused', async () => {
    let [refused, read] = [0, 0]
    for (const { route, path } of filled) {
      const what = `${route.method} ${route.path} (${route.action})`
      const isRead = /\/read$/i.test(route.action)
      if (route.method === 'GET' || route.method === 'HEAD') assert.ok(isRead, `${what} reads, so its action says read`)
      else if (isRead) assert.equal(route.method, 'POST', `${what} changes, so its action must not say read`)
      if (SIGNED_IN.includes(route.path) || ALERT.test(route.path)) continue
      const { status, body, text } = await reader.ask<Failure>(route.method, path, isRead ? undefined : {})
      assert.ok(status < 500, `${what}: ${text}`)
      if (isRead) {
        assert.notEqual(status, 403, `${what}: ${text}`)
        read += 1
      } else {
        assert.deepEqual([status, body.error.code], [403, 'AuthorizationFailed'], what)
        refused += 1
      }
    }
    assert.ok(refused > 10 && read > 10, `${refused} refused, ${read} read`)
  })

  await t.test('a POST that gives a secret has an action that Readers and backup operators do not have', () => {
    const secret = /(listKeys|listAccountSas|listServiceSas|beginGetAccess|getAccess|listSecrets|exportKey|sas)$/i
    for (const { method, path, action } of routes.filter((route) => secret.test(route.path))) {
      assert.equal(method, 'POST', path)
      for (const name of ['Reader', 'Backup Reader', 'Backup Operator'])
        assert.ok(
          !isAllowed([{ scope: '', roleId: roleNamed(name) }], action, `${world.subscription}/x`),
          `${name} ${action}`,
        )
    }
  })

  await t.test('without a token nobody learns which routes there are', async () => {
    for (const { route, path } of filled) {
      const { status } = await world.raw({ method: route.method, path })
      assert.equal(status, 401, `${route.method} ${route.path}`)
    }
  })

  await t.test('the walk would see a route that forgets: each that is open to all is named here', () => {
    const open = routes.filter(({ access, path }) => access === 'signed-in' && !OPERATIONS.test(path))
    const unnamed = open.filter(({ path }) => !SIGNED_IN.includes(path)).map(({ path }) => path)
    assert.deepEqual(unnamed, [])
  })
})
