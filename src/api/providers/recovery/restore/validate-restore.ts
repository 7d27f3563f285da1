/**
 * Whether a restore would be accepted, without beginning it: `ValidateIaasVMRestoreOperationRequest`.
 *
 *   POST {vault}/backupValidateOperation            200 {validationResults: [{errorCode, errorString}]}; none: it would be
 *   POST {vault}/backupTriggerValidateOperation     202; the same by backupValidateOperationsStatuses/{id} and ...Results/{id}
 *
 * The second one's operation carries its answer in its id, signed: nothing is kept of a question.
 */
import { createHmac } from 'node:crypto'
import { isoTime } from '#base'
import { findProtectedItem, findVaultPoint } from '#catalog'
import { ArmError, parseResourceId, RETRY_AFTER_SECONDS } from '#contract'
import type { ArmCall, ArmReply, ArmRoute } from '../../../arm/call.ts'
import { armErrorOf } from '../../../arm/error-reply.ts'
import { fieldAt } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { findVault, VAULT_PATH } from '../find-vault.ts'
import type { NamedPoint } from './named-point.ts'
import { planRestore } from './restore-plan.ts'
import { readRestoreRequest } from './restore-request.ts'

const OBJECT_TYPES = ['ValidateIaasVMRestoreOperationRequest', 'ValidateRestoreOperationRequest']
const ACTION = 'Microsoft.RecoveryServices/vaults/backupValidateOperation/action'
const TRIGGER_ACTION = 'Microsoft.RecoveryServices/vaults/backupTriggerValidateOperation/action'

type Result = Readonly<{ errorCode: string; errorString: string; recommendations: readonly string[] }>

/** Of the item's machine, the point that the request names. */
async function pointIn(call: ArmCall, properties: unknown): Promise<NamedPoint> {
  const { catalog } = call.host
  const vault = await findVault(call)
  const source = parseResourceId(
    fieldAt(properties, 'sourceResourceId') ?? '',
    'properties.restoreRequest.sourceResourceId',
  )
  const name = `iaasvmcontainerv2;${source.group ?? ''};${source.name}`
  const item = await findProtectedItem(
    catalog,
    `${vault.id}/backupFabrics/Azure/protectionContainers/IaasVMContainer;${name}/protectedItems/VM;${name}`,
  )
  const point =
    item === undefined
      ? undefined
      : await findVaultPoint(catalog, item.key, String(fieldAt(properties, 'recoveryPointId')).split('/').at(-1) ?? '')
  if (item !== undefined && point !== undefined) return { vault, item, point }
  throw new ArmError('ResourceNotFound', 'The vault has no such recovery point of that machine.', {
    target: 'properties.restoreRequest.recoveryPointId',
  })
}

async function resultsOf(call: ArmCall): Promise<readonly Result[]> {
  const body = objectBody(call.body)
  // SDKs send the request bare, or wrapped with an id.
  const asked = fieldAt(body, 'properties') === undefined ? body : (fieldAt(body, 'properties') as object)
  const kind = fieldAt(asked, 'objectType')
  if (typeof kind !== 'string' || !OBJECT_TYPES.includes(kind))
    throw new ArmError('InvalidParameter', `Only restores are validated: objectType ${OBJECT_TYPES[0] ?? ''}.`, {
      target: 'objectType',
    })
  const properties = fieldAt(asked, 'restoreRequest')
  try {
    await planRestore(call, await pointIn(call, properties), readRestoreRequest({ properties }))
    return []
  } catch (error) {
    const known = armErrorOf(error)
    if (known === undefined) throw error
    return [{ errorCode: known.code, errorString: known.message, recommendations: [] }]
  }
}

async function validate(call: ArmCall): Promise<ArmReply> {
  await findVault(call)
  return { status: 200, body: { validationResults: await resultsOf(call) } }
}

function signatureOf({ host }: ArmCall, payload: string): string {
  const key = host.disks.accessKey
  return createHmac('sha256', key).update(`holdfast validation 1\0${payload}`).digest('base64url').slice(0, 22)
}

/** Long sentences do not fit into a path. */
const SENTENCE_CHARS_MAX = 600

async function trigger(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const results = (await resultsOf(call)).map(({ errorCode, errorString }) => [
    errorCode,
    errorString.slice(0, SENTENCE_CHARS_MAX),
  ])
  const payload = Buffer.from(JSON.stringify([vault.key.length, results])).toString('base64url')
  const id = `${payload}.${signatureOf(call, payload)}`
  const version = `api-version=${call.apiVersion}`
  return {
    status: 202,
    headers: {
      'azure-asyncoperation': `${call.baseUrl}${vault.id}/backupValidateOperationsStatuses/${id}?${version}`,
      location: `${call.baseUrl}${vault.id}/backupValidateOperationResults/${id}?${version}`,
      'retry-after': String(RETRY_AFTER_SECONDS),
    },
  }
}

function resultsIn(call: ArmCall): readonly Result[] {
  const id = call.param('operation')
  const [payload = '', signature = ''] = id.split('.')
  if (signatureOf(call, payload) !== signature) throw new ArmError('OperationNotFound', `There is no validation ${id}.`)
  const [, results] = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as [number, [string, string][]]
  return results.map(([errorCode, errorString]) => ({ errorCode, errorString, recommendations: [] }))
}

async function status(call: ArmCall): Promise<ArmReply> {
  await findVault(call)
  const validationResults = resultsIn(call)
  const id = call.param('operation')
  const time = isoTime(call.host.clock.nowMs())
  const properties = {
    objectType: 'OperationStatusValidateOperationExtendedInfo',
    validateOperationResponse: { validationResults },
  }
  return { status: 200, body: { id, name: id, status: 'Succeeded', startTime: time, endTime: time, properties } }
}

async function result(call: ArmCall): Promise<ArmReply> {
  await findVault(call)
  return { status: 200, body: { validateOperationResponse: { validationResults: resultsIn(call) } } }
}

const READ = 'Microsoft.RecoveryServices/vaults/backupOperations/read'

export const validateRestoreRoutes: readonly ArmRoute[] = [
  { method: 'POST', path: `${VAULT_PATH}/backupValidateOperation`, action: ACTION, handle: validate },
  { method: 'POST', path: `${VAULT_PATH}/backupTriggerValidateOperation`, action: TRIGGER_ACTION, handle: trigger },
  { method: 'GET', path: `${VAULT_PATH}/backupValidateOperationsStatuses/{operation}`, action: READ, handle: status },
  { method: 'GET', path: `${VAULT_PATH}/backupValidateOperationResults/{operation}`, action: READ, handle: result },
]
