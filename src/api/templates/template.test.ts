import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ArmError } from '#contract'
import { Evaluator, type TemplateScope } from './evaluate.ts'
import { mendJson, parseLenientJson } from './lenient-json.ts'
import { type DeploymentContext, planDeployment } from './template.ts'
import { type TemplateValue, textOf } from './template-value.ts'

const GROUP = '/subscriptions/s/resourceGroups/rg'
const context: DeploymentContext = {
  about: (what) => (what === 'resourcegroup' ? { id: GROUP, name: 'rg', location: 'eastus' } : undefined),
  resourceId: (_kind, [type = '', ...names]) => {
    const [namespace = '', ...types] = type.split('/')
    return `${GROUP}/providers/${namespace}/${types.map((part, at) => `${part}/${names[at] ?? ''}`).join('/')}`
  },
  chance: { now: () => '20261122T000000Z', guid: () => 'a-guid' },
}
const scope: TemplateScope = {
  ...context,
  chance: undefined,
  parameter: (name) => ({ vm: { Names: ['a', 'b'], size: null }, n: 3 })[name] ?? assert.fail(name),
  variable: () => 'v',
  copyIndex: (loop) => (loop === undefined || loop === 'l' ? 2 : undefined),
}
const evaluate = (text: string): TemplateValue => new Evaluator(scope).value(text)
const refused = (run: () => unknown, pattern: RegExp): void => {
  assert.throws(
    run,
    (error) => error instanceof ArmError && error.code === 'InvalidTemplate' && pattern.test(error.message),
    String(pattern),
  )
}

test('expressions give what Azure documents', () => {
  const cases: readonly (readonly [string, TemplateValue])[] = [
    ['plain', 'plain'],
    ['[[not one]', '[not one]'],
    ["[concat('it''s ', parameters('vm').names[1])]", "it's b"],
    ["[PARAMETERS('vm')['NAMES'][0]]", 'a'],
    ["[if(equals(1, 2), parameters('missing'), 'other')]", 'other'],
    ["[format('{0}-{1:D3} {{x}}', 'a', 7)]", 'a-7 {x}'],
    ["[toLower(replace('A-B', '-', ''))]", 'ab'],
    ["[add(copyIndex(), copyIndex('l', 10))]", 14],
    [
      "[union(createObject('a', createObject('x', 1)), createObject('a', createObject('y', 2)))]",
      { a: { x: 1, y: 2 } },
    ],
    ['[union(createArray(1, 2), createArray(2, 3))]', [1, 2, 3]],
    ['[range(5, 3)]', [5, 6, 7]],
    ["[contains('abc', 'b')]", true],
    ["[contains(createArray('a'), 'A')]", false],
    ['[string(createArray(1, true()))]', '[1,true]'],
    ["[substring('abcdef', 2, 3)]", 'cde'],
    ["[coalesce(null(), parameters('vm').size, 'x')]", 'x'],
    ["[parameters('vm').?nothing]", null],
    ["[empty('')]", true],
    ['[json(\'{"a":[1]}\').a[0]]', 1],
    ['[resourceGroup().location]', 'eastus'],
    [
      "[resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 's')]",
      `${GROUP}/providers/Microsoft.Network/virtualNetworks/v/subnets/s`,
    ],
    ['[div(7, 2)]', 3],
    ["[first('abc')]", 'a'],
    ['[last(createArray(1, 2))]', 2],
    ["[join(split('a,b;c', createArray(',', ';')), '+')]", 'a+b+c'],
    ["[base64ToString(base64('ä'))]", 'ä'],
    ["[padLeft('7', 3, '0')]", '007'],
    ['[not(and(true(), or(false(), false())))]', true],
    ["[length(items(createObject('b', 1, 'a', 2)))]", 2],
    ['[intersection(createArray(1, 2, 3), createArray(2, 3, 4))]', [2, 3]],
  ]
  for (const [text, expected] of cases) assert.deepEqual(evaluate(text), expected, text)
})

test('guid() is version 5, and uniqueString() depends on its arguments alone', () => {
  assert.match(
    textOf(evaluate("[guid('a', 'b')]")),
    /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  )
  assert.equal(evaluate("[uniqueString('a', 'b')]"), evaluate("[uniqueString('a', 'b')]"))
  assert.notEqual(evaluate("[uniqueString('a', 'b')]"), evaluate("[uniqueString('a', 'c')]"))
  assert.match(textOf(evaluate("[uniqueString('x')]")), /^[a-z2-7]{13}$/)
})

test('what cannot be evaluated is refused, and says what', () => {
  for (const [text, pattern] of [
    ["[concat('a']", /not expected/],
    ['[nothing(1)]', /'nothing' is not supported/],
    ["[parameters('vm').nothing]", /'nothing', which is not there/],
    ["[parameters('vm').names[7]]", /index/],
    ['[div(1, 0)]', /zero/],
    ['[substring(1, 2)]', /Text is expected/],
    ['[range(0, 100000)]', /10000/],
    ["[reference('x')]", /nothing is deployed yet/],
    ['[utcNow()]', /default of a parameter/],
    ["[copyIndex('other')]", /copy loop/],
    [`[${'concat('.repeat(200)}'a'${')'.repeat(200)}]`, /too deep/],
    ["[concat('a' 'b')]", /not expected/],
    ['[1 + 2]', /cannot be read/],
  ] as const)
    refused(() => evaluate(text), pattern)
})

const nic = (more: object = {}) => ({
  type: 'Microsoft.Network/networkInterfaces',
  apiVersion: '2015-06-15',
  name: 'nic',
  location: 'x',
  ...more,
})

test('resources come after what they depend on, however it is named', () => {
  const template = {
    resources: [
      {
        type: 'Microsoft.Compute/virtualMachines',
        apiVersion: '1',
        name: 'vm',
        dependsOn: ['Microsoft.Network/networkInterfaces/NIC'],
      },
      nic({
        dependsOn: [
          'Microsoft.Network/publicIpAddresses/ip',
          `${GROUP}/providers/microsoft.network/virtualnetworks/net`,
          `${GROUP}/providers/Microsoft.Network/x/outside`,
        ],
      }),
      { type: 'Microsoft.Network/publicIPAddresses', apiVersion: '1', name: 'ip' },
      {
        type: 'Microsoft.Network/virtualNetworks',
        apiVersion: '1',
        name: 'net',
        resources: [{ type: 'subnets', apiVersion: '1', name: 'sub' }],
      },
    ],
  }
  const plan = planDeployment(template, {}, context)
  const order = plan.resources.map(({ name }) => name)
  assert.deepEqual([...order].sort(), ['ip', 'net', 'net/sub', 'nic', 'vm'])
  const before = (a: string, b: string) =>
    assert.ok(order.indexOf(a) < order.indexOf(b), `${a} before ${b}: ${order.join()}`)
  before('nic', 'vm')
  before('ip', 'nic')
  before('net', 'nic')
  before('net', 'net/sub')
  assert.equal(
    plan.resources.find(({ name }) => name === 'net/sub')?.id,
    `${GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets/sub`,
  )
})

test('a copy loop makes as many as it counts, and the machines of `az vm create --count` get their own interfaces', () => {
  const copy = { name: 'vmcopy', mode: 'parallel', count: "[parameters('count')]" }
  const template = {
    parameters: { count: { type: 'int' }, adminPassword: { type: 'securestring' } },
    resources: [
      nic({ name: "[concat('nic', copyIndex())]", copy: { ...copy, name: 'niccopy' } }),
      {
        type: 'Microsoft.Compute/virtualMachines',
        apiVersion: '1',
        name: "[concat('vm', copyIndex())]",
        copy,
        dependsOn: ['niccopy'],
        properties: {
          nic: "[resourceId('Microsoft.Network/networkInterfaces', concat('nic', copyIndex()))]",
          pass: "[parameters('adminPassword')]",
        },
      },
    ],
  }
  const plan = planDeployment(template, { count: { value: 3 }, adminPassword: { value: 'hush' } }, context)
  assert.equal(plan.resources.length, 6)
  assert.deepEqual(plan.parameters, { count: { type: 'int', value: 3 }, adminPassword: { type: 'securestring' } })
  const second = plan.resources.find(({ name }) => name === 'vm1') ?? assert.fail()
  assert.equal(second.after.length, 3)
  assert.deepEqual(
    plan.bodyOf(second, () => null),
    { properties: { nic: `${GROUP}/providers/Microsoft.Network/networkInterfaces/nic1`, pass: 'hush' } },
  )
})

test('loops inside properties, variables, conditions and outputs', () => {
  const template = {
    variables: { a: "[concat(variables('b'), '!')]", b: 'x' },
    resources: [
      nic({ condition: '[equals(1, 2)]', name: 'never' }),
      nic({
        properties: { copy: [{ name: 'list', count: 2, input: { at: "[copyIndex('list')]", v: "[variables('a')]" } }] },
        tags: { k: '[[literal]' },
      }),
    ],
    outputs: {
      ip: { type: 'string', value: "[reference(resourceId('Microsoft.Network/networkInterfaces', 'nic')).ip]" },
      hidden: { type: 'securestring', value: 's' },
    },
  }
  const plan = planDeployment(template, undefined, context)
  assert.equal(plan.resources.length, 1)
  const [one] = plan.resources
  assert.deepEqual(
    plan.bodyOf(one ?? assert.fail(), () => null),
    {
      location: 'x',
      properties: {
        list: [
          { at: 0, v: 'x!' },
          { at: 1, v: 'x!' },
        ],
      },
      tags: { k: '[literal]' },
    },
  )
  const asked: string[] = []
  const outputs = plan.outputs((id) => (asked.push(id), { ip: '10.0.0.4' }))
  assert.deepEqual(outputs, { ip: { type: 'string', value: '10.0.0.4' } })
  assert.deepEqual(asked, [`${GROUP}/providers/Microsoft.Network/networkInterfaces/nic`])
})

test('a reference() in a resource means: after it', () => {
  const vm = {
    type: 'Microsoft.Compute/virtualMachines',
    apiVersion: '1',
    name: 'vm',
    properties: { a: "[reference(resourceId('Microsoft.Network/networkInterfaces', 'nic'), '1', 'Full').id]" },
  }
  const plan = planDeployment({ resources: [vm, nic()] }, {}, context)
  assert.deepEqual(
    plan.resources.map(({ name }) => name),
    ['nic', 'vm'],
  )
})

test('templates that cannot be deployed are refused before anything is made', () => {
  const vm = (more: object) => ({ resources: [{ type: 'T.t/a', apiVersion: '1', name: 'a', ...more }] })
  for (const [template, parameters, pattern] of [
    [{ parameters: { p: { type: 'string' } }, resources: [] }, {}, /'p' is not provided/],
    [{ resources: [] }, { q: { value: 1 } }, /no parameter 'q'/],
    [{ parameters: { p: { type: 'int' } } }, { p: { value: 'x' } }, /not of its type/],
    [{ parameters: { p: { type: 'string', allowedValues: ['a'] } } }, { p: { value: 'b' } }, /not one of a/],
    [{ parameters: { p: { type: 'string', minLength: 3 } } }, { p: { value: 'b' } }, /too short/],
    [vm({ dependsOn: ['b'] }), {}, /not in the template/],
    [{ resources: [nic({ dependsOn: ['other'] }), nic({ name: 'other', dependsOn: ['nic'] })] }, {}, /circle/],
    [{ resources: [nic(), nic()] }, {}, /twice/],
    [vm({ type: 'Microsoft.Resources/deployments' }), {}, /Nested/],
    [{ variables: { a: "[variables('a')]" }, resources: [nic({ name: "[variables('a')]" })] }, {}, /itself/],
    [vm({ copy: { name: 'c', count: 100000 } }), {}, /count from 0/],
    ['text', {}, /must be an object/],
    [vm({ name: 7 }), {}, /must be text/],
  ] as const)
    refused(() => planDeployment(template, parameters, context), pattern)
})

test('the body that az sends is read: a bare key, comments, newlines inside texts', () => {
  const sent = `{"properties": {"mode": "Incremental", template:{
    // a comment with "quotes" and {braces}
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", /* another */
    "outputs": {"a": {"type": "string", "value": "line one
line two // not a comment"}},
    "resources": [],
  }}}`
  const body = parseLenientJson(sent) as {
    properties: { template: { outputs: { a: { value: string } }; $schema: string } }
  }
  assert.equal(body.properties.template.outputs.a.value, 'line one\nline two // not a comment')
  assert.match(body.properties.template.$schema, /^https:/)
  assert.equal(mendJson('{"a": "{b: 1}"}'), '{"a": "{b: 1}"}')
  assert.throws(
    () => parseLenientJson('{"a": '),
    (error) => error instanceof ArmError && error.code === 'InvalidRequestContent',
  )
})
