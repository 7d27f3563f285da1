import assert from 'node:assert/strict'
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { must } from '#base'
import { countUnmirroredPoints, listAlerts } from '#catalog'
import { COPY_CATALOG_JOB, MIRROR_VAULT_JOB, readMirrorStatus } from '#jobs'
import { UID, VAULT, VaultWorld } from './vault-world.ts'

async function firstPack(folder: string): Promise<string> {
  const [digits = ''] = await readdir(join(folder, 'packs'))
  const [name = ''] = await readdir(join(folder, 'packs', digits))
  return join(folder, 'packs', digits, name)
}

async function rot(path: string): Promise<void> {
  const bytes = await readFile(path)
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  await writeFile(path, bytes)
}

const openAlerts = async (world: VaultWorld): Promise<string[]> =>
  (await listAlerts(world.catalog, { vaultKey: VAULT.toLowerCase(), onlyOpen: true })).map(({ kind }) => kind)

test('The job of a mirror brings every point over and says so in its record; the mirror restores by the key alone', async () => {
  const world = await VaultWorld.make()
  try {
    const [one, two] = [await world.addPoint(1), await world.addPoint(2)]
    assert.equal((await countUnmirroredPoints(world.catalog, VAULT.toLowerCase())).points, 2)
    const job = await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    assert.equal(job.status, 'succeeded', job.error?.message)
    assert.ok((await world.points()).every(({ mirroredMs }) => mirroredMs !== undefined))
    assert.equal((await countUnmirroredPoints(world.catalog, VAULT.toLowerCase())).points, 0)
    await rename(world.vaultFolder, `${world.vaultFolder}-away`)
    await world.withVault(world.mirrorFolder, async (mirror) => {
      assert.deepEqual(
        mirror.points().map(({ id }) => id),
        [one.id, two.id],
      )
      for (const { id } of mirror.points()) await world.assertRestores(mirror, id)
    })
  } finally {
    await world.close()
  }
})

test('Bit rot on either side is found by the check, healed, told of and noted', async () => {
  const world = await VaultWorld.make()
  try {
    const point = await world.addPoint(1)
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    const hurt = await firstPack(world.vaultFolder)
    const right = await readFile(hurt)
    await rot(hurt)
    await rm(join(world.mirrorFolder, 'log', '000000000002'))
    const job = await world.run(MIRROR_VAULT_JOB, { vault: VAULT, check: true })
    assert.equal(job.status, 'succeeded', job.error?.message)
    const { checked } = await readMirrorStatus(world.catalog, UID)
    assert.equal(checked?.ok, true)
    assert.deepEqual([checked?.source.healed.length, checked?.target.healed], [1, ['log/000000000002']])
    assert.deepEqual(await readFile(hurt), right)
    const told = await listAlerts(world.catalog, { vaultKey: VAULT.toLowerCase() })
    assert.deepEqual(
      told.map(({ kind, resolvedMs }) => [kind, resolvedMs !== undefined]),
      [['DamageHealed', true]],
    )
    await world.withVault(world.vaultFolder, (repository) => world.assertRestores(repository, point.id))
  } finally {
    await world.close()
  }
})

test('A vault whose configuration and only key slot rotted is opened again after the check of its mirror', async () => {
  const world = await VaultWorld.make()
  try {
    const point = await world.addPoint(1)
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    const [slot = ''] = await readdir(join(world.vaultFolder, 'keys'))
    const frame = ['config', `keys/${slot}`]
    for (const object of frame) await rot(join(world.vaultFolder, object))
    const job = await world.run(MIRROR_VAULT_JOB, { vault: VAULT, check: true })
    assert.equal(job.status, 'succeeded', job.error?.message)
    const { checked } = await readMirrorStatus(world.catalog, UID)
    assert.deepEqual([checked?.ok, checked?.source.healed, checked?.target.hurt], [true, frame, []])
    await world.withVault(world.vaultFolder, (repository) => world.assertRestores(repository, point.id))
  } finally {
    await world.close()
  }
})

test('Damage on both sides raises an alert that stays until a check finds none', async () => {
  const world = await VaultWorld.make()
  try {
    await world.addPoint(1)
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    const paths = [await firstPack(world.vaultFolder), await firstPack(world.mirrorFolder)]
    const right = await readFile(must(paths[0], 'a pack'))
    for (const path of paths) await rot(path)
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT, check: true })
    assert.deepEqual(await openAlerts(world), ['VerifyFailed'])
    await writeFile(must(paths[0], 'a pack'), right)
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT, check: true })
    assert.deepEqual(await openAlerts(world), [])
  } finally {
    await world.close()
  }
})

test('A log entry that rotted is mended by the pass that meets it, and the pass goes on', async () => {
  const world = await VaultWorld.make()
  try {
    await world.addPoint(1)
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    await world.addPoint(2)
    await rot(join(world.vaultFolder, 'log', '000000000002'))
    const job = await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    assert.equal(job.status, 'succeeded', job.error?.message)
    assert.equal((await countUnmirroredPoints(world.catalog, VAULT.toLowerCase())).points, 0)
  } finally {
    await world.close()
  }
})

test('A vault that was put back to an older state does not take its mirror with it: the job fails by name and raises an alert', async () => {
  const world = await VaultWorld.make()
  try {
    await world.addPoint(1)
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    const log = join(world.vaultFolder, 'log')
    const last = must((await readdir(log)).sort().at(-1), 'an entry')
    const entry = await readFile(join(log, last))
    await rm(join(log, last))
    await rm(join(world.home, 'cache'), { recursive: true })
    const job = await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    assert.deepEqual([job.status, job.error?.code], ['failed', 'mirror_diverged'])
    assert.deepEqual(await openAlerts(world), ['MirrorFailed'])
    assert.equal((await readMirrorStatus(world.catalog, UID)).failed?.code, 'mirror_diverged')
    await writeFile(join(log, last), entry)
    assert.equal((await world.run(MIRROR_VAULT_JOB, { vault: VAULT })).status, 'succeeded')
    assert.deepEqual(await openAlerts(world), [])
  } finally {
    await world.close()
  }
})

test('A mirror whose file system is away is not made anew in the empty folder', async () => {
  const world = await VaultWorld.make()
  try {
    await world.addPoint(1)
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    await rename(world.west, `${world.west}-away`)
    const job = await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    assert.deepEqual([job.status, job.error?.code], ['failed', 'store_location_invalid'])
    await rename(`${world.west}-away`, world.west)
    assert.equal((await world.run(MIRROR_VAULT_JOB, { vault: VAULT })).status, 'succeeded')
  } finally {
    await world.close()
  }
})

test('The catalog lies in the vault, the newest few copies of it, and comes over with the mirror', async () => {
  const world = await VaultWorld.make()
  try {
    for (let copies = 0; copies < 9; copies += 1) {
      const job = await world.run(COPY_CATALOG_JOB, { vault: VAULT })
      assert.equal(job.status, 'succeeded', job.error?.message)
    }
    await world.run(MIRROR_VAULT_JOB, { vault: VAULT })
    await world.withVault(world.mirrorFolder, async (mirror) => {
      assert.equal(mirror.points().filter(({ machine }) => machine === 'holdfast-catalog').length, 7)
    })
    assert.deepEqual(
      (await readdir(join(world.home, 'run'))).filter((name) => name.startsWith('.tmp-')),
      [],
    )
  } finally {
    await world.close()
  }
})
