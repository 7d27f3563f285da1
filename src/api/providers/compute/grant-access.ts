/**
 * beginGetAccess and endGetAccess of disks, snapshots and disks of restore points: signed URLs to their bytes, for a while.
 *
 * One grant at a time: granting again makes a new URL and ends the old one. A grant holds from the moment it is accepted, its
 * URL is made when it is asked for (operations.ts, `access`). Revoking ends the streams that are open. Revoking the access
 * to write to an upload makes the disk of what was uploaded.
 */
import { randomUuid } from '#base'
import { type CatalogTransaction, findResource, type ResourceRecord, updateResource } from '#catalog'
import { ArmError } from '#contract'
import { type DiskGrant, isRefusal, stateUnderGrant } from '#domain'
import { BEGIN_ACCESS_JOB, DISK_TYPE, END_ACCESS_JOB, FINISH_UPLOAD_JOB, propertiesOf } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, targetOf } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { checkFields, fieldAt, type FieldTable } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { beginOnce } from '../../arm/operations.ts'
import { grantOf } from '../../blob/access-url.ts'
import { hostOf } from '../../blob/disk-blob.ts'
import { diskOperation } from './disks.ts'
import { findOr404, restingState, stateNow } from './disk-view.ts'

const SNAPSHOT_TYPE = 'Microsoft.Compute/snapshots'
/** Azure's own bound is 60 days; a URL that holds for ever is no grant. */
const DURATION_SECONDS_MAX = 60 * 24 * 3600

export const ACCESS_FIELDS: FieldTable = [
  { path: 'access', use: 'honoured', only: ['Read', 'Write'] },
  { path: 'durationInSeconds', use: 'honoured' },
  { path: 'fileFormat', use: 'refused', only: ['VHD'], note: 'Convert it with qemu-img.' },
  { path: 'getSecureVMGuestStateSAS', use: 'refused', only: [false] },
]

type Wanted = Readonly<{ access: 'Read' | 'Write'; durationMs: number }>

function readWanted(call: ArmCall): Wanted {
  const body = objectBody(call.body)
  checkFields(ACCESS_FIELDS, body)
  const given = fieldAt(body, 'access')
  const access = typeof given === 'string' ? given.toLowerCase() : ''
  if (access !== 'read' && access !== 'write')
    throw new ArmError('InvalidParameter', 'access must be Read or Write.', { target: 'access' })
  const seconds = fieldAt(body, 'durationInSeconds')
  if (typeof seconds !== 'number' || !Number.isInteger(seconds) || seconds < 1 || seconds > DURATION_SECONDS_MAX)
    throw new ArmError(
      'InvalidParameter',
      `durationInSeconds must be a whole number from 1 to ${DURATION_SECONDS_MAX}.`,
      {
        target: 'durationInSeconds',
      },
    )
  return { access: access === 'read' ? 'Read' : 'Write', durationMs: seconds * 1000 }
}

/** The state of the resource under the grant. @throws ArmError */
function checkGrant(record: ResourceRecord, access: 'Read' | 'Write', nowMs: number): string {
  if (record.state !== 'Succeeded')
    throw new ArmError('Conflict', `'${record.name}' is ${record.state}; its bytes can be had once it has succeeded.`)
  const { networkAccessPolicy, publicNetworkAccess } = propertiesOf(record)
  if (networkAccessPolicy === 'DenyAll' || publicNetworkAccess === 'Disabled')
    throw new ArmError('OperationNotAllowed', `The network policy of '${record.name}' allows no access by URL.`)
  if (record.type !== DISK_TYPE) {
    if (access === 'Write') throw new ArmError('OperationNotAllowed', 'Only a disk is ever written to.')
    if (record.backing['version'] === undefined) throw new ArmError('Conflict', `'${record.name}' is not durable yet.`)
    return 'ActiveSAS'
  }
  const state = stateUnderGrant(stateNow(record, nowMs), access)
  if (isRefusal(state)) throw new ArmError('OperationNotAllowed', `'${record.name}': ${state.message}`)
  return state
}

async function withChange(
  call: ArmCall,
  trx: CatalogTransaction,
  change: (record: ResourceRecord) => Readonly<{ diskState: string; grant: DiskGrant | undefined; state?: string }>,
): Promise<void> {
  const record = await findResource(trx, targetOf(call))
  if (record === undefined) throw new ArmError('ResourceNotFound', `The resource '${targetOf(call)}' was not found.`)
  const { diskState, grant, state } = change(record)
  const { grant: _before, ...backing } = record.backing
  const properties = { ...propertiesOf(record), diskState }
  await updateResource(
    trx,
    record.id,
    {
      ...(state !== undefined && { state }),
      body: { ...record.body, properties },
      backing: grant === undefined ? backing : { ...backing, grant },
    },
    changeSourceOf(call.host),
  )
}

async function begin(call: ArmCall): Promise<ArmReply> {
  const { access, durationMs } = readWanted(call)
  const { clock, random, disks } = call.host
  const record = await findOr404(call)
  checkGrant(record, access, clock.nowMs())
  disks.streams.end(record.key)
  const { headers, id } = await beginOnce(
    call,
    diskOperation(call, record.location ?? '', {
      action: `${record.type}/beginGetAccess/action`,
      job: BEGIN_ACCESS_JOB,
      input: { id: record.id, access, durationMs },
      reply: 'access',
      announce: (trx) =>
        withChange(call, trx, (now) => ({
          diskState: checkGrant(now, access, clock.nowMs()),
          grant: { id: randomUuid(random), access, expiresMs: clock.nowMs() + durationMs },
        })),
    }),
  )
  return { status: 202, headers, operation: id }
}

async function end(call: ArmCall): Promise<ArmReply> {
  const record = await findOr404(call)
  const grant = grantOf(record)
  const isUpload = grant?.access === 'Write'
  const { headers, id } = await beginOnce(
    call,
    diskOperation(call, record.location ?? '', {
      action: `${record.type}/endGetAccess/action`,
      job: isUpload ? FINISH_UPLOAD_JOB : END_ACCESS_JOB,
      input: { id: record.id, grant: grant?.id ?? null },
      reply: 'empty',
      announce: (trx) =>
        withChange(call, trx, (now) => {
          if (isUpload) return { diskState: 'ActiveUpload', grant: undefined, state: 'Updating' }
          const state = stateNow(now, call.host.clock.nowMs())
          return { diskState: state === 'ActiveSAS' ? restingState(now) : state, grant: undefined }
        }),
    }),
  )
  await closeStreams(call, record)
  return { status: 202, headers, operation: id }
}

async function closeStreams(call: ArmCall, record: ResourceRecord): Promise<void> {
  const { streams, bytes } = call.host.disks
  streams.end(record.key)
  const released = bytes.on(hostOf(record)).release(record.key)
  await released.catch(() => {
    // The worker is away, and with it whatever it had open; or it closes it by itself, soon after the last read.
  })
}

/** @param path of one resource of the type */
export function accessRoutesAt(path: string, type: string): readonly ArmRoute[] {
  return [
    { method: 'POST', path: `${path}/beginGetAccess`, action: `${type}/beginGetAccess/action`, handle: begin },
    { method: 'POST', path: `${path}/endGetAccess`, action: `${type}/endGetAccess/action`, handle: end },
  ]
}

export const accessRoutes: readonly ArmRoute[] = [DISK_TYPE, SNAPSHOT_TYPE].flatMap((type) =>
  accessRoutesAt(`/subscriptions/{subscription}/resourceGroups/{group}/providers/${type}/{name}`, type),
)
