/** restorePoints/{p}/diskRestorePoints: shown, read by signed URLs, and the source of disks (createOption Restore). */
import { listResources, type ResourceRecord } from '#catalog'
import { ArmError, pageOf } from '#contract'
import { COLLECTION_TYPE, DISK_RESTORE_POINT_TYPE } from '#jobs'
import { findResource } from '#catalog'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../../arm/call.ts'
import { type ResourceView, showResource } from '../../../arm/resource-view.ts'
import { findOr404 } from '../disk-view.ts'
import { accessRoutesAt } from '../grant-access.ts'

const POINT = `/subscriptions/{subscription}/resourceGroups/{group}/providers/${COLLECTION_TYPE}/{collection}/restorePoints/{point}`
const ALL = `${POINT}/diskRestorePoints`
const ONE = `${ALL}/{name}`

/** Azure's has no state of a disk, and no tags or place of its own. */
function show(record: ResourceRecord): ResourceView {
  const { id, name, type, properties } = showResource(record)
  const {
    diskState: _state,
    diskSizeBytes: _bytes,
    diskSizeGB: _size,
    ...shown
  } = properties as Record<string, unknown>
  return { id, name, type, properties: shown }
}

async function list(call: ArmCall): Promise<ArmReply> {
  const point = call.id.replace(/\/diskRestorePoints$/i, '')
  if ((await findResource(call.host.catalog, point)) === undefined)
    throw new ArmError('ResourceNotFound', `The restore point '${call.param('point')}' was not found.`)
  const records = await listResources(call.host.catalog, { parent: point })
  return ok(pageOf(records.map(show), call.url, call.query('$skipToken')))
}

export const diskRestorePointRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: ALL, action: `${DISK_RESTORE_POINT_TYPE}/read`, handle: list },
  {
    method: 'GET',
    path: ONE,
    action: `${DISK_RESTORE_POINT_TYPE}/read`,
    handle: async (call) => ok(show(await findOr404(call))),
  },
  ...accessRoutesAt(ONE, DISK_RESTORE_POINT_TYPE),
]
