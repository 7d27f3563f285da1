import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { ManualClock } from '#base'
import { type BackupJobRecord, changeBackupJob, findBackupJob, insertBackupJob, listBackupJobs } from './backup-jobs.ts'
import { Catalog } from './catalog.ts'
import {
  changeProtectedItem,
  countProtectedItems,
  deleteProtectedItem,
  findProtectedItem,
  insertProtectedItem,
  listProtectedItems,
  type ProtectedItem,
} from './protected-items.ts'
import { findOpenAlert, listAlerts, raiseAlert, resolveAlert, type VaultAlert } from './vault-alerts.ts'
import { changeVaultPoint, findVaultPoint, insertVaultPoint, listVaultPoints, type VaultPoint } from './vault-points.ts'
import { findResource, insertResource, listResources } from './resources.ts'
import { deleteVaultRecords, moveVault, type MovedVault } from './vault-records.ts'

let folder = ''
let catalog: Catalog

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-vaults-'))
  catalog = await Catalog.open(join(folder, 'catalog.sqlite'), new ManualClock())
})
afterEach(async () => {
  catalog.checkIntegrity()
  await catalog.close()
  await rm(folder, { recursive: true })
})

const VAULT = '/subscriptions/s/resourceGroups/G/providers/Microsoft.RecoveryServices/vaults/V1'
const VAULT_KEY = VAULT.toLowerCase()

function itemOf(machine: string, more: Partial<ProtectedItem> = {}): ProtectedItem {
  const id = `${VAULT}/backupFabrics/Azure/protectionContainers/C;${machine}/protectedItems/VM;${machine}`
  const machineId = `/subscriptions/s/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/${machine}`
  return {
    key: id.toLowerCase(),
    id,
    vaultKey: VAULT_KEY,
    name: `VM;${machine}`,
    machineId,
    machineKey: machineId.toLowerCase(),
    friendlyName: machine,
    state: 'Protected',
    policyId: `${VAULT}/backupPolicies/P`,
    nextDueMs: 1000,
    slotMs: 900,
    exclusion: { luns: [1, 2], isInclusionList: false },
    lastBackupMs: undefined,
    lastBackupStatus: undefined,
    softDeletedMs: undefined,
    purgeAtMs: undefined,
    group: undefined,
    facts: { a: [1] },
    createdMs: 5,
    changedMs: 5,
    ...more,
  }
}

function pointOf(item: ProtectedItem, name: string, more: Partial<VaultPoint> = {}): VaultPoint {
  return {
    vaultKey: item.vaultKey,
    itemKey: item.key,
    name,
    pointId: `p-${name}`,
    takenMs: Number(name),
    sequence: 3,
    consistency: 'application',
    landed: { region: 'local', repository: 'r', pointId: 'q' },
    slotMs: 66,
    instantUntilMs: 77,
    vaultedMs: undefined,
    mirroredMs: undefined,
    expiresMs: undefined,
    keptUntilMs: 88,
    isOnDemand: true,
    keptBy: ['daily'],
    softDeletedMs: undefined,
    purgeAtMs: undefined,
    sizeBytes: 10,
    storedBytes: 4,
    disks: [{ diskId: 'd', lun: -1, name: 'os', sizeBytes: 10 }],
    facts: {},
    ...more,
  }
}

const JOB: BackupJobRecord = {
  id: 'j-1',
  vaultKey: VAULT_KEY,
  itemKey: itemOf('web').key,
  entityName: 'web',
  operation: 'Backup',
  status: 'InProgress',
  startedMs: 10,
  endedMs: undefined,
  isUserTriggered: true,
  isCancellable: true,
  tasks: [{ taskId: 'Take Snapshot', status: 'InProgress', startedMs: 10 }],
  properties: { 'VM Name': 'web' },
  errors: [],
  doneBytes: 1,
  totalBytes: 2,
  result: undefined,
}

test('A protected item is kept with every field, changed field by field, and cleared where undefined is given', async () => {
  const web = itemOf('Web')
  await catalog.write((trx) => insertProtectedItem(trx, web))
  assert.deepEqual(await findProtectedItem(catalog, web.id.toUpperCase()), web)
  const change = { state: 'ProtectionStopped', nextDueMs: undefined, policyId: undefined } as const
  const changed = await catalog.write((trx) => changeProtectedItem(trx, web.key, change, 8))
  assert.deepEqual(changed, { ...web, ...change, changedMs: 8 })
  assert.deepEqual(await findProtectedItem(catalog, web.id), changed)
  assert.equal(await catalog.write((trx) => changeProtectedItem(trx, 'nobody', change, 8)), undefined)
})

test('Items are listed by vault, machine and policy page by page, and those that are due with the longest due first', async () => {
  const items = [itemOf('a', { nextDueMs: 30 }), itemOf('b', { nextDueMs: 10 }), itemOf('c', { nextDueMs: 99 })]
  const dormant = itemOf('d', { nextDueMs: undefined, policyId: undefined, softDeletedMs: 4, purgeAtMs: 50 })
  await catalog.write(async (trx) => {
    for (const item of [...items, dormant]) await insertProtectedItem(trx, item)
  })
  const names = (found: readonly ProtectedItem[]): string[] => found.map(({ friendlyName }) => friendlyName)
  assert.deepEqual(names(await listProtectedItems(catalog, { dueBeforeMs: 30 })), ['b', 'a'])
  const first = await listProtectedItems(catalog, { vaultKey: VAULT_KEY, limit: 3 })
  assert.deepEqual(names(first), ['a', 'b', 'c'])
  assert.deepEqual(names(await listProtectedItems(catalog, { vaultKey: VAULT_KEY, afterKey: first[2]?.key ?? '' })), [
    'd',
  ])
  assert.deepEqual(names(await listProtectedItems(catalog, { machineKey: dormant.machineKey })), ['d'])
  assert.deepEqual(names(await listProtectedItems(catalog, { purgeBeforeMs: 50 })), ['d'])
  const policyKey = `${VAULT}/backupPolicies/P`.toLowerCase()
  assert.equal(await countProtectedItems(catalog, { policyKey }), 3)
  assert.equal(await countProtectedItems(catalog, { vaultKey: VAULT_KEY, softDeleted: true }), 1)
})

test('Points are listed newest first, page by page, and go with their item', async () => {
  const web = itemOf('web')
  const points = ['1001', '1002', '1003'].map((name) => pointOf(web, name))
  await catalog.write(async (trx) => {
    await insertProtectedItem(trx, web)
    for (const point of points) await insertVaultPoint(trx, point)
  })
  const page = await listVaultPoints(catalog, { itemKey: web.key, limit: 2 })
  assert.deepEqual(page, [points[2], points[1]])
  assert.deepEqual(await listVaultPoints(catalog, { itemKey: web.key, before: page[1] ?? assert.fail() }), [points[0]])
  assert.deepEqual(await listVaultPoints(catalog, { vaultKey: VAULT_KEY, fromMs: 1002, toMs: 1002 }), [points[1]])
  const change = { vaultedMs: 9, instantUntilMs: undefined, keptBy: [] }
  await catalog.write((trx) => changeVaultPoint(trx, web.key, '1002', change))
  assert.deepEqual(await findVaultPoint(catalog, web.key, '1002'), { ...pointOf(web, '1002'), ...change })
  await catalog.write((trx) => deleteProtectedItem(trx, web.key))
  assert.deepEqual(await listVaultPoints(catalog, { vaultKey: VAULT_KEY }), [])
})

test('Backup jobs are changed field by field and listed newest first by status and page', async () => {
  await catalog.write(async (trx) => {
    await insertBackupJob(trx, JOB)
    await insertBackupJob(trx, { ...JOB, id: 'j-2', startedMs: 20, operation: 'Restore' })
    await insertBackupJob(trx, { ...JOB, id: 'j-3', startedMs: 20, vaultKey: 'other' })
    await changeBackupJob(trx, 'j-1', { status: 'Completed', endedMs: 30, result: { a: 1 }, doneBytes: undefined })
  })
  const done = { ...JOB, status: 'Completed', endedMs: 30, result: { a: 1 }, doneBytes: undefined }
  assert.deepEqual(await findBackupJob(catalog, 'J-1'), done)
  const ids = async (filter: Partial<Parameters<typeof listBackupJobs>[1]>): Promise<string[]> =>
    (await listBackupJobs(catalog, { vaultKey: VAULT_KEY, ...filter })).map(({ id }) => id)
  assert.deepEqual(await ids({}), ['j-2', 'j-1'])
  assert.deepEqual(await ids({ before: { startedMs: 20, id: 'j-2' } }), ['j-1'])
  assert.deepEqual(await ids({ status: 'Completed' }), ['j-1'])
  assert.deepEqual(await ids({ operation: 'Restore', startMs: 20, endMs: 20 }), ['j-2'])
})

test('An alert is raised once, found while it is open, and resolved once', async () => {
  const alert: VaultAlert = {
    id: 'a-1',
    vaultKey: VAULT_KEY,
    kind: 'MirrorLag',
    severity: 'Warning',
    itemKey: undefined,
    message: 'late',
    facts: { lagMs: 7 },
    raisedMs: 3,
    resolvedMs: undefined,
  }
  await catalog.write(async (trx) => {
    await raiseAlert(trx, alert)
    await raiseAlert(trx, { ...alert, message: 'again' })
  })
  assert.deepEqual(await findOpenAlert(catalog, alert), alert)
  await catalog.write((trx) => resolveAlert(trx, 'a-1', 8))
  await catalog.write((trx) => resolveAlert(trx, 'a-1', 9))
  assert.equal(await findOpenAlert(catalog, alert), undefined)
  assert.deepEqual(await listAlerts(catalog, { vaultKey: VAULT_KEY }), [{ ...alert, resolvedMs: 8 }])
})

const GROUP = '/subscriptions/s/resourceGroups/G'
const TYPE = 'Microsoft.RecoveryServices/vaults'
const source = { nowMs: () => 1, newEtag: () => 'e' }

async function insertVault(): Promise<void> {
  const common = { subscription: 's', group: GROUP, tags: {}, state: 'Succeeded', body: {} }
  await catalog.write(async (trx) => {
    const vault = { ...common, id: VAULT, type: TYPE, name: 'V1', location: 'l', backing: { uid: 'U' } }
    await insertResource(trx, vault, source)
    const policy = { id: `${VAULT}/backupPolicies/P`, type: `${TYPE}/backupPolicies`, name: 'P', location: undefined }
    await insertResource(trx, { ...common, ...policy, backing: {}, parentId: VAULT }, source)
  })
}

test('A vault that is moved takes its policies, items, points, jobs and alerts along, and brings them back unchanged', async () => {
  const web = itemOf('Web')
  const deleted = '/subscriptions/s/providers/Microsoft.RecoveryServices/locations/l/deletedVaults/U'
  const alert: VaultAlert = {
    id: 'a',
    vaultKey: VAULT_KEY,
    kind: 'JobFailed',
    severity: 'Critical',
    itemKey: web.key,
    message: '',
    facts: {},
    raisedMs: 1,
  }
  await insertVault()
  await catalog.write(async (trx) => {
    await insertProtectedItem(trx, web)
    await insertVaultPoint(trx, pointOf(web, '1001'))
    await insertBackupJob(trx, JOB)
    await raiseAlert(trx, alert)
  })
  const before = await listResources(catalog, {})
  assert.deepEqual(before[0]?.backing, { uid: 'U', hadItems: true }, 'a vault that held an item says so')
  const away: MovedVault = { id: deleted, type: 'deletedVaults', name: 'U', group: undefined }
  await catalog.write((trx) => moveVault(trx, VAULT, away))
  assert.equal(await findResource(catalog, VAULT), undefined)
  assert.equal((await findResource(catalog, deleted))?.groupKey, '')
  const [moved] = await listProtectedItems(catalog, { vaultKey: deleted.toLowerCase() })
  assert.equal(moved?.id, web.id.replace(VAULT, deleted))
  assert.equal(moved.key, moved.id.toLowerCase())
  assert.equal((await findResource(catalog, moved.policyId ?? ''))?.parentKey, deleted.toLowerCase())
  const [point] = await listVaultPoints(catalog, { itemKey: moved.key })
  assert.equal(point?.vaultKey, moved.vaultKey)
  assert.equal((await listAlerts(catalog, { itemKey: moved.key })).length, 1)
  await catalog.write((trx) => moveVault(trx, deleted, { id: VAULT, type: TYPE, name: 'V1', group: GROUP }))
  assert.deepEqual(await listResources(catalog, {}), before)
  assert.deepEqual(await findProtectedItem(catalog, web.id), web)
  assert.deepEqual(await listVaultPoints(catalog, { itemKey: web.key }), [pointOf(web, '1001')])
  assert.deepEqual(await findBackupJob(catalog, 'j-1'), JOB)
  await catalog.write((trx) => deleteVaultRecords(trx, VAULT))
  assert.deepEqual(await listVaultPoints(catalog, { vaultKey: VAULT_KEY }), [])
})

test('A vault is moved and brought back with a child whose id does not stand below its own', async () => {
  const deleted = '/subscriptions/s/providers/Microsoft.RecoveryServices/locations/l/deletedVaults/U'
  const rest = { location: undefined, tags: {}, state: 'Succeeded', body: {}, backing: {} }
  const far = { ...rest, id: '/providers/T/far', subscription: 's', group: undefined, type: 'T', name: 'far' }
  const near = { ...rest, id: `${VAULT}2`, subscription: 's', group: GROUP, type: TYPE, name: 'V12' }
  await insertVault()
  await catalog.write(async (trx) => {
    await insertResource(trx, { ...far, parentId: VAULT }, source)
    await insertResource(trx, { ...near, parentId: VAULT }, source)
  })
  const before = await listResources(catalog, {})
  await catalog.write((trx) =>
    moveVault(trx, VAULT, { id: deleted, type: 'deletedVaults', name: 'U', group: undefined }),
  )
  const children = await listResources(catalog, { parent: deleted })
  assert.deepEqual(
    children.map(({ id }) => id),
    [far.id, near.id, `${deleted}/backupPolicies/P`].toSorted((a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1)),
  )
  await catalog.write((trx) => moveVault(trx, deleted, { id: VAULT, type: TYPE, name: 'V1', group: GROUP }))
  assert.deepEqual(await listResources(catalog, {}), before)
})
