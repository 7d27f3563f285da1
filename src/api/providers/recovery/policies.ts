/**
 * Backup policies of a vault. An edit holds for what is there already: the next backups of its machines are due as it says from the
 * transaction that writes it, and a job then does its retention to their points. A crash in between loses neither: the job is on record
 * with the edit.
 */
import {
  type CatalogTransaction,
  changeProtectedItem,
  countProtectedItems,
  deleteResource,
  findResource,
  listProtectedItems,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, checkFilterFields, equalTo, pageOf, parseFilter } from '#contract'
import { type BackupPolicy, checkPolicy, isImmutable, whyNotVersion, whyWeaker } from '#domain'
import {
  dueAfter,
  KEEP_POINTS_JOB,
  insertPolicy,
  POLICY_TYPE,
  type PolicyBacking,
  policyOf,
  RESOURCE_QUEUE,
  vaultSettingsOf,
} from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { objectBody } from '../../arm/json-body.ts'
import { beginOnce } from '../../arm/operations.ts'
import type { ResourceView } from '../../arm/resource-view.ts'
import { findVault, VAULT_PATH } from './find-vault.ts'
import { type PolicyRequest, readPolicy, showPolicyProperties } from './policy-wire.ts'

const ALL = `${VAULT_PATH}/backupPolicies`
const ONE = `${ALL}/{policy}`
/** Source: Azure's portal: 3 to 150 letters, digits and hyphens, beginning with a letter; underscores are met too. */
const NAME = /^[A-Za-z][A-Za-z0-9_-]{2,149}$/
const DATE_DEFAULT = '2024-01-01'
const FILTERS = ['backupManagementType', 'workloadType', 'scheduleRunFrequency', 'policyType']

const countOf = ({ host }: ArmCall, policy: ResourceRecord): Promise<number> =>
  countProtectedItems(host.catalog, { policyKey: policy.key })

function show(record: ResourceRecord, count: number): ResourceView {
  const { id, name } = record
  const { date = DATE_DEFAULT, instantDetails = {} } = record.body as Partial<Omit<PolicyRequest, 'policy'>>
  const properties = showPolicyProperties({ policy: policyOf(record), date, instantDetails }, count)
  return { id, name, type: POLICY_TYPE, properties }
}

async function find(call: ArmCall): Promise<ResourceRecord> {
  const vault = await findVault(call)
  const record = await findResource(call.host.catalog, `${vault.id}/backupPolicies/${call.param('policy')}`)
  if (record !== undefined) return record
  throw new ArmError(
    'ResourceNotFound',
    `The backup policy '${call.param('policy')}' was not found in the vault '${vault.name}'.`,
  )
}

function fits(policy: BackupPolicy, call: ArmCall): boolean {
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, FILTERS)
  const wanted = (field: string): string | undefined => equalTo(terms, field)?.toLowerCase()
  const is = (field: string, ...values: readonly string[]): boolean => {
    const asked = wanted(field)
    return asked === undefined || values.includes(asked)
  }
  return (
    is('backupManagementType', 'azureiaasvm') &&
    is('workloadType', 'vm') &&
    is('scheduleRunFrequency', policy.schedule.kind) &&
    is('policyType', policy.version.toLowerCase())
  )
}

async function list(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const records = await listResources(call.host.catalog, { type: POLICY_TYPE, parent: vault.id })
  const wanted = records.filter((record) => fits(policyOf(record), call))
  const views = await Promise.all(wanted.map(async (record) => show(record, await countOf(call, record))))
  return ok(pageOf(views, call.url, call.query('$skipToken')))
}

function checkEdit(vault: ResourceRecord, before: BackupPolicy, after: BackupPolicy): void {
  const version = whyNotVersion(before, after)
  if (version !== undefined)
    throw new ArmError('BMSUserErrorInvalidPolicyInput', version, { target: 'properties.policyType' })
  const weaker = isImmutable(vaultSettingsOf(vault)) ? whyWeaker(before, after) : undefined
  if (weaker !== undefined)
    throw new ArmError(
      'OperationNotAllowed',
      `The vault '${vault.name}' is immutable, and the policy would keep less than before: ${weaker}.`,
      { target: 'properties.retentionPolicy' },
    )
}

/** Next backups are due as the policy says now. */
async function reschedule(
  trx: CatalogTransaction,
  policyKey: string,
  policy: BackupPolicy,
  nowMs: number,
): Promise<void> {
  for (const item of await listProtectedItems(trx, { policyKey }))
    if (item.nextDueMs !== undefined)
      await changeProtectedItem(trx, item.key, await dueAfter(trx, item, policy, nowMs), nowMs)
}

async function write(
  call: ArmCall,
  trx: CatalogTransaction,
  record: ResourceRecord,
  request: PolicyRequest,
): Promise<void> {
  const { policy, date, instantDetails } = request
  const vault = await findResource(trx, record.parentKey ?? '')
  const now = await findResource(trx, record.id)
  if (vault === undefined || now === undefined)
    throw new ArmError('ResourceNotFound', `The backup policy '${record.id}' was deleted meanwhile.`)
  checkEdit(vault, policyOf(now), policy)
  const backing: PolicyBacking = { policy }
  await updateResource(trx, record.id, { body: { date, instantDetails }, backing }, changeSourceOf(call.host))
  if (
    JSON.stringify(policyOf(now).schedule) !== JSON.stringify(policy.schedule) ||
    policyOf(now).timeZone !== policy.timeZone
  )
    await reschedule(trx, record.key, policy, call.host.clock.nowMs())
}

async function edit(call: ArmCall, record: ResourceRecord, request: PolicyRequest): Promise<ArmReply> {
  const { catalog } = call.host
  const vault = await findVault(call)
  if ((await countOf(call, record)) === 0) await catalog.write((trx) => write(call, trx, record, request))
  else
    await beginOnce(call, {
      kind: 'operationStatus',
      provider: 'Microsoft.RecoveryServices',
      location: vault.location ?? '',
      resourceId: record.id,
      action: `${POLICY_TYPE}/write`,
      job: KEEP_POINTS_JOB,
      input: { policyKey: record.key },
      request: request.policy,
      queue: RESOURCE_QUEUE,
      key: 'vaults',
      reply: 'empty',
      announce: (trx) => write(call, trx, record, request),
    })
  return ok(show(await find(call), await countOf(call, record)))
}

async function put(call: ArmCall): Promise<ArmReply> {
  const name = call.param('policy')
  if (!NAME.test(name))
    throw new ArmError(
      'InvalidResourceName',
      `'${name}' cannot be the name of a backup policy: 3 to 150 letters, digits, '-' and '_', beginning with a letter.`,
      {
        target: 'name',
      },
    )
  const vault = await findVault(call)
  if (vault.state !== 'Succeeded')
    throw new ArmError('AnotherOperationInProgress', `The vault '${vault.id}' is in the state ${vault.state}.`)
  const request = readPolicy(objectBody(call.body))
  checkPolicy(request.policy)
  const { policy, date, instantDetails } = request
  const made = await call.host.catalog.write(async (trx) => {
    if ((await findResource(trx, `${vault.id}/backupPolicies/${name}`)) !== undefined) return undefined
    return insertPolicy(trx, vault, { name, policy, body: { date, instantDetails } }, changeSourceOf(call.host))
  })
  return made === undefined ? edit(call, await find(call), request) : ok(show(made, 0))
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const id = `${vault.id}/backupPolicies/${call.param('policy')}`
  const isGone = await call.host.catalog.write(async (trx) => {
    const record = await findResource(trx, id)
    if (record === undefined) return false
    const count = await countProtectedItems(trx, { policyKey: record.key })
    if (count > 0)
      throw new ArmError(
        'OperationNotAllowed',
        `The backup policy '${record.name}' protects ${count} machines; give them another first.`,
      )
    await deleteResource(trx, record.id)
    return true
  })
  return isGone ? { status: 200 } : noContent
}

const get = async (call: ArmCall): Promise<ArmReply> => {
  const record = await find(call)
  return ok(show(record, await countOf(call, record)))
}

export const policyRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: ALL, action: `${POLICY_TYPE}/read`, handle: list },
  { method: 'GET', path: ONE, action: `${POLICY_TYPE}/read`, handle: get },
  { method: 'PUT', path: ONE, action: `${POLICY_TYPE}/write`, handle: put },
  { method: 'DELETE', path: ONE, action: `${POLICY_TYPE}/delete`, handle: remove },
]
