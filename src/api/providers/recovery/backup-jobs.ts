/**
 * vaults/{v}/backupJobs: list, show, cancel, export. A record whose job of the engine ended without saying so (it was cancelled before
 * it began, or its last words could not be written) is ended here, when somebody looks.
 */
import {
  type BackupJobFilter,
  type BackupJobRecord,
  changeBackupJob,
  findBackupJob,
  listBackupJobs,
  type ResourceRecord,
} from '#catalog'
import { ArmError, checkFilterFields, equalTo, type FilterTerm, PAGE_MAX, parseFilter } from '#contract'
import { BACKUP_JOB_STATUSES, BACKUP_OPERATIONS, isFinal } from '#domain'
import { failBackupJob, type JobView } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { readFilterTime } from './azure-time.ts'
import { JOB_TYPE, showBackupJob } from './backup-job-view.ts'
import { findVault, VAULT_PATH } from './find-vault.ts'
import { nextPage } from './next-page.ts'
import { operationHeaders } from './vault-operations.ts'

const FIELDS = ['status', 'operation', 'startTime', 'endTime', 'backupManagementType', 'jobId']
const PAGE = 200

/** The value of the closed list, compared without case. @throws ArmError */
function wordIn<T extends string>(terms: readonly FilterTerm[], field: string, words: readonly T[]): T | undefined {
  const given = equalTo(terms, field)
  if (given === undefined) return undefined
  const word = words.find((one) => one.toLowerCase() === given.toLowerCase())
  if (word !== undefined) return word
  throw new ArmError(
    'InvalidFilterInQueryString',
    `$filter: '${given}' is no ${field} of a job: ${words.join(', ')}.`,
    {
      target: '$filter',
    },
  )
}

function timeIn(terms: readonly FilterTerm[], field: string): number | undefined {
  const given = equalTo(terms, field)
  if (given === undefined) return undefined
  const ms = readFilterTime(given)
  if (ms !== undefined) return ms
  throw new ArmError('InvalidFilterInQueryString', `$filter: '${given}' is no time.`, { target: '$filter' })
}

/** @throws ArmError */
export function jobFilter(vaultKey: string, terms: readonly FilterTerm[]): BackupJobFilter {
  checkFilterFields(terms, FIELDS)
  const status = wordIn(terms, 'status', BACKUP_JOB_STATUSES)
  const operation = wordIn(terms, 'operation', BACKUP_OPERATIONS)
  const [startMs, endMs] = [timeIn(terms, 'startTime'), timeIn(terms, 'endTime')]
  return {
    vaultKey,
    ...(status !== undefined && { status }),
    ...(operation !== undefined && { operation }),
    ...(startMs !== undefined && { startMs }),
    ...(endMs !== undefined && { endMs }),
  }
}

/** The record as it is after its job has ended for certain. */
async function settled(call: ArmCall, record: BackupJobRecord, job: JobView | undefined): Promise<BackupJobRecord> {
  if (record.endedMs !== undefined || job === undefined || !isFinal(job.status)) return record
  const { catalog, clock } = call.host
  const error = job.error ?? { code: 'job_failed', message: 'The job ended without a word.', facts: {}, retry: 'never' }
  await failBackupJob(
    { catalog, clock },
    record.id,
    job.status === 'cancelled' ? { ...error, code: 'cancelled' } : error,
  )
  return (await findBackupJob(catalog, record.id)) ?? record
}

export async function viewJob(call: ArmCall, vault: ResourceRecord, found: BackupJobRecord) {
  const { jobs, clock } = call.host
  const job = found.endedMs === undefined ? await jobs.get(found.id) : undefined
  const record = await settled(call, found, job)
  return showBackupJob(vault, record, job?.progress, clock.nowMs())
}

async function list(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const terms = parseFilter(call.query('$filter'))
  const filter = jobFilter(vault.key, terms)
  const wanted = equalTo(terms, 'jobId')
  if (wanted !== undefined) {
    const one = await findBackupJob(call.host.catalog, wanted)
    return ok({ value: one?.vaultKey === vault.key ? [await viewJob(call, vault, one)] : [] })
  }
  const [startedMs, id] = (call.query('$skipToken') ?? '').split('_')
  const before = id === undefined ? {} : { before: { startedMs: Number(startedMs), id } }
  const found = await listBackupJobs(call.host.catalog, { ...filter, ...before, limit: PAGE + 1 })
  const page = found.slice(0, PAGE)
  const last = found.length > PAGE ? page.at(-1) : undefined
  const value = await Promise.all(page.map((record) => viewJob(call, vault, record)))
  return ok(nextPage(call.url, value, last && `${last.startedMs}_${last.id}`))
}

async function findJob(call: ArmCall, vault: ResourceRecord): Promise<BackupJobRecord> {
  const record = await findBackupJob(call.host.catalog, call.param('job'))
  if (record?.vaultKey === vault.key) return record
  throw new ArmError('ResourceNotFound', `The vault '${vault.name}' has no job '${call.param('job')}'.`)
}

async function show(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  return ok(await viewJob(call, vault, await findJob(call, vault)))
}

async function cancel(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const { catalog, jobs, clock } = call.host
  const { id } = await findJob(call, vault)
  await catalog.write(async (trx) => {
    const record = await findBackupJob(trx, id)
    if (record?.status === 'Cancelling') return
    if (record?.status !== 'InProgress' || !record.isCancellable)
      throw new ArmError(
        'OperationNotAllowed',
        `The job '${id}' (${record?.operation ?? ''}) is ${record?.status ?? 'gone'} and cannot be cancelled.`,
      )
    await changeBackupJob(trx, id, { status: 'Cancelling' })
  })
  await jobs.cancel(id, 'asked for by the API')
  const job = await jobs.get(id)
  if (job?.status === 'cancelled') {
    const error = {
      code: 'cancelled',
      message: 'It was cancelled before it began.',
      facts: {},
      retry: 'never',
    } as const
    await failBackupJob({ catalog, clock }, id, error)
  }
  return { status: 202, headers: operationHeaders(call, id, `${vault.id}/backupJobs/${id}`), operation: id }
}

/** Azure writes a list into a blob; here the answer is the list itself, which `backupJobs` gives as well. */
async function exportJobs(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  jobFilter(vault.key, parseFilter(call.query('$filter')))
  const at = `${vault.id}/backupJobs`
  const filter = encodeURIComponent(call.query('$filter') ?? '')
  const location = `${call.baseUrl}${at}/operationResults/export?$filter=${filter}&api-version=${call.apiVersion}`
  return { status: 202, headers: { location, 'retry-after': '1' } }
}

async function exported(call: ArmCall): Promise<ArmReply> {
  const vault = await findVault(call)
  const filter = jobFilter(vault.key, parseFilter(call.query('$filter')))
  const found = await listBackupJobs(call.host.catalog, { ...filter, limit: PAGE_MAX })
  const rows = await Promise.all(found.map((record) => viewJob(call, vault, record)))
  const properties = { objectType: 'ExportJobsOperationResultInfo', jobs: rows }
  return ok({ operation: properties, properties })
}

const ACTION = 'Microsoft.RecoveryServices/vaults/backupJobs'

export const backupJobRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: `${VAULT_PATH}/backupJobs`, action: `${JOB_TYPE}/read`, handle: list },
  { method: 'GET', path: `${VAULT_PATH}/backupJobs/{job}`, action: `${JOB_TYPE}/read`, handle: show },
  { method: 'POST', path: `${VAULT_PATH}/backupJobs/{job}/cancel`, action: `${ACTION}/cancel/action`, handle: cancel },
  {
    method: 'GET',
    path: `${VAULT_PATH}/backupJobs/operationResults/{operation}`,
    action: `${ACTION}/read`,
    handle: exported,
  },
  { method: 'POST', path: `${VAULT_PATH}/backupJobsExport`, action: `${ACTION}Export/action`, handle: exportJobs },
]
