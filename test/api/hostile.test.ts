/**
 * 20,000 requests of somebody who means harm, or of a broken program: each is refused with a 4xx in the right shape, and
 * afterwards everything is as it was. HOLDFAST_HOSTILE_SEED=n sends those of another seed, HOLDFAST_HOSTILE_COUNT=n so many,
 * HOLDFAST_HOSTILE_FROM=n from that one on.
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type CryptoKey, importJWK, type JWK, type JWTPayload, SignJWT } from 'jose'
import { deleteResource, listResources } from '#catalog'
import { systemClock } from '#runtime'
import { followed, VERSION } from './api-world.ts'
import { DiskWorld, patchyDisk } from './disk-world.ts'
import type { Kind, Target } from './hostile/request.ts'
import { serviceSas } from './service-sas.ts'
import { hostileRequest, KINDS, Walker, type WalkReport } from './hostile/walk.ts'
import { walkInThread } from './hostile/walk-thread.ts'

const environment = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise)
const SEED = environment('HOLDFAST_HOSTILE_SEED', 1)
const COUNT = environment('HOLDFAST_HOSTILE_COUNT', 20_000)
const FROM = environment('HOLDFAST_HOSTILE_FROM', 0)
const MIB = 1024 * 1024

type Created = Readonly<{ id: string }>

class HostileWorld {
  readonly disks: DiskWorld
  readonly target: Target
  readonly walker: Walker
  readonly #ca: string

  private constructor(disks: DiskWorld, target: Target, ca: string) {
    this.disks = disks
    this.target = target
    this.#ca = ca
    this.walker = new Walker(disks.api.record.endpoint, ca, target)
  }

  static async make(): Promise<HostileWorld> {
    const disks = await DiskWorld.make()
    try {
      return new HostileWorld(disks, await furnish(disks), await readFile(disks.api.record.caFile, 'utf8'))
    } catch (error) {
      await disks[Symbol.asyncDispose]()
      throw error
    }
  }

  walk(): Promise<WalkReport> {
    const { endpoint } = this.disks.api.record
    return walkInThread({ endpoint, ca: this.#ca, target: this.target, seed: SEED, from: FROM, count: COUNT })
  }

  /** All that a request could have changed: the catalog but for the log of what was tried, and the files of the home. */
  async state(): Promise<unknown> {
    const { catalog, home } = this.disks.api
    const { db } = catalog
    const jobs = await db.selectFrom('job').select(['id', 'name', 'status']).orderBy('id').execute()
    const tables = ['resource', 'operation', 'principal', 'principal_credential', 'role_assignment', 'setting'] as const
    const rows: unknown[] = []
    for (const table of tables)
      rows.push((await db.selectFrom(table).selectAll().execute()).map((row) => JSON.stringify(row)).sort())
    const files: string[] = []
    for (const path of (await readdir(home.folder, { recursive: true })).sort()) {
      if (/^(catalog\.sqlite|run|logs?|instants)/.test(path)) continue
      const { size, mtimeMs } = await stat(join(home.folder, path))
      files.push(`${path} ${size} ${mtimeMs}`)
    }
    return { jobs, rows, files }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.walker.close()
    await this.disks[Symbol.asyncDispose]()
  }
}

/** Something of every kind, so that what is not refused has something to change or to show. */
async function furnish(world: DiskWorld): Promise<Target> {
  const { api, ask, group } = world
  const put = async (path: string, body: unknown): Promise<string> => {
    const answer = await ask<Created>('PUT', `${path}?${VERSION}`, body)
    assert.ok(answer.status < 300, `${path}: ${answer.text}`)
    if (answer.status === 202 || answer.headers['azure-asyncoperation'] !== undefined) await followed(ask, answer)
    return answer.body.id
  }
  const inGroup = (type: string, name: string): string => `${group}/providers/${type}/${name}`
  await world.import('d1', patchyDisk(1, MIB))
  const disk = world.id('d1')
  const creationData = { createOption: 'Copy', sourceResourceId: disk }
  const snapshot = await put(inGroup('Microsoft.Compute/snapshots', 's1'), {
    location: 'eastus',
    properties: { creationData },
  })
  await world.succeed(await world.put('up', { creationData: { createOption: 'Upload', uploadSizeBytes: MIB + 512 } }))
  const account = await put(inGroup('Microsoft.Storage/storageAccounts', 'acct1'), {
    location: 'eastus',
    kind: 'StorageV2',
    sku: { name: 'Standard_LRS' },
  })
  const deployment = await put(inGroup('Microsoft.Resources/deployments', 'dep1'), {
    properties: { mode: 'Incremental', template: { contentVersion: '1.0.0.0', resources: [] } },
  })
  const vault = await put(inGroup('Microsoft.RecoveryServices/vaults', 'vault1'), { location: 'eastus' })
  const elsewhere = `${api.subscription}/resourceGroups/rg2`
  await put(elsewhere, { location: 'eastus' })
  const lock = await put(`${elsewhere}/providers/Microsoft.Authorization/locks/l1`, {
    properties: { level: 'CanNotDelete' },
  })
  const { id: principal } = await api.principal('somebody', [])
  const secret = (await readFile(api.record.clientSecretFile, 'utf8')).trim()
  const token = await api.token()
  const pathOf = (url: string): string => url.slice(api.record.endpoint.length)
  return {
    subscription: api.subscription,
    group,
    disk,
    snapshot,
    account,
    lock,
    deployment,
    vault,
    principal,
    token,
    clientId: api.record.clientId,
    secret,
    badTokens: await badTokens(world, token),
    signedDisk: pathOf(await world.grant('d1')),
    signedUpload: pathOf(await world.grant('up', 'Write')),
    signedBlob: await signedBlob(world, account),
  }
}

/** A blob of the account, and a SAS of an hour to read it. */
async function signedBlob({ ask, api }: DiskWorld, account: string): Promise<string> {
  type Keys = { keys: { value: string }[] }
  const { body } = await ask<Keys>('POST', `${account}/listKeys?${VERSION}`)
  const key = body.keys[0]?.value ?? ''
  const expiryMs = systemClock.nowMs() + 3_600_000
  const sas = (resource: string, kind: 'b' | 'c', permissions: string): string =>
    serviceSas(key, { account: 'acct1', resource, kind, permissions, expiryMs })
  const inside = { method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob', 'content-length': '3' } }
  const container = await api.raw({
    ...inside,
    path: `/acct1/vhds?restype=container&${sas('/vhds', 'c', 'cw')}`,
    headers: {},
  })
  assert.equal(container.status, 201, container.text)
  const blob = await api.raw({ ...inside, path: `/acct1/vhds/b.bin?${sas('/vhds/b.bin', 'b', 'cw')}`, body: 'abc' })
  assert.equal(blob.status, 201, blob.text)
  return `/acct1/vhds/b.bin?${sas('/vhds/b.bin', 'b', 'r')}`
}

/** As they would stand behind `authorization`. All speak of the administrator, or of who is gone. */
async function badTokens({ api }: DiskWorld, token: string): Promise<string[]> {
  const [head = '', payload = '', signature = ''] = token.split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as JWTPayload
  const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as { alg: string; kid: string }
  const jwk = JSON.parse(await readFile(join(api.home.folder, 'keys', 'token-signing.json'), 'utf8')) as JWK
  const own = (await importJWK(jwk, 'RS256')) as CryptoKey
  const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const signed = (more: JWTPayload, key: Parameters<SignJWT['sign']>[0] = own, alg = 'RS256'): Promise<string> =>
    new SignJWT({ ...claims, ...more }).setProtectedHeader({ ...header, alg }).sign(key)
  const now = Math.floor(systemClock.nowMs() / 1000)
  const text = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const gone = await api.principal('gone', [{ role: '8e3af657-a8ff-443c-a75c-2fe8c4bcb635', scope: '/' }])
  const forged = [
    await signed({ exp: now - 600 }),
    await signed({ nbf: now + 6000 }),
    await signed({ aud: 'https://evil.example/' }),
    await signed({ aud: [] }),
    await signed({ oid: '0b1f6471-1bf0-4dda-aec3-cb9272f09590' }),
    await signed({ oid: undefined }),
    await signed({ oid: gone.id }),
    await signed({}, other),
    await signed({}, new TextEncoder().encode(String(jwk.n)), 'HS256'),
    `${text({ ...header, alg: 'none' })}.${payload}.`,
    `${text({ ...header, alg: 'none' })}.${payload}.${signature}`,
    `${head}.${text({ ...claims, exp: now + 999_999 })}.${signature}`,
    `${head}.${payload}.`,
    `${head}.${payload}`,
    `${head}.${payload}.${signature.slice(2)}`,
    `${head}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`,
    `${token}.${signature}`,
    'a.b.c',
    '...',
    'x'.repeat(9000),
  ]
  await removePrincipal(api, gone.id)
  return [
    ...forged.map((one) => `Bearer ${one}`),
    'Bearer',
    'Bearer ',
    `Basic ${Buffer.from('a:b').toString('base64')}`,
    token,
    `Bearer ${token} x`,
  ]
}

async function removePrincipal({ catalog }: DiskWorld['api'], id: string): Promise<void> {
  await catalog.write(async (trx) => {
    await trx.deleteFrom('role_assignment').where('principal', '=', id).execute()
    await trx.deleteFrom('principal_credential').where('principal', '=', id).execute()
    await trx.deleteFrom('principal').where('id', '=', id).execute()
  })
}

test('hostile requests', async (t) => {
  await using world = await HostileWorld.make()
  const { walker, target, disks } = world

  await t.test(`${COUNT} of seed ${SEED} are refused, in the right shape, and change nothing`, async () => {
    const before = await world.state()
    const startMs = systemClock.monotonicMs()
    const { wrong, sent, kinds } = await world.walk()
    console.log(`${sent} requests of ${kinds.size} kinds in ${Math.round(systemClock.monotonicMs() - startMs)} ms`)
    assert.deepEqual(wrong, [], `Replay: HOLDFAST_HOSTILE_SEED=${SEED} script/node --test test/api/hostile.test.ts`)
    assert.deepEqual(await world.state(), before)
  })

  await t.test('and it serves as before', async () => {
    const tagged = await disks.ask('PATCH', disks.at('d1'), { tags: { still: 'here' } })
    assert.equal(tagged.status, 200, tagged.text)
    for (const url of [target.signedDisk, target.signedBlob])
      assert.equal((await disks.api.raw({ method: 'GET', path: url })).status, 200, url)
  })

  await t.test('canary: a request that is done, one that shows something and one that breaks are seen', async () => {
    const before = await world.state()
    const canary: Kind = (random, { group, disk }) =>
      random.pick([
        { kind: 'done', method: 'PATCH', path: `${disk}?${VERSION}`, body: '{"tags":{"hostile":"yes"}}', shape: 'arm' },
        { kind: 'shown', method: 'GET', path: `${group}?${VERSION}`, shape: 'arm' },
      ])
    const { wrong } = await walker.walk([[canary, 1]], SEED, 0, 8)
    assert.equal(wrong.length, 8)
    assert.notDeepEqual(await world.state(), before)
    await disks.api.catalog.write((trx) => deleteResource(trx, disks.id('up')))
    assert.ok((await listResources(disks.api.catalog, {})).length > 0)
  })

  await t.test('a seed says the same every time', () => {
    for (const number of [0, 7, 19_999])
      assert.deepEqual(hostileRequest(KINDS, SEED, number, target), hostileRequest(KINDS, SEED, number, target))
    assert.notDeepEqual(hostileRequest(KINDS, 1, 5, target), hostileRequest(KINDS, 2, 5, target))
  })
})
