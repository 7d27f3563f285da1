import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, test } from 'node:test'
import { ManualClock } from '#base'
import { Catalog } from './catalog.ts'
import { findMachine, listMachines, recordMachineSeen, setMachineProtected } from './machines.ts'
import { MIGRATIONS, SCHEMA_NUMBER } from './migrations/list.ts'
import { listPools, listStores } from './regions.ts'
import { listPoints, listRepositories, recordRepository, refillPoints } from './repositories.ts'

const clock = new ManualClock()
let folder = ''
let path = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-catalog-'))
  path = join(folder, 'catalog.sqlite')
})
afterEach(() => rm(folder, { recursive: true }))

const DISK = { diskId: 'd-1', lun: 0, virtualBytes: 1_048_576, usedBytes: 4096, mode: 'full' as const }
const POINT = {
  repositoryId: 'r-1',
  pointId: 'p-7',
  machineId: '11111111-1111-4111-8111-111111111111',
  machineName: 'db-1',
  takenAtMs: 1_790_000_000_004,
  sequence: 7,
  consistency: 'application' as const,
  expiresAtMs: 1_800_000_000_005,
  legalHold: true,
  disks: [DISK],
}

function writeGolden(number: number): void {
  const sql = readFileSync(new URL(`../../test/golden/catalog/schema-${number}.sql`, import.meta.url), 'utf8')
  const db = new DatabaseSync(path)
  db.exec(sql)
  db.close()
}

/** The schema's text without white space, so that two ways to the same tables compare equal. */
function schemaOf(file: string): string[] {
  const db = new DatabaseSync(file, { readOnly: true })
  const rows = db.prepare("select sql from sqlite_schema where sql is not null and name not like 'sqlite_%'").all()
  db.close()
  return rows.map(({ sql }) => String(sql).replaceAll(/\s+/g, ' ')).sort()
}

test('Catalog.open() upgrades a catalog of schema 1: nothing is lost, and a copy of the old one is kept', async () => {
  writeGolden(1)
  const catalog = await Catalog.open(path, clock)
  const machines = await listMachines(catalog)
  assert.deepEqual(
    machines.map(({ name, driver, protected: isProtected, description }) => [name, driver, isProtected, description]),
    [
      ['db-1', 'qemu', true, { schema: 1 }],
      ['web-2', 'libvirt', false, null],
    ],
  )
  assert.deepEqual(await listPoints(catalog), [POINT])
  assert.equal((await listRepositories(catalog))[0]?.listedMs, undefined)
  catalog.checkIntegrity()
  await catalog.close()
  const copy = new DatabaseSync(`${path}.schema-1`, { readOnly: true })
  assert.equal(copy.prepare('pragma user_version').get()?.['user_version'], 1)
  assert.equal(copy.prepare('select count(*) as n from machine').get()?.['n'], 2)
  copy.close()
  assert.equal(statSync(`${path}.schema-1`).mode & 0o777, 0o600)
})

for (let number = 1; number < SCHEMA_NUMBER; number += 1) {
  test(`a catalog upgraded from schema ${number} has the same tables as a fresh one, and its points`, async () => {
    writeGolden(number)
    const upgraded = await Catalog.open(path, clock)
    assert.deepEqual(await listPoints(upgraded), [POINT])
    await upgraded.close()
    const fresh = await Catalog.open(join(folder, 'fresh.sqlite'), clock)
    await fresh.close()
    assert.deepEqual(schemaOf(path), schemaOf(join(folder, 'fresh.sqlite')))
  })
}

test('migrations are numbered without a gap, and each from the second on has a golden file of the schema before it', () => {
  assert.deepEqual(
    MIGRATIONS.map(({ number }) => number),
    MIGRATIONS.map((_, index) => index + 1),
  )
  for (let number = 1; number < SCHEMA_NUMBER; number += 1) {
    assert.ok(
      existsSync(new URL(`../../test/golden/catalog/schema-${number}.sql`, import.meta.url)),
      `schema ${number}`,
    )
  }
})

test('Catalog.open() refuses a newer schema by name and leaves the file as it was', async () => {
  await (await Catalog.open(path, clock)).close()
  const db = new DatabaseSync(path)
  db.exec(`pragma user_version = ${SCHEMA_NUMBER + 3}`)
  db.close()
  await assert.rejects(Catalog.open(path, clock), (error: { code: string; facts: unknown }) => {
    assert.equal(error.code, 'catalog_too_new')
    assert.deepEqual(error.facts, { path, schema: SCHEMA_NUMBER + 3, schemaMax: SCHEMA_NUMBER })
    return true
  })
})

test('Catalog.open() refuses another program’s database and a file that is none', async () => {
  const db = new DatabaseSync(path)
  db.exec('create table bookmarks (url text)')
  db.close()
  await assert.rejects(Catalog.open(path, clock), { code: 'catalog_not_ours' })
  const other = join(folder, 'text')
  writeFileSync(other, 'this is not a database, whatever its name may say'.repeat(50))
  await assert.rejects(Catalog.open(other, clock), { code: 'catalog_damaged' })
  await assert.rejects(Catalog.open(join(folder, 'absent', 'catalog.sqlite'), clock), { code: 'catalog_unavailable' })
})

test('the file and its companions are readable by their owner alone, even if they were not before', async () => {
  writeFileSync(path, '')
  chmodSync(path, 0o644)
  const catalog = await Catalog.open(path, clock)
  await recordRepository(catalog, { id: 'r-1', location: '/srv/vault', addedMs: 1 })
  for (const name of [path, `${path}-wal`, `${path}-shm`]) assert.equal(statSync(name).mode & 0o777, 0o600, name)
  await catalog.close()
})

test('the file is opened with WAL, and every commit is synchronous', async () => {
  const catalog = await Catalog.open(path, clock)
  const { rows } = await catalog.db.executeQuery<{ synchronous: number }>({
    sql: 'pragma synchronous',
    parameters: [],
    query: { kind: 'RawNode', sqlFragments: ['pragma synchronous'], parameters: [] },
    queryId: { queryId: 'test' },
  })
  assert.equal(rows[0]?.synchronous, 2)
  const other = new DatabaseSync(path)
  assert.equal(other.prepare('pragma journal_mode').get()?.['journal_mode'], 'wal')
  other.close()
  await catalog.close()
})

test('write() leaves nothing of a change that threw', async () => {
  const catalog = await Catalog.open(path, clock)
  const failing = catalog.write(async (trx) => {
    await trx.insertInto('repository').values({ id: 'r-9', location: '/x', added_ms: 1 }).execute()
    throw new Error('stop')
  })
  await assert.rejects(failing, /stop/)
  assert.deepEqual(await listRepositories(catalog), [])
  await catalog.close()
})

test('backupTo() copies a catalog in use, whole and private', async () => {
  const catalog = await Catalog.open(path, clock)
  await recordRepository(catalog, { id: 'r-1', location: '/srv/vault', addedMs: 5 })
  const target = join(folder, 'copy.sqlite')
  await catalog.backupTo(target)
  await recordRepository(catalog, { id: 'r-2', location: '/srv/other', addedMs: 6 })
  await catalog.close()
  assert.equal(statSync(target).mode & 0o777, 0o600)
  const copy = await Catalog.open(target, clock)
  copy.checkIntegrity()
  assert.deepEqual(
    (await listRepositories(copy)).map(({ id }) => id),
    ['r-1'],
  )
  await copy.close()
})

test('checkIntegrity() names a page that was overwritten', async () => {
  const catalog = await Catalog.open(path, clock)
  await recordRepository(catalog, { id: 'r-1', location: '/srv/vault', addedMs: 1 })
  const many = Array.from({ length: 400 }, (_, n) => ({ ...POINT, pointId: `p-${n}`, sequence: n }))
  await refillPoints(catalog, 'r-1', many, 2)
  await catalog.close()
  const bytes = readFileSync(path)
  for (let offset = 4096; offset < bytes.length; offset += 4096) bytes.fill(0xa5, offset + 8, offset + 200)
  writeFileSync(path, bytes)
  await assert.rejects(
    async () => {
      const damaged = await Catalog.open(path, clock)
      try {
        damaged.checkIntegrity()
      } finally {
        await damaged.close()
      }
    },
    { code: 'catalog_damaged' },
  )
})

test('refillPoints() makes a lost cache say what the repository says', async () => {
  const catalog = await Catalog.open(path, clock)
  await recordRepository(catalog, { id: 'r-1', location: '/srv/vault', addedMs: 5 })
  await refillPoints(catalog, 'r-1', [{ ...POINT, pointId: 'p-6', sequence: 6 }, POINT], 10)
  const plan = await refillPoints(catalog, 'r-1', [POINT], 11)
  assert.deepEqual(plan, { put: [], drop: ['p-6'] })
  assert.deepEqual(await listPoints(catalog, { machineId: POINT.machineId }), [POINT])
  assert.equal((await listRepositories(catalog))[0]?.listedMs, 11)
  await catalog.close()
})

test('recordMachineSeen() does not change whether the machine is protected', async () => {
  const catalog = await Catalog.open(path, clock)
  const seen = { id: 'm', name: 'db-1', driver: 'qemu', location: '/q', description: null, seenMs: 1 }
  await recordMachineSeen(catalog, seen)
  assert.equal((await findMachine(catalog, 'm'))?.protected, false)
  assert.equal(await setMachineProtected(catalog, 'm', true), true)
  await recordMachineSeen(catalog, { ...seen, name: 'db-one', seenMs: 2 })
  assert.deepEqual(await findMachine(catalog, 'm'), { ...seen, name: 'db-one', seenMs: 2, protected: true })
  assert.equal(await setMachineProtected(catalog, 'nobody', true), false)
  await catalog.close()
})

test('a catalog of schema 3 keeps its pools and stores: on this host, shared with nobody', async () => {
  writeGolden(3)
  const upgraded = await Catalog.open(path, clock)
  const place = { region: 'attic', createdMs: 1_790_000_000_007 }
  assert.deepEqual(await listPools(upgraded), [
    { ...place, name: 'fast', path: '/srv/fast', host: undefined, reserveBytes: 1_048_576 },
  ])
  const [store] = await listStores(upgraded)
  assert.deepEqual([store?.location, store?.repositoryId, store?.shared], ['/srv/vault', 'r-1', false])
  await upgraded.close()
})
