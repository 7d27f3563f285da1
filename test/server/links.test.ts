/** Servers of two regions, linked: what each shows of the other, who may do what there, what a lost one takes with it. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Diagnosis, Health, NewPrincipal, RegionView } from '#server'
import type { FaceClient } from '../api/face-client.ts'
import { start } from '../cli/command-line.ts'
import { until } from '../jobs/processes.ts'
import { linkedIn, type LinkedRegionView, LinkWorld, Way, withoutRegion } from './link-world.ts'
import { ServedHome } from './served-home.ts'

type List = { value: { name?: string; id: string; subscriptionId?: string; location?: string }[] }
type Failure = { error: { code: string; message: string } }
const V = 'api-version=2024-11-01'

async function subscriptionOf(client: FaceClient): Promise<string> {
  return `/subscriptions/${(await client.record()).subscriptionId}`
}

/** Asks the endpoint of the home without a token. */
async function raw(
  home: ServedHome,
  method: string,
  url: string,
  headers: Record<string, string> = {},
  body?: string,
): Promise<{ status: number; bytes: Buffer }> {
  const { endpoint, caFile } = await home.face()
  const ca = await readFile(caFile, 'utf8')
  return new Promise((resolve, reject) => {
    const sent = request(new URL(url, endpoint), { method, headers, ca, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, bytes: Buffer.concat(parts) }))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

test('Linked servers show and serve each other, as far as both allow; a lost one takes nothing of the other with it', async (t) => {
  await using world = await LinkWorld.make()
  const { east, west } = world
  const [eastFace, westFace] = [world.face(east), world.face(west)]
  const [ownSub, otherSub] = [await subscriptionOf(eastFace), await subscriptionOf(westFace)]

  await t.test('servers that both have a region of one name are not linked, and nothing is changed', async () => {
    const invitation = await world.invitation()
    const refused = await east.fail('region', 'link', invitation)
    assert.deepEqual([refused.code, refused.exitCode], ['link_region_shared', 5])
    assert.match(refused.message, /eastus|westus/)
    assert.deepEqual([await linkedIn(east), await linkedIn(west)], [{}, {}])
    await world.divide()
    await east.run('region', 'link', invitation, '--role', 'Contributor')
    assert.deepEqual([await linkedIn(east), await linkedIn(west)], [{ westus: 'reachable' }, { eastus: 'reachable' }])
  })

  await t.test('an invitation is good once, and what is none is told', async () => {
    const invitation = await world.invitation()
    const self = await west.fail('region', 'link', invitation)
    assert.equal(self.code, 'link_refused')
    for (const wrong of ['hfl1.nonsense', 'hello', invitation.slice(0, -9)])
      assert.equal((await east.fail('region', 'link', wrong)).code, 'link_invitation_invalid', wrong)
    const forged = JSON.parse(Buffer.from(invitation.slice(5), 'base64url').toString('utf8')) as Record<string, unknown>
    const other = `hfl1.${Buffer.from(JSON.stringify({ ...forged, secret: 'another' })).toString('base64url')}`
    const refused = await east.fail('region', 'link', other)
    assert.deepEqual([refused.code, refused.exitCode], ['link_invitation_invalid', 5])
    assert.deepEqual(await linkedIn(east), { westus: 'reachable' }, 'a refused one harms no link')
  })

  await t.test('a region, its pair and its server are told on both sides; a name of the other is taken', async () => {
    const paired = await east.run<RegionView>('region', 'pair', 'eastus', 'westus')
    assert.equal(paired.pair, 'westus')
    assert.equal((await west.run<RegionView>('region', 'show', 'westus')).pair, 'eastus')
    const shown = await east.run<LinkedRegionView>('region', 'show', 'westus')
    assert.equal(shown.link?.subscription, otherSub.slice(15))
    assert.equal((await east.fail('region', 'add', 'westus')).code, 'place_exists')
    await east.run('region', 'pair', 'eastus')
    assert.equal((await west.run<RegionView>('region', 'show', 'westus')).pair, undefined, 'over on both sides')
    await west.run('region', 'pair', 'westus', 'eastus')
    assert.equal((await east.run<RegionView>('region', 'show', 'eastus')).pair, 'westus')
  })

  await t.test('subscriptions and locations of both are listed', async () => {
    const subscriptions = (await eastFace.ask<List>('GET', `/subscriptions?${V}`)).body.value
    assert.deepEqual(
      subscriptions.map(({ id }) => id),
      [ownSub, otherSub],
    )
    const locations = (await eastFace.ask<List>('GET', `${ownSub}/locations?${V}`)).body.value
    assert.deepEqual(
      locations.map(({ name }) => name),
      ['eastus', 'westus'],
    )
    const theirs = (await eastFace.ask<List>('GET', `${otherSub}/locations?${V}`)).body.value
    assert.deepEqual(
      theirs.map(({ name }) => name),
      ['westus', 'eastus'],
      'the owner answers',
    )
  })

  await t.test('the role of the link bounds what principals of the other may', async () => {
    const put = await eastFace.ask<Failure>('PUT', `${otherSub}/resourceGroups/web?${V}`, { location: 'westus' })
    assert.deepEqual([put.status, put.body.error.code], [403, 'AuthorizationFailed'], 'west made them readers')
    assert.equal((await westFace.ask<List>('GET', `${otherSub}/resourceGroups?${V}`)).body.value.length, 0)
    await world.link('--role', 'Contributor')
    const made = await eastFace.ask('PUT', `${otherSub}/resourceGroups/web?${V}`, { location: 'westus' })
    assert.equal(made.status, 201, made.text)
    const scope = `${otherSub}/resourceGroups/web/providers/Microsoft.Authorization/roleAssignments/${crypto.randomUUID()}`
    const owner = {
      properties: { roleDefinitionId: 'x/8e3af657-a8ff-443c-a75c-2fe8c4bcb635', principalId: crypto.randomUUID() },
    }
    assert.equal((await eastFace.ask('PUT', `${scope}?${V}`, owner)).status, 403, 'a Contributor gives no roles')
  })

  await t.test('what a principal may not at home, it may not there', async () => {
    const reader = await east.run<NewPrincipal>('principal', 'add', 'reader')
    await east.run('role', 'assign', 'Reader', 'reader', '--scope', '/')
    const form = { grant_type: 'client_credentials', client_id: reader.clientId, client_secret: reader.secret }
    const { endpoint } = await east.face()
    const body = new URLSearchParams({ ...form, scope: `${endpoint}//.default` }).toString()
    const token = JSON.parse((await raw(east, 'POST', '/adfs/oauth2/token', {}, body)).bytes.toString()) as {
      access_token: string
    }
    const headers = { authorization: `Bearer ${token.access_token}`, 'content-type': 'application/json' }
    assert.equal((await raw(east, 'GET', `${otherSub}/resourceGroups/web?${V}`, headers)).status, 200)
    const put = await raw(east, 'PUT', `${otherSub}/resourceGroups/other?${V}`, headers, '{"location":"westus"}')
    assert.equal(put.status, 403)
  })

  const disk = `${otherSub}/resourceGroups/web/providers/Microsoft.Compute/disks/data`
  await t.test('a disk of the other is made, listed, read by URL and tagged; its owner knows who did it', async () => {
    const creationData = { createOption: 'Empty' }
    const answer = await eastFace.ask('PUT', `${disk}?${V}`, {
      location: 'westus',
      properties: { diskSizeGB: 1, creationData },
    })
    assert.equal(answer.status, 202, answer.text)
    const { endpoint } = await east.face()
    for (const name of ['azure-asyncoperation', 'location'])
      assert.equal(new URL(String(answer.headers[name])).origin, endpoint, `${name} leads to the server that was asked`)
    assert.equal((await eastFace.followed<{ status: string }>(answer)).status, 'Succeeded')
    assert.equal((await westFace.ask<{ location: string }>('GET', `${disk}?${V}`)).body.location, 'westus')
    const listed = await eastFace.ask<List>('GET', `${otherSub}/providers/Microsoft.Compute/disks?${V}`)
    assert.deepEqual(
      listed.body.value.map(({ name }) => name),
      ['data'],
    )
    const tagged = await eastFace.ask<{ tags: object }>('PATCH', `${disk}?${V}`, { tags: { by: 'east' } })
    assert.deepEqual(tagged.body.tags, { by: 'east' })
    const access = await eastFace.ask('POST', `${disk}/beginGetAccess?${V}`, { access: 'Read', durationInSeconds: 600 })
    const granted = await eastFace.followed<{ properties: { output: { accessSAS: string } } }>(access)
    const url = granted.properties.output.accessSAS
    assert.equal(new URL(url).origin, endpoint)
    const part = await raw(east, 'GET', url, { range: `bytes=${2 ** 30}-${2 ** 30 + 511}` })
    assert.deepEqual(
      [part.status, part.bytes.subarray(0, 8).toString()],
      [206, 'conectix'],
      'the footer of a fixed VHD',
    )
    assert.equal((await raw(east, 'GET', url.replace(/sig=.../, 'sig=abc'))).status, 403)
    const log = await westFace.ask<{ value: { caller: string; operationName: { value: string } }[] }>(
      'GET',
      `${otherSub}/providers/Microsoft.Insights/eventtypes/management/values?${V}`,
    )
    const { clientId } = await eastFace.record()
    const made = log.body.value.find(({ operationName }) => operationName.value === 'Microsoft.Compute/disks/write')
    assert.equal(made?.caller, `${clientId}@${ownSub.slice(15)}`)
  })

  await t.test('what lies outside of the subscription is out of reach, whatever the roles', async () => {
    const creationData = { createOption: 'Import', sourceUri: 'file:///etc/passwd' }
    const body = { location: 'westus', properties: { creationData } }
    const refused = await eastFace.ask<Failure>(
      'PUT',
      `${otherSub}/resourceGroups/web/providers/Microsoft.Compute/disks/x?${V}`,
      body,
    )
    assert.deepEqual([refused.status, refused.body.error.code], [403, 'LinkedAuthorizationFailed'])
    const url = `/linked/${otherSub.slice(15)}/metadata/endpoints?api-version=2022-09-01`
    assert.equal((await raw(east, 'GET', url)).status, 404, 'nothing but signed bytes by that way')
    assert.equal((await raw(east, 'GET', `/linked/${crypto.randomUUID()}/blob/x/y`)).status, 404)
    const deployment = `${otherSub}/resourceGroups/web/providers/Microsoft.Resources/deployments/d`
    const template = { properties: { mode: 'Incremental', template: { resources: [] } } }
    assert.equal((await eastFace.ask<Failure>('PUT', `${deployment}?${V}`, template)).body.error.code, 'NotSupported')
  })

  await t.test('what belongs elsewhere is refused with the name of the subscription to use', async () => {
    const group = await eastFace.ask<Failure>('PUT', `${ownSub}/resourceGroups/web?${V}`, { location: 'westus' })
    assert.equal(group.body.error.code, 'LocationNotAvailableForResourceGroup')
    assert.match(group.body.error.message, new RegExp(otherSub.slice(15)))
  })

  await t.test(
    'nobody but a linked server hands requests over: no signature, a foreign one, an altered body',
    async () => {
      const { subscriptionId } = await eastFace.record()
      const caller = {
        id: crypto.randomUUID(),
        clientId: crypto.randomUUID(),
        name: 'x',
        grants: [{ scope: '/', roleId: '8e3af657-a8ff-443c-a75c-2fe8c4bcb635' }],
      }
      const message = JSON.stringify({
        method: 'DELETE',
        target: `${disk}?${V}`,
        baseUrl: 'https://localhost',
        headers: {},
        body: '',
        caller,
      })
      const { SignJWT, generateKeyPair } = await import('jose')
      const { privateKey } = await generateKeyPair('EdDSA')
      const signed = async (iss: string): Promise<string> =>
        `Holdfast-Link ${await new SignJWT({
          act: 'forward',
          dig: createHash('sha256').update(message).digest('base64url'),
        })
          .setProtectedHeader({ alg: 'EdDSA' })
          .setIssuer(iss)
          .setAudience(otherSub.slice(15))
          .setIssuedAt()
          .setExpirationTime('1m')
          .setJti(randomBytes(8).toString('hex'))
          .sign(privateKey)}`
      for (const authorization of [
        '',
        'Holdfast-Link x.y.z',
        await signed(subscriptionId),
        await signed(crypto.randomUUID()),
      ]) {
        const { status } = await raw(west, 'POST', '/holdfast/links/forward', { authorization }, message)
        assert.ok(status === 401 || status === 403, String(status))
      }
      assert.equal((await westFace.ask('GET', `${disk}?${V}`)).status, 200)
    },
  )

  await t.test('a lost server takes only its own subscription with it, and comes back by itself', async () => {
    await west.killServe()
    assert.deepEqual(await linkedIn(east), { westus: 'unreachable' })
    for (const path of ['/subscriptions', `${ownSub}/locations`, `${ownSub}/resourceGroups`, `${ownSub}/resources`])
      assert.equal((await eastFace.ask('GET', `${path}?${V}`)).status, 200, path)
    const lost = await eastFace.ask<Failure>('GET', `${disk}?${V}`)
    assert.deepEqual([lost.status, lost.body.error.code], [503, 'ServiceUnavailable'])
    assert.match(lost.body.error.message, /westus/)
    const { links } = await east.run<Health>('status')
    assert.equal(links[0]?.state, 'unreachable')
    assert.ok(links[0]?.lastSeen !== undefined)
    const { healthy } = JSON.parse((await raw(east, 'GET', '/healthz')).bytes.toString()) as { healthy: boolean }
    assert.equal(healthy, true, 'a link is no part of its health')
    const { findings } = await east.run<Diagnosis>('doctor')
    assert.equal(findings.find(({ check }) => check === 'link westus')?.severity, 'warning')
    await west.serve()
    await until(
      'the link is back, at another port',
      async () => (await linkedIn(east))['westus'] === 'reachable',
      60_000,
    )
    assert.equal((await eastFace.ask('GET', `${disk}?${V}`)).status, 200)
  })

  await t.test('unlinked, both are as before', async () => {
    await east.run('region', 'unlink', 'westus')
    assert.deepEqual([await linkedIn(east), await linkedIn(west)], [{}, {}])
    assert.equal((await east.run<RegionView>('region', 'show', 'eastus')).pair, undefined)
    assert.equal((await west.run<RegionView>('region', 'show', 'westus')).pair, undefined)
    assert.equal((await eastFace.ask('GET', `${disk}?${V}`)).status, 404)
    assert.equal((await westFace.ask('GET', `${disk}?${V}`)).status, 200)
  })
})

test('kill -9 in the middle of linking: both are linked afterwards, or neither, and the same command mends it', async (t) => {
  await using world = await LinkWorld.make()
  const { east, west } = world
  await world.divide()
  const { endpoint } = await west.face()
  await using way = await Way.to(Number(new URL(endpoint).port))
  const invitation = await world.invitation('--endpoint', way.endpoint)
  const begin = () => start(east.folder, ['region', 'link', invitation], { env: east.env })
  const records = () => east.run<Health>('status').then(({ links }) => links.map(({ state }) => state))

  await t.test('killed before the other has heard of it: neither', async () => {
    way.cut = 'what is asked'
    const command = begin()
    await until('the link is begun', async () => (await records())[0] === 'joining')
    await east.killServe()
    way.cut = 'nothing'
    await until('the command has ended', () => command.exitCode !== null)
    await east.serve()
    await until('it is settled', async () => (await records()).length === 0)
    assert.deepEqual([await linkedIn(east), await linkedIn(west)], [{}, {}])
  })

  await t.test('killed before the answer has come: both', async () => {
    way.cut = 'what is answered'
    const command = begin()
    await until('the other has linked', async () => (await west.run<Health>('status')).links.length === 1)
    await east.killServe()
    way.cut = 'nothing'
    await until('the command has ended', () => command.exitCode !== null)
    await east.serve()
    await until('it is settled', async () => (await linkedIn(east))['westus'] === 'reachable')
    assert.deepEqual(await linkedIn(west), { eastus: 'reachable' })
  })

  await t.test('given again, the same command changes nothing; a third server cannot use its invitation', async () => {
    await using third = await ServedHome.make()
    await third.serve()
    await third.run('region', 'add', 'north')
    await withoutRegion(third, 'eastus')
    await withoutRegion(third, 'westus')
    assert.equal((await third.fail('region', 'link', invitation)).code, 'link_invitation_invalid')
    assert.deepEqual(await linkedIn(third), {})
    await east.run('region', 'link', invitation)
    assert.deepEqual([await linkedIn(east), await linkedIn(west)], [{ westus: 'reachable' }, { eastus: 'reachable' }])
  })
})

test('the keys of links lie in files of the owner alone, and an invitation’s secret nowhere', async () => {
  await using world = await LinkWorld.make()
  const invitation = await world.invitation()
  const { secret } = JSON.parse(Buffer.from(invitation.slice(5), 'base64url').toString('utf8')) as { secret: string }
  for (const name of ['catalog.sqlite', 'catalog.sqlite-wal', 'log/serve.log']) {
    const path = join(world.west.home, name)
    if (existsSync(path)) assert.ok(!(await readFile(path)).includes(secret), name)
  }
  assert.equal((await stat(join(world.west.home, 'keys', 'link-signing.json'))).mode & 0o777, 0o600)
})
