import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isoTime } from '#base'
import { ArmError } from '#contract'
import { type TemplateValue, textOf } from '../../../templates/template-value.ts'
import { formatTime } from './format-time.ts'
import { contextOf, type DeploymentOrder, isSameOrder, planOf, templateHash } from './order.ts'
import { outcomeOfLook, outcomeOfPut } from './part-answer.ts'
import { withReferences } from './references.ts'
import { scrub, templateToKeep } from './scrub.ts'

const GROUP = '/subscriptions/s/resourceGroups/rg'
const order: DeploymentOrder = {
  deployment: `${GROUP}/providers/Microsoft.Resources/deployments/d`,
  name: 'd',
  group: { id: GROUP, name: 'rg', location: 'eastus', tags: {} },
  subscription: { id: 's', name: 'Holdfast' },
  tenantId: 't',
  principal: 'p',
  correlationId: 'c',
  baseUrl: 'https://127.0.0.1:8443',
  nowMs: 1_782_000_000_123,
  seed: 'seed',
  template: {
    parameters: {
      at: { type: 'string', defaultValue: "[utcNow('u')]" },
      id: { type: 'string', defaultValue: '[newGuid()]' },
      other: { type: 'string', defaultValue: '[newGuid()]' },
    },
    resources: [],
  },
  parameters: {},
  tags: undefined,
}

test('evaluating an order again gives the same, time and chance included', () => {
  const [first, second] = [planOf(order), planOf(order)]
  assert.deepEqual(first.parameters, second.parameters)
  const { at, id, other } = first.parameters
  assert.equal(at?.value, isoTime(order.nowMs).replace('T', ' ').replace('.123', ''))
  assert.match(textOf(id?.value ?? null), /^[0-9a-f-]{36}$/)
  assert.notEqual(id?.value, other?.value)
})

test('the same order is one that asks for the same in the same name, whenever it was sent', () => {
  assert.ok(isSameOrder(order, { ...order, nowMs: 1, seed: 'other', correlationId: 'x' }))
  for (const other of [{ principal: 'q' }, { parameters: { a: 1 } }, { template: {} }, { tags: { a: 'b' } }])
    assert.ok(!isSameOrder(order, { ...order, ...other }))
  assert.match(templateHash(order.template), /^\d{1,20}$/)
  assert.notEqual(templateHash(order.template), templateHash({}))
})

test('ids are made of subscription, group, type and names, as far as they are given', () => {
  const { resourceId } = contextOf(order)
  const disk = 'Microsoft.Compute/disks'
  assert.equal(resourceId('group', [disk, 'd']), `${GROUP}/providers/${disk}/d`)
  assert.equal(resourceId('group', ['other', disk, 'd']), `/subscriptions/s/resourceGroups/other/providers/${disk}/d`)
  assert.equal(
    resourceId('group', ['x', 'other', disk, 'd']),
    `/subscriptions/x/resourceGroups/other/providers/${disk}/d`,
  )
  assert.equal(
    resourceId('group', ['Microsoft.Network/virtualNetworks/subnets', 'v', 's']),
    `${GROUP}/providers/Microsoft.Network/virtualNetworks/v/subnets/s`,
  )
  assert.equal(resourceId('subscription', [disk, 'd']), `/subscriptions/s/providers/${disk}/d`)
  assert.equal(resourceId('tenant', [disk, 'd']), `/providers/${disk}/d`)
  assert.equal(resourceId('extension', [`${GROUP}/x`, disk, 'd']), `${GROUP}/x/providers/${disk}/d`)
  for (const given of [['d'], [disk], [disk, 'a', 'b'], []])
    assert.throws(
      () => resourceId('group', given),
      (error) => error instanceof ArmError && error.code === 'InvalidTemplate',
    )
})

test('what the template may ask of its surroundings is there', () => {
  const { about } = contextOf(order)
  const member = (what: string, name: string): unknown => (about(what) as Record<string, unknown>)[name]
  assert.equal(member('resourcegroup', 'location'), 'eastus')
  assert.equal(member('subscription', 'subscriptionId'), 's')
  assert.equal(member('tenant', 'tenantId'), 't')
  assert.equal(member('deployment', 'name'), 'd')
  assert.equal(member('environment', 'resourceManager'), 'https://127.0.0.1:8443/')
  assert.equal(about('listkeys'), undefined)
})

test('times have .NET’s formats', () => {
  const iso = '2026-03-09T15:04:05.060Z'
  for (const [format, text] of [
    [undefined, '20260309T150405Z'],
    ['yyyy-MM-dd', '2026-03-09'],
    ['d', '03/09/2026'],
    ['s', '2026-03-09T15:04:05'],
    ['r', 'Mon, 09 Mar 2026 15:04:05 GMT'],
    ['hh:mm tt', '03:04 PM'],
    ["yy.M.d 'at' H\\h", '26.3.9 at 15h'],
    ['ss.fff', '05.060'],
  ] as const)
    assert.equal(formatTime(iso, format), text)
  assert.throws(() => formatTime(iso, 'D'), ArmError)
})

test('reference() is answered by what is fetched, each thing once', async () => {
  const fetched: string[] = []
  const fetch = async (id: string): Promise<TemplateValue> => {
    fetched.push(id)
    return { id, properties: { size: id.length } }
  }
  const value = await withReferences(
    (reference) => [reference('ab', false), reference('AB', true), reference('c', false)],
    fetch,
  )
  assert.deepEqual(value, [{ size: 2 }, { id: 'ab', properties: { size: 2 } }, { size: 1 }])
  assert.deepEqual(fetched, ['ab', 'c'])
  const endless = withReferences((reference) => reference(`x${fetched.length}`, true), fetch)
  await assert.rejects(endless, (error) => error instanceof ArmError)
})

test('secrets are taken out of whatever is kept, in every form in which they would stand there', () => {
  const secret = 'pa"ss word'
  const told = {
    [`k ${secret}`]: [`a ${secret} b`, JSON.stringify({ secret }), `?p=${encodeURIComponent(secret)}`, 7, null],
  }
  const text = JSON.stringify(scrub(told, [secret, 'abc']))
  assert.ok(!/pa.{0,6}ss.{0,4}word/.test(text), text)
  assert.ok(text.includes('a (secure) b') && text.includes('7,null'))
  assert.deepEqual(scrub('abc', ['abc']), 'abc', 'too short to be a secret')
  const template = {
    parameters: { p: { type: 'SecureString', defaultValue: 'x' }, q: { type: 'string', defaultValue: 'y' } },
  }
  assert.deepEqual(templateToKeep(template, []), {
    parameters: { p: { type: 'SecureString' }, q: { type: 'string', defaultValue: 'y' } },
  })
})

test('an answer of the API is understood in all its forms', () => {
  const put = (status: number, headers = {}, body: unknown = {}) =>
    outcomeOfPut({ status, headers, body }, '/a b', 'v').kind
  const url = 'https://h:1/s/op/1?api-version=v'
  assert.equal(put(200), 'succeeded')
  assert.equal(put(201, { 'azure-asyncoperation': url }), 'running')
  assert.equal(put(202, { location: url }), 'running')
  assert.equal(put(201, {}, { properties: { provisioningState: 'Creating' } }), 'running')
  assert.equal(put(200, {}, { properties: { provisioningState: 'Failed' } }), 'failed')
  assert.equal(put(409, {}, { error: { code: 'AnotherOperationInProgress', message: 'm' } }), 'busy')
  assert.equal(put(429), 'busy')
  assert.equal(put(403, {}, { error: { code: 'AuthorizationFailed', message: 'm' } }), 'failed')
  assert.deepEqual(outcomeOfPut({ status: 202, headers: { location: url }, body: {} }, '/a', 'v'), {
    kind: 'running',
    url: '/s/op/1?api-version=v',
  })
  const look = (status: number, body: unknown = {}) => outcomeOfLook({ status, headers: {}, body }, '/u').kind
  for (const [status, body, kind] of [
    [200, { status: 'InProgress' }, 'running'],
    [200, { status: 'Succeeded' }, 'succeeded'],
    [200, { status: 'Failed', error: { code: 'c', message: 'm' } }, 'failed'],
    [200, { status: 'Canceled' }, 'failed'],
    [202, undefined, 'running'],
    [503, undefined, 'running'],
    [404, {}, 'failed'],
    [204, undefined, 'succeeded'],
    [200, { properties: { provisioningState: 'Updating' } }, 'running'],
  ] as const)
    assert.equal(look(status, body), kind)
})
