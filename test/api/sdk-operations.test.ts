/**
 * Every operation of the official SDKs that concern us is served or refused by name. The SDKs of the older generation carry their
 * operations as data (path, method, codes); each is asked with a real request. (`az` and the newer SDKs send the same paths.)
 */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { ApiWorld, VERSION } from './api-world.ts'

type Operation = Readonly<{ path: string; method: string }>
type Failure = { error: { code: string; message: string } }

/** Packages of the older generation, and how many operations they have at least: fewer would mean that we read them wrongly. */
const SDKS = [
  ['arm-compute-with-mappers', 250],
  ['arm-resources-with-mappers', 40],
  ['arm-deployments-with-mappers', 90],
  ['arm-network-with-mappers', 500],
] as const

const SPEC = /path:\s*"([^"]+)",\s*httpMethod:\s*"(GET|PUT|POST|PATCH|DELETE|HEAD)"/g

function operationsOf(sdk: string): Operation[] {
  const files = globSync(`node_modules/${sdk}/dist*/**/operations/*.js`).filter((path) => !path.includes('commonjs'))
  const found = new Map<string, Operation>()
  for (const file of files)
    for (const [, path = '', method = ''] of readFileSync(file, 'utf8').matchAll(SPEC))
      if (!path.startsWith('{nextLink}') && path !== '{nextLink}') found.set(`${method} ${path}`, { path, method })
  return [...found.values()]
}

function filled(path: string, subscription: string): string {
  return path
    .replace(/^\/?\{scope\}|^\/?\{resourceScope\}|^\/?\{resourceUri\}/, subscription)
    .replace(/^\/?\{resourceId\}|^\/?\{linkId\}/, `${subscription}/resourceGroups/rg/providers/Microsoft.Sql/servers/s`)
    .replace('{subscriptionId}', subscription.slice('/subscriptions/'.length))
    .replaceAll(/\{(resourceGroupName|sourceResourceGroupName)\}/g, 'rg')
    .replaceAll(/\{(parentResourcePath)\}/g, 'parents/p')
    .replaceAll(/\{resourceProviderNamespace\}/g, 'Microsoft.Sql')
    .replaceAll(/\{resourceType\}/g, 'servers')
    .replaceAll(/\{location\}/g, 'eastus')
    .replaceAll(/\{\w+\}/g, 'x1')
}

for (const [sdk, operationsMin] of SDKS)
  test(`${sdk}: every operation is served or refused by name`, async (t) => {
    if (!existsSync(`node_modules/${sdk}`)) return t.skip(`the package ${sdk} is not installed`)
    const operations = operationsOf(sdk)
    assert.ok(operations.length >= operationsMin, `${operations.length} operations were found`)
    await using world = await ApiWorld.make()
    const ask = await world.asker()
    await ask('PUT', `${world.subscription}/resourceGroups/rg?${VERSION}`, { location: 'eastus' })
    const counts = { served: 0, refused: 0 }
    for (const { method, path } of operations) {
      const target = `${filled(path, world.subscription)}?${VERSION}`
      const body = method === 'GET' || method === 'HEAD' || method === 'DELETE' ? undefined : {}
      const answer = await ask<Failure>(method, target.startsWith('/') ? target : `/${target}`, body)
      const what = `${method} ${path}: ${answer.status} ${answer.text.slice(0, 300)}`
      assert.ok(answer.status < 500, what)
      if (answer.text !== '') assert.match(String(answer.headers['content-type']), /^application\/json/, what)
      if (answer.status < 400 || method === 'HEAD') {
        counts.served += 1
        continue
      }
      const { code, message } = answer.body.error
      assert.ok(code !== '' && message !== '', what)
      if (code !== 'InvalidResourceType') {
        counts.served += 1
        continue
      }
      counts.refused += 1
      const namespace = /\/providers\/([^/{}]+)(?!.*\/providers\/[^/{}]+\/)/.exec(path)?.[1] ?? ''
      if (!path.includes('{resourceProviderNamespace}')) assert.ok(message.includes(namespace), what)
      assert.match(message, /'[^']+' of the namespace 'Microsoft\.\w+'/i, what)
    }
    t.diagnostic(`${counts.served} served, ${counts.refused} refused by name`)
    return undefined
  })
