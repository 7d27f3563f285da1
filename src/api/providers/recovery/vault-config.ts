/**
 * A vault's configuration as Azure Backup has it beside the vault: the same settings under other names, since clients of both kinds
 * change them.
 *
 *   V/backupconfig/vaultconfig                                   soft delete
 *   V/backupstorageconfig/vaultstorageconfig                     redundancy and cross-region restore
 *   V/backupEncryptionConfigs/backupResourceEncryptionConfig     read only: the key is a file of the server
 *   V/backupResourceGuardProxies                                 empty: there are no resource guards
 *   V/extendedInformation/vaultExtendedInfo                      what an agent would register with; kept, without effect
 */
import { createHash } from 'node:crypto'
import type { ResourceRecord } from '#catalog'
import { ArmError } from '#contract'
import { REDUNDANCIES, SOFT_DELETE_STATES } from '#domain'
import { VAULT_TYPE, vaultBackingOf } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { checkFields, fieldAt } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { findVault, VAULT_PATH } from './find-vault.ts'
import { STORAGE_CONFIG_FIELDS, VAULT_CONFIG_FIELDS } from './vault-fields.ts'
import { changeVault, daysAt, type SettingsChange } from './vault-settings.ts'
import { wordOf } from './word-of.ts'

const CONFIG = `${VAULT_PATH}/backupconfig/vaultconfig`
const STORAGE = `${VAULT_PATH}/backupstorageconfig/vaultstorageconfig`
const ENCRYPTION = `${VAULT_PATH}/backupEncryptionConfigs/backupResourceEncryptionConfig`
const EXTENDED = `${VAULT_PATH}/extendedInformation/vaultExtendedInfo`
const GUARDS = `${VAULT_PATH}/backupResourceGuardProxies`

type Shown = Readonly<Record<string, unknown>>

function child(vault: ResourceRecord, type: string, name: string, properties: Shown): Shown {
  return { id: `${vault.id}/${type}/${name}`, name, type: `${VAULT_TYPE}/${type}`, properties }
}

function storageWords(vault: ResourceRecord): Shown {
  const { settings, hadItems } = vaultBackingOf(vault)
  const { redundancy } = settings
  const storageTypeState = hadItems === true ? 'Locked' : 'Unlocked'
  return { storageModelType: redundancy, storageType: redundancy, storageTypeState }
}

function showConfig(vault: ResourceRecord): Shown {
  const { softDelete } = vaultBackingOf(vault).settings
  return child(vault, 'backupconfig', 'vaultconfig', {
    enhancedSecurityState: 'Enabled',
    softDeleteFeatureState: softDelete.state,
    softDeleteRetentionPeriodInDays: softDelete.days,
    ...storageWords(vault),
    isSoftDeleteFeatureStateEditable: softDelete.state !== 'AlwaysON',
    resourceGuardOperationRequests: [],
  })
}

function showStorage(vault: ResourceRecord): Shown {
  return child(vault, 'backupstorageconfig', 'vaultstorageconfig', {
    ...storageWords(vault),
    crossRegionRestoreFlag: vaultBackingOf(vault).settings.crossRegionRestore,
    dedupState: 'Disabled',
    xcoolState: 'Disabled',
  })
}

async function changeConfig(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const body = objectBody(call.body)
  checkFields(VAULT_CONFIG_FIELDS, body)
  const given = wordOf(fieldAt(body, 'properties.softDeleteFeatureState')).toLowerCase()
  const state = SOFT_DELETE_STATES.find((one) => one.toLowerCase() === given)
  const days = daysAt(body, 'properties.softDeleteRetentionPeriodInDays')
  const softDelete = { ...(state !== undefined && { state }), ...(days !== undefined && { days }) }
  return ok(showConfig(await changeVault(call, vault.id, { softDelete })))
}

function readStorage(body: Shown): SettingsChange {
  checkFields(STORAGE_CONFIG_FIELDS, body)
  const given = fieldAt(body, 'properties.storageModelType') ?? fieldAt(body, 'properties.storageType')
  const redundancy = REDUNDANCIES.find((one) => one.toLowerCase() === wordOf(given).toLowerCase())
  if (given !== undefined && redundancy === undefined)
    throw new ArmError('InvalidParameter', `'${wordOf(given)}' is no storage redundancy: ${REDUNDANCIES.join(', ')}.`, {
      target: 'properties.storageType',
    })
  const cross = fieldAt(body, 'properties.crossRegionRestoreFlag')
  if (cross !== undefined && typeof cross !== 'boolean')
    throw new ArmError('InvalidParameter', "'properties.crossRegionRestoreFlag' must be true or false.", {
      target: 'properties.crossRegionRestoreFlag',
    })
  return {
    ...(redundancy !== undefined && { redundancy }),
    ...(cross !== undefined && { crossRegionRestore: cross }),
  }
}

async function changeStorage(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const changed = await changeVault(call, vault.id, readStorage(objectBody(call.body)))
  // Clients of both kinds: a PATCH is answered with 204 and nothing else.
  return call.method === 'PATCH' ? { status: 204 } : ok(showStorage(changed))
}

function showEncryption(vault: ResourceRecord): Shown {
  return child(vault, 'backupEncryptionConfigs', 'backupResourceEncryptionConfig', {
    encryptionAtRestType: 'MicrosoftManaged',
    infrastructureEncryptionState: 'Disabled',
    lastUpdateStatus: 'NotEnabled',
  })
}

function refuseEncryption(call: ArmCall): ArmReply {
  const type = fieldAt(call.body, 'properties.encryptionAtRestType')
  if (type === undefined || wordOf(type).toLowerCase() === 'microsoftmanaged') return { status: 200 }
  throw new ArmError(
    'NotSupported',
    'A vault is sealed with its own key, a file of the server ("keys/vault-<uid>.key"); a key of a key vault is not taken.',
    { target: 'properties.encryptionAtRestType' },
  )
}

function showExtended(vault: ResourceRecord): Shown {
  const kept = (vault.body['extended'] ?? {}) as Shown
  // No secret: agents that would use it are not served. Stable, because clients compare it.
  const integrityKey = createHash('sha256')
    .update(`${vaultBackingOf(vault).uid} integrity`)
    .digest('base64')
  return {
    ...child(vault, 'extendedInformation', 'vaultExtendedInfo', { integrityKey, algorithm: 'None', ...kept }),
    etag: vaultBackingOf(vault).uid,
  }
}

async function changeExtended(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const given = fieldAt(objectBody(call.body), 'properties')
  const { algorithm, integrityKey } = objectBody(given ?? {})
  const isText = (value: unknown): boolean => value === undefined || (typeof value === 'string' && value.length <= 4096)
  if (!isText(algorithm) || !isText(integrityKey))
    throw new ArmError('InvalidParameter', 'integrityKey and algorithm must be texts.', { target: 'properties' })
  const extended = {
    ...(integrityKey !== undefined && { integrityKey }),
    ...(algorithm !== undefined && { algorithm }),
  }
  return ok(showExtended(await changeVault(call, vault.id, {}, (row) => ({ body: { ...row.body, extended } }))))
}

const read = (show: (vault: ResourceRecord) => Shown): ArmRoute['handle'] => {
  return async (call) => ok(show(await findVault(call)))
}

export const vaultConfigRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: CONFIG, action: `${VAULT_TYPE}/backupconfig/read`, handle: read(showConfig) },
  { method: 'PUT', path: CONFIG, action: `${VAULT_TYPE}/backupconfig/write`, handle: changeConfig },
  { method: 'PATCH', path: CONFIG, action: `${VAULT_TYPE}/backupconfig/write`, handle: changeConfig },
  { method: 'GET', path: STORAGE, action: `${VAULT_TYPE}/backupstorageconfig/read`, handle: read(showStorage) },
  { method: 'PUT', path: STORAGE, action: `${VAULT_TYPE}/backupstorageconfig/write`, handle: changeStorage },
  { method: 'PATCH', path: STORAGE, action: `${VAULT_TYPE}/backupstorageconfig/write`, handle: changeStorage },
  {
    method: 'GET',
    path: ENCRYPTION,
    action: `${VAULT_TYPE}/backupEncryptionConfigs/read`,
    handle: read(showEncryption),
  },
  {
    method: 'PUT',
    path: ENCRYPTION,
    action: `${VAULT_TYPE}/backupEncryptionConfigs/write`,
    handle: async (call) => {
      await findVault(call)
      return refuseEncryption(call)
    },
  },
  { method: 'GET', path: EXTENDED, action: `${VAULT_TYPE}/extendedInformation/read`, handle: read(showExtended) },
  { method: 'PUT', path: EXTENDED, action: `${VAULT_TYPE}/extendedInformation/write`, handle: changeExtended },
  { method: 'PATCH', path: EXTENDED, action: `${VAULT_TYPE}/extendedInformation/write`, handle: changeExtended },
  {
    method: 'GET',
    path: GUARDS,
    action: `${VAULT_TYPE}/backupResourceGuardProxies/read`,
    handle: read(() => ({ value: [] })),
  },
]
