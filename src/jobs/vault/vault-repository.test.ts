import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, rename, rm, mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { ManualClock, SeededRandom } from '#base'
import { Catalog, insertResource, putRegion, putStore } from '#catalog'
import { VAULT_SETTINGS_DEFAULT } from '#domain'
import type { RegionRepositoryParts } from '../compute/region-repository.ts'
import { withRepository } from '../repository-access.ts'
import { makeVaultRepository, vaultKeyPath, vaultLocation, vaultPlace, vaultRepository } from './vault-repository.ts'
import { VAULT_TYPE, type VaultBacking } from './vault-rows.ts'

let folder = ''
let store = ''
let catalog: Catalog
let parts: RegionRepositoryParts
const clock = new ManualClock(1_790_000_000_000)
const UID = '7d3e1c52-5a3b-4f6e-9d2b-0c1d2e3f4a5b'
const settings = VAULT_SETTINGS_DEFAULT
const ID = '/subscriptions/s/resourceGroups/g/providers/Microsoft.RecoveryServices/vaults/v1'

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-vault-'))
  store = join(folder, 'store')
  await mkdir(store)
  catalog = await Catalog.open(join(folder, 'catalog.sqlite'), clock)
  const random = new SeededRandom(7)
  const host = { clock, random, cacheFolder: join(folder, 'cache'), writer: 'test' }
  parts = { catalog, keysFolder: join(folder, 'keys'), host }
  await catalog.write(async (trx) => {
    await putRegion(trx, { name: 'local', displayName: 'Local', pair: undefined, geography: 'x', createdMs: 1 })
    const row = {
      region: 'local',
      name: 'first',
      location: store,
      repositoryId: undefined,
      shared: false,
      createdMs: 1,
    }
    await putStore(trx, row)
  })
})
afterEach(async () => {
  await catalog.close()
  await rm(folder, { recursive: true })
})

async function record(backing: VaultBacking): Promise<void> {
  const row = {
    id: ID,
    subscription: 's',
    group: '/subscriptions/s/resourceGroups/g',
    type: VAULT_TYPE,
    name: 'v1',
    location: 'local',
    tags: {},
    state: 'Succeeded',
    body: {},
    backing,
  }
  await catalog.write((trx) => insertResource(trx, row, { nowMs: () => 1, newEtag: () => 'e' }))
}

test('A vault’s repository is made once inside the region’s store, with a key of its own, and opened by it', async () => {
  const location = await vaultPlace(parts, 'local', UID)
  assert.equal(location, join(store, 'vaults', UID))
  const place = { uid: UID, region: 'local', location }
  const first = await makeVaultRepository(parts, place)
  assert.equal(await makeVaultRepository(parts, place), first, 'a second call gives the same')
  await record({ ...place, settings, repositoryId: first, mirror: { region: 'far', location: '/srv/far/vaults/x' } })
  const found = await vaultRepository(parts, ID.toUpperCase())
  assert.equal(found.repositoryId, first)
  assert.deepEqual(found.mirror, { ...found.access, store: '/srv/far/vaults/x' })
  const id = await withRepository(found.access, parts.host, (repository) => Promise.resolve(repository.config.id))
  assert.equal(id, first)
  const other = { ...found.access.credential, path: join(folder, 'keys', 'region-local.key') }
  await assert.rejects(
    withRepository({ ...found.access, credential: other }, parts.host, () => Promise.resolve()),
    { code: 'key_wrong' },
    'the region’s key does not open a vault',
  )
})

test('A vault is not made in the empty folder of a store whose file system is away', async () => {
  await makeVaultRepository(parts, { uid: UID, region: 'local', location: vaultLocation(store, UID) })
  await rename(store, `${store}-away`)
  await mkdir(store)
  const uid = UID.replace('7', '8')
  const place = { uid, region: 'local', location: vaultLocation(store, uid) }
  await assert.rejects(makeVaultRepository(parts, place), { code: 'repository_not_found' })
  assert.ok(!existsSync(join(store, 'vaults')))
})

test('A vault that is being made, is not there, lost its key, or lies where its host cannot reach is refused by name', async () => {
  await assert.rejects(vaultRepository(parts, ID), { code: 'vault_not_there' })
  const place = { uid: UID, region: 'local', location: vaultLocation(store, UID) }
  const repositoryId = await makeVaultRepository(parts, place)
  await record({ ...place, settings, repositoryId })
  await assert.rejects(vaultRepository(parts, ID, 'rack2'), { code: 'store_not_shared' })
  await rm(vaultKeyPath(parts.keysFolder, UID))
  await assert.rejects(vaultRepository(parts, ID), { code: 'vault_key_missing' })
  const bad = { ...place, uid: '../../etc' }
  await assert.rejects(makeVaultRepository(parts, bad), { code: 'job_input_invalid' })
})

test('A vault in a bucket lies below the prefix of its store', () => {
  const location = vaultLocation('s3://bucket/deep/er?endpoint=https%3A%2F%2Fs3.example&region=x', 'u')
  assert.match(location, /^s3:\/\/bucket\/deep\/er\/vaults\/u\/\?/)
})
