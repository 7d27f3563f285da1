import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { ManualClock } from '#base'
import {
  Catalog,
  changeVaultPoint,
  findVaultPoint,
  insertProtectedItem,
  insertVaultPoint,
  type ProtectedItem,
  type VaultPoint,
} from '#catalog'
import { type Due, settle, stillDue } from './keep-points.ts'
import { holdPoint } from './restore/point-holds.ts'
import type { ProtectionParts } from './take-machine.ts'

const NOW_MS = 1_790_000_000_000
const HOUR_MS = 3_600_000
const ITEM = 'vault/item'
const clock = new ManualClock(NOW_MS)
let folder = ''
let catalog: Catalog
let parts: ProtectionParts

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-keep-'))
  catalog = await Catalog.open(join(folder, 'catalog.sqlite'), clock)
  const item: ProtectedItem = {
    key: ITEM,
    id: ITEM,
    vaultKey: 'vault',
    name: 'VM;web1',
    machineId: '/m/web1',
    machineKey: '/m/web1',
    friendlyName: 'web1',
    state: 'ProtectionStopped',
    facts: {},
    createdMs: 1,
    changedMs: 1,
  }
  await catalog.write((trx) => insertProtectedItem(trx, item))
  parts = { catalog, clock } as unknown as ProtectionParts // nothing else is asked for here
})
afterEach(async () => {
  await catalog.close()
  await rm(folder, { recursive: true })
})

/** A soft-deleted point whose time is over. */
async function overdue(name: string): Promise<Due> {
  const point: VaultPoint = {
    vaultKey: 'vault',
    itemKey: ITEM,
    name,
    pointId: `p${name}`,
    takenMs: NOW_MS - 90 * 24 * HOUR_MS,
    sequence: Number(name),
    consistency: 'crash',
    isOnDemand: false,
    keptBy: [],
    softDeletedMs: NOW_MS - 15 * 24 * HOUR_MS,
    purgeAtMs: NOW_MS - HOUR_MS,
    sizeBytes: 1,
    storedBytes: 1,
    disks: [],
    facts: {},
  }
  await catalog.write((trx) => insertVaultPoint(trx, point))
  return { itemKey: ITEM, name, pointId: point.pointId }
}

test('a point that somebody reads, or that was brought back, since it was found due is not forgotten', async () => {
  const [read, back, gone, due] = [await overdue('1'), await overdue('2'), await overdue('3'), await overdue('4')]
  await catalog.write(async (trx) => {
    await holdPoint(trx, { itemKey: ITEM, point: read.name }, 'a restore')
    await changeVaultPoint(trx, ITEM, back.name, { softDeletedMs: undefined, purgeAtMs: undefined })
  })
  const left = await stillDue(parts, [read, back, { ...gone, name: '99' }, due])
  assert.deepEqual(
    left.map(({ name }) => name),
    ['4'],
  )
})

test('a lock that the log believes in, though the clock says that it is over, is not asked for again within the hour', async () => {
  const due = await overdue('1')
  await settle(parts, [due], { gone: [], locked: [{ point: due.pointId, untilMs: NOW_MS - HOUR_MS }] })
  const row = await findVaultPoint(catalog, ITEM, due.name)
  assert.ok((row?.purgeAtMs ?? 0) >= NOW_MS + HOUR_MS, `${row?.purgeAtMs}`)
  assert.deepEqual(await stillDue(parts, [due]), [])
})
