/**
 * Operations on what a vault holds, as `az backup` and the SDKs follow them. An answer is 202 with two URLs below the resource; `az`
 * takes only the last segment of the first one and asks the vault:
 *
 *   .../operationsStatus/{id}, vaults/{v}/backupOperations/{id}               200 always: {status, properties: {jobId}}
 *   .../operationResults/{id}, vaults/{v}/backupOperationResults/{id}         202 while it runs, then 200 or 204
 *
 * In Azure the operation is over once the *job* is on record, and the job goes on: so it is here, unless the operation is told to
 * follow its job (`followsJob`). Operation, record and job have one id; how a crash is survived stands in begin-vault-job.ts.
 */
import { isoTime } from '#base'
import { type BackupJobRecord, findBackupJob, type ResourceRecord } from '#catalog'
import { ArmError, RETRY_AFTER_SECONDS } from '#contract'
import { beginVaultJob, type NewVaultJob } from '#jobs'
import type { ArmCall, ArmReply, ArmRoute } from '../../arm/call.ts'
import { fileOperation } from './files/file-routes.ts'
import { findVault, ITEM_PATH, VAULT_PATH } from './find-vault.ts'
import { operationHeaders } from './operation-urls.ts'

export { operationHeaders }

export type VaultOperation = Omit<NewVaultJob, 'vault' | 'principal'> &
  Readonly<{
    /** Id of the resource below which its URLs are; default: the vault. */
    at?: string
    /** The operation is over when its job is. */
    followsJob?: boolean
  }>

/** What `BackupJobRecord.result` may hold for the operation's status. */
export type OperationResult = Readonly<{
  followsJob?: boolean
  operationProperties?: Readonly<Record<string, unknown>>
}>

const NEVER = '0001-01-01T00:00:00Z'

/**
 * Announces it, starts its job, answers 202.
 * @throws what `announce` throws
 */
export async function beginVaultOperation(
  call: ArmCall,
  vault: ResourceRecord,
  { at = vault.id, followsJob = false, result, ...wanted }: VaultOperation,
): Promise<ArmReply> {
  const { catalog, jobs, clock, random } = call.host
  const { key, subscription, location = '' } = vault
  const id = await beginVaultJob(
    { catalog, jobs, clock, random },
    {
      ...wanted,
      vault: { key, subscription, location },
      principal: call.caller.principal.id,
      result: { ...result, ...(followsJob && { followsJob }) },
    },
  )
  return { status: 202, headers: operationHeaders(call, id, at), operation: id }
}

async function findOperation(call: ArmCall): Promise<BackupJobRecord> {
  const vault = await findVault(call)
  const id = call.param('operation')
  const record = await findBackupJob(call.host.catalog, id)
  if (record?.vaultKey === vault.key) return record
  throw new ArmError('OperationNotFound', `There is no operation ${id} of the vault '${vault.name}'.`)
}

function statusOf({ status, endedMs, result }: BackupJobRecord): 'InProgress' | 'Succeeded' | 'Failed' | 'Canceled' {
  if ((result as OperationResult | undefined)?.followsJob !== true) return 'Succeeded'
  if (endedMs === undefined) return 'InProgress'
  if (status === 'Cancelled') return 'Canceled'
  return status === 'Failed' ? 'Failed' : 'Succeeded'
}

async function answerStatus(call: ArmCall): Promise<ArmReply> {
  const ofFiles = await fileOperation(call, call.param('operation'))
  if (ofFiles !== undefined) return { status: 200, body: ofFiles }
  const record = await findOperation(call)
  const status = statusOf(record)
  const { id, startedMs, endedMs, errors, result } = record
  const [error] = errors
  const { operationProperties } = (result ?? {}) as OperationResult
  const ended = status === 'InProgress' ? NEVER : isoTime(endedMs ?? startedMs)
  const body = {
    id,
    name: id,
    status,
    startTime: isoTime(startedMs),
    endTime: ended,
    ...(status === 'Failed' && {
      error: { code: error?.code ?? 'JobFailed', message: error?.message ?? 'It failed.' },
    }),
    ...(status === 'Canceled' && { error: { code: 'OperationPreempted', message: 'The operation was cancelled.' } }),
    properties: operationProperties ?? { objectType: 'OperationStatusJobExtendedInfo', jobId: id },
  }
  return { status: 200, body, headers: { 'retry-after': String(RETRY_AFTER_SECONDS) } }
}

async function answerResult(call: ArmCall): Promise<ArmReply> {
  if ((await fileOperation(call, call.param('operation'))) !== undefined) return { status: 204 }
  const record = await findOperation(call)
  const status = statusOf(record)
  if (status === 'InProgress')
    return { status: 202, headers: { location: call.url, 'retry-after': String(RETRY_AFTER_SECONDS) } }
  const [error] = record.errors
  if (status === 'Failed' && error !== undefined)
    return { status: 409, body: { error: { code: error.code, message: error.message } } }
  return { status: 204 }
}

const OPERATIONS = 'Microsoft.RecoveryServices/vaults/backupOperations/read'
const RESULTS = 'Microsoft.RecoveryServices/vaults/backupOperationResults/read'

export const vaultOperationRoutes: readonly ArmRoute[] = [
  ...[VAULT_PATH, ITEM_PATH, `${ITEM_PATH}/recoveryPoints/{point}`].flatMap((path): ArmRoute[] => [
    { method: 'GET', path: `${path}/operationsStatus/{operation}`, action: OPERATIONS, handle: answerStatus },
    { method: 'GET', path: `${path}/operationResults/{operation}`, action: RESULTS, handle: answerResult },
  ]),
  { method: 'GET', path: `${VAULT_PATH}/backupOperations/{operation}`, action: OPERATIONS, handle: answerStatus },
  { method: 'GET', path: `${VAULT_PATH}/backupOperationResults/{operation}`, action: RESULTS, handle: answerResult },
  {
    method: 'GET',
    path: `${VAULT_PATH}/backupJobs/{job}/operationResults/{operation}`,
    action: RESULTS,
    handle: answerResult,
  },
]
