/** A disk as the API shows it: what time has changed without anybody's doing, such as an expired access, is seen to here. */
import { findResource, newestOperationOf, type ResourceRecord } from '#catalog'
import { ArmError } from '#contract'
import type { DiskState } from '#domain'
import { diskStateOf } from '#jobs'
import { type ArmCall, targetOf } from '../../arm/call.ts'
import { type ResourceView, showResource } from '../../arm/resource-view.ts'
import { grantOf, openGrantOf } from '../../blob/access-url.ts'

/** The state now: reading by a URL that has expired is over. */
export function stateNow(record: ResourceRecord, nowMs: number): DiskState {
  const state = diskStateOf(record)
  if (state !== 'ActiveSAS' || openGrantOf(record, nowMs) !== undefined) return state
  return restingState(record)
}

/** The state of one that no URL reads. */
export function restingState(record: ResourceRecord): DiskState {
  const isManaged = record.backing['machine'] !== undefined || typeof record.body['managedBy'] === 'string'
  return isManaged ? 'Reserved' : 'Unattached'
}

export function showDisk(record: ResourceRecord, nowMs: number): ResourceView {
  const view = showResource(record)
  if (grantOf(record) === undefined) return view
  return { ...view, properties: { ...(view['properties'] as object), diskState: stateNow(record, nowMs) } }
}

/** As shown alone: with how far its making has come. */
export async function showOneDisk(call: ArmCall, record: ResourceRecord): Promise<ResourceView> {
  const view = showDisk(record, call.host.clock.nowMs())
  if (record.state !== 'Creating') return view
  const operation = await newestOperationOf(call.host.catalog, record.key)
  const job = operation === undefined ? undefined : await call.host.jobs.get(operation.id)
  const { doneBytes = 0, totalBytes = 0 } = job?.progress ?? {}
  const completionPercent = totalBytes === 0 ? 0 : Math.min(99, Math.floor((100 * doneBytes) / totalBytes))
  return { ...view, properties: { ...(view['properties'] as object), completionPercent } }
}

/** @throws ArmError `ResourceNotFound` */
export async function findOr404(call: ArmCall): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, targetOf(call))
  if (record !== undefined) return record
  throw notFound(call)
}

export function notFound(call: ArmCall): ArmError {
  const [, group, type] = /\/resourceGroups\/([^/]+)\/providers\/(.+)$/.exec(targetOf(call)) ?? []
  return new ArmError(
    'ResourceNotFound',
    `The Resource '${type ?? call.id}' under resource group '${group ?? ''}' was not found.`,
  )
}
