/**
 * Files of a recovery point. As Azure has it, a script that brings them out:
 *
 *   POST {point}/provisionInstantItemRecovery            202; the operation's status holds the script
 *   POST {point}/revokeInstantItemRecovery               202; the session is over
 *   POST {point}/listInstantItemRecoveryOperationResult  200 with the script again, while the session holds
 *
 * and beyond Azure, by a token of the API:
 *
 *   POST {point}/listFiles      {path}                   200 {entry, value: [{name, kind, sizeBytes, ...}], notes}
 *   POST {point}/downloadFiles  {path, format}           200 {url, expiresAt}: a file, or a folder as tar or zip
 *
 * Opened by ten thousand names or by none, a disk of a guest is untrusted: what is read is bounded in engine/transfer/files.
 */
import { findVaultPoint, findProtectedItem } from '#catalog'
import { ArmError } from '#contract'
import { isoTime, must } from '#base'
import { PACK_FORMATS, type ListedFile } from '#jobs'
import type { ArmCall, ArmReply, ArmRoute } from '../../../arm/call.ts'
import { checkFields, fieldAt, type FieldTable } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { ITEM_ACTION, POINT_PATH } from '../find-vault.ts'
import { operationHeaders } from '../operation-urls.ts'
import { findNamedPoint } from '../restore/named-point.ts'
import { type ClientScript, clientScript } from './mount-script.ts'
import { closeSessions, type FileSession, findSession, openSession, passwordOf, sessionsOn } from './file-sessions.ts'
import { filesOf } from './points-of-files.ts'
import { DOWNLOAD_FORMATS, signedFileUrl } from './signed-files.ts'

const P = 'properties.'
export const FILES_ACTION = `${ITEM_ACTION}/recoveryPoints/provisionInstantItemRecovery/action`
const REVOKE_ACTION = `${ITEM_ACTION}/recoveryPoints/revokeInstantItemRecovery/action`

export const PROVISION_FIELDS: FieldTable = [
  { path: `${P}objectType`, use: 'honoured', only: ['IaasVMILRRegistrationRequest'] },
  { path: `${P}recoveryPointId`, use: 'honoured', note: 'that of the path' },
  { path: `${P}virtualMachineId`, use: 'honoured', note: 'the machine of the item' },
  { path: `${P}initiatorName`, use: 'stored', note: 'there is no iSCSI: the script asks over HTTPS' },
  { path: `${P}renewExistingRegistration`, use: 'stored', note: 'a session that was open before is over' },
]

export const LIST_FIELDS: FieldTable = [{ path: 'path', use: 'honoured', note: '`/` when it is not given' }]

export const DOWNLOAD_FIELDS: FieldTable = [
  { path: 'path', use: 'honoured', note: 'begins with a volume, as the listing of `/` names them' },
  { path: 'format', use: 'honoured', only: DOWNLOAD_FORMATS, note: '`file` when it is not given' },
]

async function scriptOf(call: ArmCall, session: FileSession): Promise<ClientScript> {
  const { host } = call
  const item = await findProtectedItem(host.catalog, session.itemKey)
  return clientScript({
    machine: item?.friendlyName ?? 'machine',
    session: session.id,
    password: passwordOf(host, session.id),
    point: session.point,
    expiresMs: session.expiresMs,
    endpoint: session.baseUrl,
    authority: await host.authority(),
  })
}

async function provision(call: ArmCall): Promise<ArmReply> {
  const named = await findNamedPoint(call)
  const body = objectBody(call.body)
  checkFields(PROVISION_FIELDS, body)
  const given = fieldAt(body, `${P}recoveryPointId`)
  if (given !== undefined && given !== named.point.name)
    throw new ArmError(
      'InvalidParameter',
      `The body names the recovery point '${JSON.stringify(given)}', the path '${named.point.name}'.`,
      {
        target: `${P}recoveryPointId`,
      },
    )
  const session = await openSession(call, named)
  return { status: 202, headers: operationHeaders(call, session.id, named.item.id), operation: session.id }
}

async function revoke(call: ArmCall): Promise<ArmReply> {
  const named = await findNamedPoint(call)
  await closeSessions(call.host, named)
  const { item, point } = named
  await call.host.files.releaseFiles((await filesOf(call.host, point)).key).catch(() => {
    // The worker is away: it keeps nothing open then.
  })
  return { status: 202, headers: operationHeaders(call, `revoked-${point.name}`, item.id) }
}

/** The answer to the operation of a provisioning or a revocation; undefined for an operation that is neither. */
export async function fileOperation(
  call: ArmCall,
  operation: string,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const time = isoTime(call.host.clock.nowMs())
  const base = { id: operation, name: operation, status: 'Succeeded', startTime: time, endTime: time }
  if (operation.startsWith('revoked-')) return { ...base, properties: { objectType: 'OperationStatusExtendedInfo' } }
  const session = await findSession(call.host, operation)
  if (session === undefined || !call.may(FILES_ACTION, session.itemKey)) return undefined
  const recoveryTarget = { clientScripts: [await scriptOf(call, session)] }
  return { ...base, properties: { objectType: 'OperationStatusProvisionILRExtendedInfo', recoveryTarget } }
}

async function scriptAgain(call: ArmCall): Promise<ArmReply> {
  const { point } = await findNamedPoint(call)
  for (const id of sessionsOn(point)) {
    const session = await findSession(call.host, id)
    if (session !== undefined) return { status: 200, body: { clientScripts: [await scriptOf(call, session)] } }
  }
  throw new ArmError('ResourceNotFound', `No session is open on the recovery point '${point.name}'.`)
}

function shown(entry: ListedFile): Readonly<Record<string, unknown>> {
  const { modifiedMs, mode, ...rest } = entry
  const time = new globalThis.Date(modifiedMs)
  return {
    ...rest,
    mode: mode.toString(8).padStart(4, '0'),
    modifiedAt: Number.isNaN(time.getTime()) ? null : time.toISOString(),
  }
}

async function listFiles(call: ArmCall): Promise<ArmReply> {
  const { point } = await findNamedPoint(call)
  const body = objectBody(call.body ?? {})
  checkFields(LIST_FIELDS, body)
  const path = fieldAt(body, 'path') ?? '/'
  if (typeof path !== 'string') throw new ArmError('InvalidParameter', "'path' must be a text.", { target: 'path' })
  const { entry, entries, notes } = await call.host.files.listFiles(await filesOf(call.host, point), path)
  return { status: 200, body: { entry: shown(entry), value: entries.map(shown), notes } }
}

async function download(call: ArmCall): Promise<ArmReply> {
  const { point } = await findNamedPoint(call)
  const body = objectBody(call.body)
  checkFields(DOWNLOAD_FIELDS, body)
  const path = fieldAt(body, 'path')
  if (typeof path !== 'string' || path === '')
    throw new ArmError('InvalidParameter', 'A download needs the path of a file or folder.', { target: 'path' })
  const wanted = fieldAt(body, 'format') ?? 'file'
  const format = must(
    DOWNLOAD_FORMATS.find((one) => one === wanted),
    'The table lets only these pass',
  )
  const { entry } = await call.host.files.listFiles(await filesOf(call.host, point), path)
  if (format === 'file' && entry.kind !== 'file')
    throw new ArmError(
      'InvalidParameter',
      `'${path}' is a ${entry.kind}: ask for it as ${PACK_FORMATS.join(' or ')}.`,
      {
        target: 'format',
      },
    )
  const { url, expiresMs } = signedFileUrl(call, { itemKey: point.itemKey, point: point.name, path, format })
  return { status: 200, body: { url, expiresAt: isoTime(expiresMs), entry: shown(entry) } }
}

/** Whether the point is there still. @throws ArmError */
export async function pointOf(call: Pick<ArmCall, 'host'>, itemKey: string, name: string) {
  const point = await findVaultPoint(call.host.catalog, itemKey, name)
  if (point !== undefined) return point
  throw new ArmError('ResourceNotFound', `The recovery point '${name}' is not there any more.`)
}

export const fileRoutes: readonly ArmRoute[] = [
  { method: 'POST', path: `${POINT_PATH}/provisionInstantItemRecovery`, action: FILES_ACTION, handle: provision },
  { method: 'POST', path: `${POINT_PATH}/revokeInstantItemRecovery`, action: REVOKE_ACTION, handle: revoke },
  {
    method: 'POST',
    path: `${POINT_PATH}/listInstantItemRecoveryOperationResult`,
    action: FILES_ACTION,
    handle: scriptAgain,
  },
  { method: 'POST', path: `${POINT_PATH}/listFiles`, action: FILES_ACTION, handle: listFiles },
  { method: 'POST', path: `${POINT_PATH}/downloadFiles`, action: FILES_ACTION, handle: download },
]
