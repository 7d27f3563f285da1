/**
 * Restores across regions, as az calls them with `--use-secondary-region`: from the vault's copy in its paired region, whether the
 * first region is there or not. The vault must be geo-redundant and allow it; the point must have reached the copy.
 *
 *   GET  {region}/backupAadProperties                     200; here there is one directory
 *   POST {point}/accessToken                              200; names the point, signed, for an hour
 *   POST {region}/backupCrossRegionRestore                202; `{crossRegionRestoreAccessDetails, restoreRequest}`
 *   GET  {region}/backupCrrOperationsStatus/{id}          200; GET .../backupCrrOperationResults/{id}
 *   POST {region}/backupCrrJobs, backupCrrJob             200; `{resourceId}` of the vault, `jobName`
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { isoTime } from '#base'
import {
  findBackupJob,
  findProtectedItem,
  findResource,
  findVaultPoint,
  listBackupJobs,
  type ResourceRecord,
} from '#catalog'
import { ArmError, pageOf, parseIdOfType, sameId } from '#contract'
import { VAULT_TYPE, vaultBackingOf, vaultSettingsOf } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../../arm/call.ts'
import { fieldAt } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { JOB_TYPE } from '../backup-job-view.ts'
import { viewJob } from '../backup-jobs.ts'
import { POINT_PATH } from '../find-vault.ts'
import { findNamedPoint, type NamedPoint } from './named-point.ts'
import { planRestore } from './restore-plan.ts'
import { readRestoreRequest } from './restore-request.ts'
import { beginRestore, RESTORE_ACTION } from './restore-routes.ts'

const LOCATION = '/subscriptions/{subscription}/providers/Microsoft.RecoveryServices/locations/{location}'
const TOKEN_MS = 3600 * 1000
const TOKEN_ACTION = `${RESTORE_ACTION.replace(/\/restore\/action$/, '')}/accessToken/action`

type Fields = Readonly<Record<string, unknown>>

function aadProperties(call: ArmCall): ArmReply {
  const { tenantId } = call.host
  const name = 'backupAadProperties'
  const path = new URL(call.url).pathname
  const properties = { tenantId, audience: `${call.baseUrl}/`, servicePrincipalObjectId: call.caller.principal.id }
  return ok({ id: path, name, type: 'Microsoft.RecoveryServices/locations/backupAadProperties', properties })
}

function signatureOf({ host }: ArmCall, payload: string): string {
  return createHmac('sha256', host.disks.accessKey).update(`holdfast crr token 1\0${payload}`).digest('base64url')
}

/** Where the vault's copy is, and that this point has reached it. @throws ArmError */
function secondaryOf({ vault, point }: NamedPoint): string {
  const { mirror } = vaultBackingOf(vault)
  if (mirror === undefined || !vaultSettingsOf(vault).crossRegionRestore)
    throw new ArmError(
      'OperationNotAllowed',
      `Cross region restore is not enabled for the vault '${vault.name}': it needs geo-redundant storage and the flag crossRegionRestoreFlag.`,
    )
  if (point.mirroredMs === undefined)
    throw new ArmError(
      'OperationNotAllowed',
      `The recovery point '${point.name}' has not reached the secondary region '${mirror.region}' yet: choose an older one, or wait.`,
    )
  return mirror.region
}

async function accessToken(call: ArmCall): Promise<ArmReply> {
  const named = await findNamedPoint(call)
  const region = secondaryOf(named)
  const { vault, item, point } = named
  const payload = Buffer.from(
    JSON.stringify({ item: item.key, point: point.name, untilMs: call.host.clock.nowMs() + TOKEN_MS }),
  ).toString('base64url')
  const [container, name] = [call.param('container'), call.param('item')]
  const properties = {
    objectType: 'CrrAccessToken',
    accessTokenString: `${payload}.${signatureOf(call, payload)}`,
    subscriptionId: call.host.subscriptionId,
    resourceGroupName: call.param('group'),
    resourceName: vault.name,
    resourceId: vault.id,
    protectionContainerId: container,
    recoveryPointId: point.name,
    recoveryPointTime: isoTime(point.takenMs),
    containerName: container,
    containerType: 'IaasVMContainer',
    backupManagementType: 'AzureIaasVM',
    datasourceType: 'VM',
    datasourceName: item.friendlyName,
    datasourceId: item.machineId,
    datasourceContainerName: name,
    rpIsManagedVirtualMachine: true,
    rpOriginalSAOption: false,
    bMSActiveRegion: region,
  }
  return ok({ id: `${item.id}/recoveryPoints/${point.name}/accessToken`, name: 'accessToken', properties })
}

function refusedToken(): ArmError {
  return new ArmError(
    'AuthorizationFailed',
    'The access token of the recovery point was not made here, or its hour is over.',
    {
      target: 'crossRegionRestoreAccessDetails.accessTokenString',
    },
  )
}

/** The point that the token names. @throws ArmError */
async function pointOfToken(call: ArmCall, token: unknown): Promise<NamedPoint> {
  const [payload = '', signature = ''] = typeof token === 'string' ? token.split('.') : []
  const [right, given] = [Buffer.from(signatureOf(call, payload)), Buffer.from(signature)]
  if (right.length !== given.length || !timingSafeEqual(right, given)) throw refusedToken()
  const {
    item: itemKey,
    point: name,
    untilMs,
  } = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as {
    item: string
    point: string
    untilMs: number
  }
  if (!(untilMs > call.host.clock.nowMs())) throw refusedToken()
  const { catalog } = call.host
  const item = await findProtectedItem(catalog, itemKey)
  const point = await findVaultPoint(catalog, itemKey, name)
  const vault = item === undefined ? undefined : await findResource(catalog, item.vaultKey)
  if (item !== undefined && point !== undefined && vault !== undefined) return { vault, item, point }
  throw new ArmError('ResourceNotFound', `The recovery point '${name}' is not there any more.`)
}

async function restoreAcross(call: ArmCall): Promise<ArmReply> {
  const body = objectBody(call.body)
  const named = await pointOfToken(call, fieldAt(body, 'crossRegionRestoreAccessDetails.accessTokenString'))
  call.authorize(RESTORE_ACTION, `${named.item.id}/recoveryPoints/${named.point.name}`)
  const secondary = secondaryOf(named)
  if (!sameId(call.param('location'), secondary))
    throw new ArmError(
      'InvalidParameter',
      `The vault's copy is in '${secondary}', not in '${call.param('location')}'.`,
      {
        target: 'location',
      },
    )
  const request = readRestoreRequest({ properties: fieldAt(body, 'restoreRequest') })
  const reply = await beginRestore(call, named, await planRestore(call, named, request, secondary))
  const base = `${call.baseUrl}/subscriptions/${call.host.subscriptionId}/providers/Microsoft.RecoveryServices/locations/${secondary}`
  const version = `api-version=${call.apiVersion}`
  const headers = {
    ...reply.headers,
    'azure-asyncoperation': `${base}/backupCrrOperationsStatus/${reply.operation ?? ''}?${version}`,
    location: `${base}/backupCrrOperationResults/${reply.operation ?? ''}?${version}`,
  }
  return { ...reply, headers }
}

/** The record, for those who may see its vault. @throws ArmError */
async function findJob(call: ArmCall, id: string) {
  const record = await findBackupJob(call.host.catalog, id)
  if (record?.operation === 'CrossRegionRestore' && call.may(`${VAULT_TYPE}/read`, record.vaultKey)) return record
  throw new ArmError('OperationNotFound', `There is no restore across regions ${id}.`)
}

async function operationStatus(call: ArmCall): Promise<ArmReply> {
  const { id, startedMs, endedMs } = await findJob(call, call.param('operation'))
  const properties = { objectType: 'OperationStatusJobExtendedInfo', jobId: id }
  const time = { startTime: isoTime(startedMs), endTime: isoTime(endedMs ?? startedMs) }
  return ok({ id, name: id, status: 'Succeeded', ...time, properties }, { 'retry-after': '1' })
}

async function operationResult(call: ArmCall): Promise<ArmReply> {
  await findJob(call, call.param('operation'))
  return { status: 204 }
}

async function vaultIn(call: ArmCall, body: Fields): Promise<ResourceRecord> {
  const id = parseIdOfType(fieldAt(body, 'resourceId'), VAULT_TYPE, 'resourceId')
  call.authorize(`${VAULT_TYPE}/backupJobs/read`, id.text)
  const vault = await findResource(call.host.catalog, id.text)
  if (vault !== undefined) return vault
  throw new ArmError('ResourceNotFound', `The vault '${id.text}' was not found.`, { target: 'resourceId' })
}

async function showJob(call: ArmCall): Promise<ArmReply> {
  const body = objectBody(call.body)
  const vault = await vaultIn(call, body)
  const record = await findJob(call, String(fieldAt(body, 'jobName')))
  return ok(await viewJob(call, vault, record))
}

async function listJobs(call: ArmCall): Promise<ArmReply> {
  const vault = await vaultIn(call, objectBody(call.body))
  const records = await listBackupJobs(call.host.catalog, {
    vaultKey: vault.key,
    operation: 'CrossRegionRestore',
    limit: 1000,
  })
  const views = await Promise.all(records.map((record) => viewJob(call, vault, record)))
  return ok(pageOf(views, call.url, call.query('$skipToken')))
}

const READ = `${JOB_TYPE}/read`

export const crossRegionRoutes: readonly ArmRoute[] = [
  {
    method: 'GET',
    path: `${LOCATION}/backupAadProperties`,
    action: 'Microsoft.RecoveryServices/locations/backupAadProperties/read',
    access: 'entered',
    handle: aadProperties,
  },
  { method: 'POST', path: `${POINT_PATH}/accessToken`, action: TOKEN_ACTION, handle: accessToken },
  {
    method: 'POST',
    path: `${LOCATION}/backupCrossRegionRestore`,
    action: 'Microsoft.RecoveryServices/locations/backupCrossRegionRestore/action',
    access: 'entered',
    handle: restoreAcross,
  },
  {
    method: 'GET',
    path: `${LOCATION}/backupCrrOperationsStatus/{operation}`,
    action: READ,
    access: 'entered',
    handle: operationStatus,
  },
  {
    method: 'GET',
    path: `${LOCATION}/backupCrrOperationResults/{operation}`,
    action: READ,
    access: 'entered',
    handle: operationResult,
  },
  { method: 'POST', path: `${LOCATION}/backupCrrJob`, action: READ, access: 'entered', handle: showJob },
  { method: 'POST', path: `${LOCATION}/backupCrrJobs`, action: READ, access: 'entered', handle: listJobs },
]
