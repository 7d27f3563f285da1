import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { GIB } from '#base'
import { ServerError } from '../errors.ts'
import { CONFIG_DEFAULTS, parseConfig } from './read-config.ts'
import { configJsonSchema, configText, settingRows } from './write-config.ts'

function faultsOf(text: string): readonly string[] {
  try {
    parseConfig(text, 'x.yaml')
  } catch (error) {
    assert.ok(error instanceof ServerError)
    assert.equal(error.code, 'config_invalid')
    return error.facts['faults'] as string[]
  }
  return assert.fail(`taken: ${text}`)
}

test('parseConfig() takes what is said and keeps the rest as usual', () => {
  const config = parseConfig('listen: {port: 9000}\nreserve:\n  pool: 20GiB\n  # store: 1KiB\nlimits:\n', 'x.yaml')
  assert.equal(config.listen.port, 9000)
  assert.equal(config.listen.address, '127.0.0.1')
  assert.equal(config.reserve.pool, 20 * GIB)
  assert.deepEqual(config.limits, CONFIG_DEFAULTS.limits)
})

test('parseConfig() refuses every unknown setting by name and line, at whatever depth', () => {
  assert.deepEqual(faultsOf('lissen: {}\nlimits:\n  requestPerSecond: 3\n'), [
    'line 1: lissen is no setting here; there are listen, tls, limits, hosts, networks, imports, reserve, snapshots, machines, vaults, alerts, retention, metrics',
    'line 3: limits.requestPerSecond is no setting here; there are requestsPerSecond, requestsBurst, operationsAtOnce, backupsAtOnce, tasksAtOnce, bytesPerSecond',
  ])
  for (const name of ['__proto__', 'constructor', 'toString'])
    assert.match(faultsOf(`listen:\n  ${name}: 1\n`).join(), new RegExp(`listen\\.${name} is no setting`))
})

test('parseConfig() refuses values that are not what they must be, all at once', () => {
  const found = faultsOf(
    'listen: {address: everywhere, port: 70000}\nreserve: {pool: much}\nimports: {folders: [a], hosts: ["http://x/"]}\nsnapshots: 3\n',
  )
  assert.equal(found.length, 6)
  assert.match(found.join('\n'), /line 1: listen\.port must be a whole number from 0 to 65535/)
  assert.match(found.join('\n'), /line 4: snapshots must hold settings/)
  for (const host of ['https://host/', 'user@host', 'host/x', 'a b', ''])
    assert.equal(faultsOf(`imports: {hosts: ["${host}"]}`).length, 1, host)
})

test('parseConfig() refuses what contradicts itself, and what is no YAML', () => {
  assert.match(faultsOf('tls: {certificate: /a.pem}').join(), /both certificate and key/)
  assert.match(faultsOf('retention: {operationDays: 91}').join(), /operationDays must not be more/)
  assert.equal(faultsOf('listen: {port: 1}\nlisten: {port: 2}\n').length, 1)
  assert.equal(faultsOf('a: [').length, 1)
  assert.equal(faultsOf('- listen').length, 1)
})

test('configText() is read back as the settings that it shows, with and without what is usual', () => {
  const changed = { ...CONFIG_DEFAULTS, listen: { address: '::1', port: 0, names: ['backup.example.org'] } }
  for (const config of [CONFIG_DEFAULTS, changed])
    for (const all of [false, true]) assert.deepEqual(parseConfig(configText(config, all), 'shown'), config)
  assert.equal(parse(configText(CONFIG_DEFAULTS)).listen, null, 'what is usual is commented out')
  const uncommented = configText(CONFIG_DEFAULTS).replaceAll(/^( +)#(?! )/gm, '$1')
  assert.deepEqual(parseConfig(uncommented, 'uncommented'), CONFIG_DEFAULTS)
})

test('docs/configuration.md shows every setting with its usual value, and configJsonSchema() has the same', () => {
  const manual = readFileSync(join(import.meta.dirname, '../../../docs/configuration.md'), 'utf8')
  const rows = Array.from(
    manual.matchAll(/^\| `([a-z]+\.[a-zA-Z]+)` \| `(.*?)` \| (.*) \|$/gm),
    ([, ...cells]) => cells,
  )
  const expected = settingRows().map(({ path, standard, comment }) => [path, standard, comment])
  assert.deepEqual(rows, expected)
  const { properties } = configJsonSchema() as { properties: Record<string, { properties: object }> }
  const paths = Object.entries(properties).flatMap(([name, inner]) =>
    Object.keys(inner.properties).map((below) => `${name}.${below}`),
  )
  assert.deepEqual(
    paths,
    expected.map(([path]) => path),
  )
})
