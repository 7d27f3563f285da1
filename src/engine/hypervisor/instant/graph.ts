/**
 * The few things that an instant does to QEMU's block graph, each safe to repeat: removing what is not there succeeds.
 * Nothing here decides; what to do comes from the plan.
 */
import { BaseError, type Clock } from '#base'
import type { QmpClient } from '../qmp/client.ts'
import { asList, asObject, isObject, textOr } from '../qmp/shape.ts'
import { qomPathOf, queryDrives } from './inventory.ts'
import type { DiskPlan } from './plan.ts'
import type { Scratch } from './scratch.ts'

const GONE_MS_MAX = 10_000
const POLL_MS = 20
/** Seconds that a guest's write may wait for the scratch before the instant breaks. */
const CBW_TIMEOUT_SECONDS = 3

/** Share of its cap at which a job's scratch raises BLOCK_WRITE_THRESHOLD and the job is given up, before the guest stops. */
const THRESHOLD = 0.8

export type Action = Readonly<{ type: string; data: Readonly<Record<string, unknown>> }>

/** Nothing happens for an empty list; otherwise all or none. */
export async function transaction(qmp: QmpClient, actions: readonly Action[]): Promise<void> {
  if (actions.length > 0) await qmp.execute('transaction', { actions })
}

/** Writes caches back, so that the pause has less to write. An optimisation: `stop` flushes by itself, only later. */
export async function flushDrives(qmp: QmpClient, disks: readonly DiskPlan[]): Promise<void> {
  const flush = (disk: DiskPlan): Promise<unknown> =>
    qmp.execute('human-monitor-command', { 'command-line': `qemu-io ${disk.topNode} "flush"` })
  await Promise.allSettled(disks.map(flush))
}

export async function addScratchNode(qmp: QmpClient, disk: DiskPlan & Scratch): Promise<void> {
  const fileNode = `${disk.scratchNode}-file`
  const below = { driver: 'file', filename: disk.scratchPath, 'node-name': fileNode }
  const file = { driver: 'raw', size: disk.scratchCapBytes, file: below }
  await qmp.execute('blockdev-add', {
    'node-name': disk.scratchNode,
    driver: 'qcow2',
    file,
    // The job's target shows the disk's present bytes where nothing was overwritten; the filter finds them by itself.
    ...(disk.method === 'job' ? { backing: disk.topNode } : {}),
  })
  if (disk.method === 'filter') return
  const threshold = Math.floor(disk.scratchCapBytes * THRESHOLD)
  await qmp.execute('block-set-write-threshold', { 'node-name': fileNode, 'write-threshold': threshold })
}

/** Over the whole disk, whatever will be read of it: `InstantDisk.releases` says how the rest is let go. */
export async function addFilter(qmp: QmpClient, disk: DiskPlan): Promise<void> {
  await qmp.execute('blockdev-add', {
    'node-name': disk.filterNode,
    driver: 'copy-before-write',
    file: disk.topNode,
    target: disk.scratchNode,
    'on-cbw-error': 'break-snapshot',
    'cbw-timeout': CBW_TIMEOUT_SECONDS,
  })
}

export async function setDrive(qmp: QmpClient, qomPath: string, node: string): Promise<void> {
  await qmp.execute('qom-set', { path: qomPath, property: 'drive', value: node })
}

export async function addAccess(qmp: QmpClient, disk: DiskPlan): Promise<void> {
  if (disk.method !== 'filter') return
  // A discard ends the filter's interest in a range (block/copy-before-write.c); without `unmap` the block layer drops it.
  const discard = { 'read-only': false, discard: 'unmap' }
  await qmp.execute('blockdev-add', {
    'node-name': disk.accessNode,
    driver: 'snapshot-access',
    file: disk.filterNode,
    ...discard,
  })
}

export async function addExport(qmp: QmpClient, disk: DiskPlan): Promise<void> {
  const { previous } = disk.tracking
  await qmp.execute('block-export-add', {
    type: 'nbd',
    id: disk.exportId,
    'node-name': disk.method === 'filter' ? disk.accessNode : disk.scratchNode,
    name: disk.exportName,
    // For discards: snapshot-access itself refuses every write (block/snapshot-access.c).
    writable: disk.method === 'filter',
    ...(previous === undefined ? {} : { bitmaps: [{ node: disk.formatNode, name: previous }] }),
  })
  if (previous === undefined) return
  const present = presentExport(disk)
  const id = { type: 'nbd', id: present.id, name: present.name }
  await qmp.execute('block-export-add', { ...id, 'node-name': disk.topNode, writable: false })
}

/** What shows the disk as it is now, beside the export of the instant. */
export function presentExport(disk: Pick<DiskPlan, 'exportId' | 'exportName'>): Readonly<{ id: string; name: string }> {
  return { id: `${disk.exportId}-now`, name: `${disk.exportName}-now` }
}

async function idsOf(qmp: QmpClient, command: string, member: string): Promise<string[]> {
  const list = asList(await qmp.execute(command), command)
  return list.map((one) => textOr(asObject(one, command)[member], ''))
}

async function untilGone(
  qmp: QmpClient,
  clock: Clock,
  what: Readonly<{ command: string; member: string; id: string }>,
) {
  const endMs = clock.monotonicMs() + GONE_MS_MAX
  while ((await idsOf(qmp, what.command, what.member)).includes(what.id)) {
    if (clock.monotonicMs() >= endMs) {
      const facts = { id: what.id, command: what.command }
      throw new BaseError('timed_out', `QEMU did not remove ${what.id} in time.`, { facts, retry: 'later' })
    }
    await clock.sleep(POLL_MS)
  }
}

/** Removes an export even while a client reads it, and waits until it is gone. */
export async function removeExport(qmp: QmpClient, clock: Clock, id: string): Promise<void> {
  if (!(await idsOf(qmp, 'query-block-exports', 'id')).includes(id)) return
  await qmp.execute('block-export-del', { id, mode: 'hard' })
  await untilGone(qmp, clock, { command: 'query-block-exports', member: 'id', id })
}

/** Ends a backup job and waits until it is gone; a guest that its full scratch stopped can go on after this. */
export async function cancelJob(qmp: QmpClient, clock: Clock, id: string): Promise<void> {
  if (!(await idsOf(qmp, 'query-block-jobs', 'device')).includes(id)) return
  await qmp.execute('block-job-cancel', { device: id, force: true })
  await untilGone(qmp, clock, { command: 'query-block-jobs', member: 'device', id })
}

/** The node that the device at `qomPath` reads now; undefined when the device is gone. */
export async function insertedNode(qmp: QmpClient, qomPath: string): Promise<string | undefined> {
  for (const drive of await queryDrives(qmp)) {
    if (typeof drive['qdev'] !== 'string' || qomPathOf(drive['qdev']) !== qomPath) continue
    return isObject(drive['inserted']) ? textOr(drive['inserted']['node-name'], '') : undefined
  }
  return undefined
}
