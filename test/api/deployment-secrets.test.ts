/**
 * Secure parameters of deployments: not in the catalog, not in a log, not in an answer, not in a file that can be read; and a
 * deployment goes on after its server was stopped, without making again what it had made.
 */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { errnoOf } from '#base'
import { eventually } from '../rig/deadline.ts'
import { ApiWorld, type Ask, VERSION } from './api-world.ts'
import { letGo, Things } from './things.ts'

const PASSWORD = 'Tr0ub4dor"&3-äö'
const DEADLINE_MS = 30_000

/** Every file below, with the forms in which the password would stand in one. */
async function filesWithPassword(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const forms = [PASSWORD, JSON.stringify(PASSWORD).slice(1, -1), JSON.stringify(JSON.stringify(PASSWORD)).slice(3, -3)]
  const needles = [...forms, Buffer.from(PASSWORD).toString('base64').slice(0, 12)].map((form) => Buffer.from(form))
  const found: string[] = []
  let files = 0
  for (const entry of entries) {
    if (!entry.isFile()) continue
    files += 1
    const path = join(entry.parentPath, entry.name)
    const bytes = await readFile(path).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined // its deployment ended meanwhile
      throw error
    })
    if (bytes === undefined) continue
    if (needles.some((needle) => bytes.includes(needle))) found.push(path)
  }
  assert.ok(files > 3, 'the home has files')
  return found
}

function until(what: string, isSo: () => Promise<boolean> | boolean): Promise<true> {
  return eventually(what, DEADLINE_MS, async () => (await isSo()) || undefined)
}

async function endedAt(ask: Ask, path: string, jobs: () => ApiWorld['jobs']): Promise<string> {
  return eventually('the end of the deployment', DEADLINE_MS, async () => {
    await letGo(jobs())
    const { body } = await ask<{ properties: { provisioningState: string } }>('GET', path)
    const state = body.properties.provisioningState
    return ['Accepted', 'Running'].includes(state) ? undefined : state
  })
}

const thing = (name: string, properties: object, dependsOn: string[] = []): object => ({
  type: 'Microsoft.Test/things',
  apiVersion: '2024-01-01',
  name,
  dependsOn,
  properties,
})

const TEMPLATE = {
  contentVersion: '1.0.0.0',
  parameters: {
    password: { type: 'securestring' },
    more: { type: 'secureObject' },
    fallback: { type: 'securestring', defaultValue: PASSWORD },
    derived: { type: 'string', defaultValue: "[concat('x', parameters('password'))]" },
  },
  variables: { line: "[concat('password=', parameters('password'))]" },
  resources: [
    thing('first', { how: 'job', text: ["[variables('line')]", "[parameters('more').inner[0]]"] }),
    thing('refused', { how: 'refuse', text: "[parameters('password')]" }, ['first']),
    thing('last', { text: "[parameters('fallback')]" }, ['first']),
  ],
  outputs: { told: { type: 'string', value: "[parameters('password')]" } },
}

test('Secure parameters are nowhere but in the bodies of the requests that need them', async () => {
  const things = new Things()
  await using world = await ApiWorld.make(things)
  const ask = await world.asker()
  const group = `${world.subscription}/resourceGroups/rg`
  await ask('PUT', `${group}?${VERSION}`, { location: 'eastus' })
  const path = `${group}/providers/Microsoft.Resources/deployments/dep?${VERSION}`
  const parameters = { password: { value: PASSWORD }, more: { value: { inner: [PASSWORD] } } }
  const body = { properties: { mode: 'Incremental', template: TEMPLATE, parameters } }
  const answers = [await ask('POST', path.replace('?', '/validate?'), body), await ask('PUT', path, body)]
  await until('the first part runs', () => things.puts.length === 1)
  assert.deepEqual(things.puts[0]?.body.properties?.text, [`password=${PASSWORD}`, PASSWORD])
  const sealed = join(world.home.folder, 'orders')
  assert.equal((await readdir(sealed)).length, 1, 'sealed while it runs')
  assert.deepEqual(await filesWithPassword(world.home.folder), [], 'while it runs')

  await world.restart()
  const again = await world.asker()
  assert.equal(await endedAt(again, path, () => world.jobs), 'Failed')
  const made = things.names().toSorted()
  assert.deepEqual(made, ['first', 'last', 'refused'], 'what was made before the restart is not made again')
  assert.equal(things.puts.find(({ name }) => name === 'last')?.body.properties?.text, PASSWORD)
  for (const action of ['', '/operations']) answers.push(await again('GET', path.replace('?', `${action}?`)))
  answers.push(await again('POST', path.replace('?', '/exportTemplate?'), {}))
  for (const { status, text } of answers) {
    assert.ok(status < 300, text)
    assert.ok(!text.includes('Tr0ub4dor'), text)
  }
  assert.match(answers[3]?.text ?? '', /The value '\(secure\)' is not allowed/)
  assert.deepEqual(await filesWithPassword(world.home.folder), [], 'when it has ended')
  await until('the order is gone', async () => (await readdir(sealed)).length === 0)
  assert.deepEqual(await readdir(join(world.home.folder, 'keys', 'orders')), [])
})
