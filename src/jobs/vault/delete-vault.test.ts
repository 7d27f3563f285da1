import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ManualClock } from '#base'
import { Catalog, findResource, insertResource } from '#catalog'
import { VAULT_SETTINGS_DEFAULT } from '#domain'
import { deletedVaultId, takeOver } from './delete-vault.ts'
import { DELETED_VAULT_TYPE, type VaultBacking } from './vault-rows.ts'

const NOW_MS = 1_790_000_000_000
const UID = '7d3e1c52-5a3b-4f6e-9d2b-0c1d2e3f4a5b'

test('a vault that was brought back and deleted again since it was found due keeps its new time', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hf-purge-'))
  const catalog = await Catalog.open(join(folder, 'catalog.sqlite'), new ManualClock(NOW_MS))
  const source = { nowMs: () => NOW_MS, newEtag: () => 'e' }
  const id = deletedVaultId('s', 'eastus', UID)
  const deleted = { vaultId: '/x/v1', name: 'v1', atMs: NOW_MS, purgeAtMs: NOW_MS + 1 }
  const backing: VaultBacking = {
    uid: UID,
    region: 'eastus',
    location: '/s',
    settings: VAULT_SETTINGS_DEFAULT,
    deleted,
  }
  const common = { subscription: 's', group: undefined, name: UID, location: 'eastus', tags: {}, body: {} }
  try {
    await catalog.write(async (trx) => {
      await insertResource(trx, { ...common, id, type: DELETED_VAULT_TYPE, state: 'Succeeded', backing }, source)
      assert.equal(await takeOver(trx, id, source), false)
    })
    assert.equal((await findResource(catalog, id))?.state, 'Succeeded')
    const later = { ...source, nowMs: () => NOW_MS + 1 }
    assert.equal(await catalog.write((trx) => takeOver(trx, id, later)), true)
    assert.equal((await findResource(catalog, id))?.state, 'Deleting')
    assert.equal(await catalog.write((trx) => takeOver(trx, `${id}x`, later)), false)
  } finally {
    await catalog.close()
    await rm(folder, { recursive: true })
  }
})
