/**
 * Microsoft.RecoveryServices/vaults. A vault is a repository with its own key in the region's store; making and removing it are jobs,
 * its settings are changed at once.
 *
 * Invariants: what a vault's settings promise is never taken back by what a request leaves out; a deleted vault's name and a new one
 * of the same name share nothing, since folder and key are named by the vault's own uid.
 */
import { isHoldfastError, randomUuid } from '#base'
import {
  type CatalogTransaction,
  findResource,
  insertResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { ArmError, groupId, isBefore, pageOf, readLocation, readTags } from '#contract'
import { VAULT_SETTINGS_DEFAULT, type VaultSettings } from '#domain'
import {
  CREATE_VAULT_JOB,
  DELETE_VAULT_JOB,
  endOfVault,
  RESOURCE_QUEUE,
  VAULT_TYPE,
  type VaultBacking,
  vaultBackingOf,
  vaultPlace,
} from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, fieldAt, storedFields } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { beginOnce, type BegunOperation, operationRoutes, type OperationSpec } from '../../arm/operations.ts'
import { checkRegion } from '../../arm/records.ts'
import { findVault, VAULT_PATH } from './find-vault.ts'
import { VAULT_FIELDS } from './vault-fields.ts'
import {
  applySettings,
  changeVault,
  checkSettings,
  mirrorOf,
  readSettings,
  type SettingsChange,
} from './vault-settings.ts'
import { mirrorView } from './vault-mirror.ts'
import { showVault } from './vault-view.ts'

const ALL = `/subscriptions/{subscription}/providers/${VAULT_TYPE}`
const IN_GROUP = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${VAULT_TYPE}`
/** Source: Azure naming rules: letters, digits and hyphens, begins with a letter; 2 to 50. */
export const VAULT_NAME = /^[A-Za-z][A-Za-z0-9-]{1,49}$/

async function list(call: ArmCall): Promise<ArmReply> {
  const { catalog, subscriptionId } = call.host
  const { group } = call.params
  const within = group === undefined ? {} : { group: groupId(subscriptionId, group) }
  const records = await listResources(catalog, { subscription: subscriptionId, type: VAULT_TYPE, ...within })
  const readable = records.filter(({ id }) => call.may(`${VAULT_TYPE}/read`, id))
  return ok(pageOf(readable.map(showVault), call.url, call.query('$skipToken')))
}

type NewVault = Readonly<{
  location: string
  tags: Readonly<Record<string, string>>
  change: SettingsChange
  body: unknown
}>

function operation(
  call: ArmCall,
  location: string,
  spec: Pick<OperationSpec, 'action' | 'job' | 'input' | 'reply' | 'announce' | 'request'>,
): OperationSpec {
  return {
    kind: 'operationStatus',
    provider: 'Microsoft.RecoveryServices',
    location,
    resourceId: call.id,
    queue: RESOURCE_QUEUE,
    key: call.id.toLowerCase(),
    ...spec,
  }
}

async function announce(
  call: ArmCall,
  trx: CatalogTransaction,
  vault: NewVault,
  place: Pick<VaultBacking, 'uid' | 'location'>,
) {
  const { host, id } = call
  const source = changeSourceOf(host)
  const existing = await findResource(trx, id)
  if (existing !== undefined && existing.state !== 'Failed')
    throw new ArmError('AnotherOperationInProgress', `'${id}' has been made by another request meanwhile.`)
  const uid = existing === undefined ? place.uid : vaultBackingOf(existing).uid
  const location = existing === undefined ? place.location : vaultBackingOf(existing).location
  const mirror = await mirrorOf(trx, vault.location, uid)
  // Azure's default, where there is somewhere to mirror to.
  const redundancy: VaultSettings['redundancy'] = mirror === undefined ? 'LocallyRedundant' : 'GeoRedundant'
  const settings = applySettings({ ...VAULT_SETTINGS_DEFAULT, redundancy }, vault.change)
  await checkSettings(call, trx, undefined, { region: vault.location, uid, settings })
  const isMirrored = settings.redundancy === 'GeoRedundant' && mirror !== undefined
  const backing: VaultBacking = { uid, region: vault.location, location, settings, ...(isMirrored && { mirror }) }
  const body = { properties: storedFields(VAULT_FIELDS, vault.body, 'properties.') }
  const record = { location: vault.location, tags: vault.tags, state: 'Creating', body, backing }
  if (existing !== undefined) {
    await updateResource(trx, id, record, source)
    return
  }
  const group = groupId(host.subscriptionId, call.param('group'))
  const named = { id, subscription: host.subscriptionId, group, type: VAULT_TYPE, name: call.param('vault') }
  await insertResource(trx, { ...record, ...named }, source)
}

async function create(call: ArmCall, vault: NewVault): Promise<ArmReply> {
  const uid = randomUuid(call.host.random)
  const location = await vaultPlace(call.host, vault.location, uid)
  const { headers, id } = await beginOnce(
    call,
    operation(call, vault.location, {
      action: `${VAULT_TYPE}/write`,
      job: CREATE_VAULT_JOB,
      input: { id: call.id },
      request: vault.body,
      reply: 'resource',
      announce: (trx) => announce(call, trx, vault, { uid, location }),
    }),
  )
  return { status: 201, body: showVault(await findVault(call)), headers, operation: id }
}

/** Of one that is there: its settings as the request names them, and all of what is only kept. */
async function replace(call: ArmCall, { tags, change, body }: NewVault): Promise<ArmReply> {
  const properties = storedFields(VAULT_FIELDS, body, 'properties.')
  const more = (row: ResourceRecord) => ({ tags, body: { ...row.body, properties } })
  return ok(showVault(await changeVault(call, call.id, change, more)))
}

async function createOnce(call: ArmCall, vault: NewVault): Promise<ArmReply> {
  try {
    return await create(call, vault)
  } catch (error) {
    // An equal request may have made the vault between our looking and our announcing.
    if (!isHoldfastError(error, 'AnotherOperationInProgress')) throw error
    if ((await findResource(call.host.catalog, call.id))?.state !== 'Succeeded') throw error
    return replace(call, vault)
  }
}

async function put(call: ArmCall): Promise<ArmReply> {
  const name = call.param('vault')
  if (!VAULT_NAME.test(name))
    throw new ArmError(
      'InvalidResourceName',
      `'${name}' cannot be the name of a vault: 2 to 50 letters, digits and hyphens, beginning with a letter.`,
      { target: 'name' },
    )
  const body = objectBody(call.body)
  checkFields(VAULT_FIELDS, body)
  const location = readLocation(fieldAt(body, 'location'))
  const tags = readTags(fieldAt(body, 'tags'))
  const change = readSettings(body)
  const existing = await findResource(call.host.catalog, call.id)
  if (existing === undefined || existing.state === 'Failed') {
    await checkRegion(call, location)
    return createOnce(call, { location, tags, change, body })
  }
  if (existing.location !== location)
    throw new ArmError('PropertyChangeNotAllowed', 'The location of a vault cannot be changed.', { target: 'location' })
  if (existing.state === 'Creating') return createOnce(call, { location, tags, change, body })
  return replace(call, { location, tags, change, body })
}

async function patch(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const body = objectBody(call.body ?? {})
  checkFields(VAULT_FIELDS, body)
  const location = fieldAt(body, 'location')
  if (location !== undefined && readLocation(location) !== vault.location)
    throw new ArmError('PropertyChangeNotAllowed', 'The location of a vault cannot be changed.', { target: 'location' })
  const tags = fieldAt(body, 'tags')
  const stored = storedFields(VAULT_FIELDS, body, 'properties.')
  const changed = await changeVault(call, vault.id, readSettings(body), (row) => ({
    ...(tags !== undefined && { tags: readTags(tags) }),
    body: { ...row.body, properties: { ...(row.body['properties'] as object), ...stored } },
  }))
  return ok(showVault(changed))
}

/** Clients of before 2023-08-01 take 200 for the end and know no other. */
async function settled(call: ArmCall, { id, headers }: BegunOperation): Promise<ArmReply> {
  if (!isBefore(call.apiVersion, '2023-08-01')) return { status: 202, headers, operation: id }
  const job = await call.host.jobs.wait(id, call.signal)
  if (job.status === 'succeeded') return { status: 200, operation: id }
  throw new ArmError('Conflict', job.error?.message ?? `The vault '${call.id}' was not deleted.`)
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const record = await findResource(call.host.catalog, call.id)
  if (record === undefined) return noContent
  if (record.state === 'Creating')
    throw new ArmError('AnotherOperationInProgress', `The vault '${record.id}' is still being made.`)
  const begun = await beginOnce(
    call,
    operation(call, record.location ?? '', {
      action: `${VAULT_TYPE}/delete`,
      job: DELETE_VAULT_JOB,
      input: { id: record.id },
      reply: 'empty',
      announce: async (trx) => {
        const now = await findResource(trx, record.id)
        if (now === undefined) return
        await endOfVault(trx, now)
        await updateResource(trx, record.id, { state: 'Deleting' }, changeSourceOf(call.host))
      },
    }),
  )
  return settled(call, begun)
}

async function get(call: ArmCall): Promise<ArmReply> {
  const vault: ResourceRecord = await findVault(call)
  const backupMirror = await mirrorView(call, vault)
  const shown = showVault(vault)
  if (backupMirror === undefined) return ok(shown)
  return ok({ ...shown, properties: { ...(shown['properties'] as object), backupMirror } })
}

export const vaultRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: ALL, action: `${VAULT_TYPE}/read`, access: 'filter', handle: list },
  { method: 'GET', path: IN_GROUP, action: `${VAULT_TYPE}/read`, access: 'filter', handle: list },
  { method: 'GET', path: VAULT_PATH, action: `${VAULT_TYPE}/read`, handle: get },
  { method: 'PUT', path: VAULT_PATH, action: `${VAULT_TYPE}/write`, handle: put },
  { method: 'PATCH', path: VAULT_PATH, action: `${VAULT_TYPE}/write`, handle: patch },
  { method: 'DELETE', path: VAULT_PATH, action: `${VAULT_TYPE}/delete`, handle: remove },
  ...operationRoutes('Microsoft.RecoveryServices', ['operationStatus']),
]
