/**
 * dismantle takes an instant of a running machine apart: by its owner at commit and abort, by recovery and the watchdog
 * after a crash. It looks at what QEMU has and removes what the plan names, so it may be run at any time, any number of
 * times, by anybody, after any crash; what was never made is not missed.
 *
 * Order: the guest first (continue, thaw: relieveGuest), then readers, then nodes from the top down, then bitmaps, then the NBD
 * server (nbd-server.ts says why last), then files. A drive is
 * put back before its filter goes, because QEMU refuses to remove a node in use.
 *
 * Verdicts on the bitmaps, each one transaction over all disks
 *   commit      the log holds the new generation: previous bitmaps are removed
 *   abort       it does not: previous ones record again and take over what the new ones saw; the new ones are removed
 *   undecided   not touched; new and previous together still hold everything
 */
import type { Clock } from '#base'
import { withAgent } from '../agent/client.ts'
import { isGuestFrozen, thawGuest } from '../agent/guest.ts'
import type { QmpClient } from '../qmp/client.ts'
import { textOr } from '../qmp/shape.ts'
import { type Action, cancelJob, insertedNode, presentExport, removeExport, setDrive, transaction } from './graph.ts'
import { removeFile } from './files.ts'
import { bitmapsOf, queryNodes, queryStatus } from './inventory.ts'
import type { RunningRecord } from './journal.ts'
import { stopNbdServer } from './nbd-server.ts'
import type { BitmapState } from './tracking.ts'

export type Verdict = 'commit' | 'abort' | 'undecided'

/** The guest first: continues, then thaws (a paused guest's agent cannot answer). @throws when it must be tried again. */
export async function relieveGuest(qmp: QmpClient, clock: Clock, record: RunningRecord): Promise<void> {
  await continueIfLeftPaused(qmp, record)
  await thawIfLeftFrozen(clock, record)
}

/** Thaws if the instant may have left the guest frozen. @throws when the agent does not answer: it must be tried again. */
async function thawIfLeftFrozen(clock: Clock, record: RunningRecord): Promise<void> {
  const { agentSocketPath } = record.access
  if (agentSocketPath === undefined || !['freeze', 'pause', 'thaw'].includes(record.step)) return
  await withAgent(agentSocketPath, { clock, readyTimeoutMs: 5_000 }, async (agent) => {
    if (await isGuestFrozen(agent)) await thawGuest(agent)
  })
}

/** Continues a guest that the instant paused, or that a full scratch of the job method stopped. */
export async function continueIfLeftPaused(qmp: QmpClient, record: RunningRecord): Promise<void> {
  const status = await queryStatus(qmp)
  const pausedByUs = record.step === 'pause' && record.wasRunning && status === 'paused'
  const stoppedByScratch = status === 'io-error' && record.disks.some((disk) => disk.method === 'job')
  if (pausedByUs || stoppedByScratch) await qmp.execute('cont')
}

async function putDriveBack(qmp: QmpClient, disk: RunningRecord['disks'][number]): Promise<void> {
  if ((await insertedNode(qmp, disk.qomPath)) !== disk.filterNode) return
  // A hydration that ended meanwhile took its filter with it: then the image itself is what the device should read.
  const nodes = (await queryNodes(qmp)).map((node) => node['node-name'])
  await setDrive(qmp, disk.qomPath, nodes.includes(disk.topNode) ? disk.topNode : disk.formatNode)
}

async function removeNode(qmp: QmpClient, name: string): Promise<void> {
  const nodes = await queryNodes(qmp)
  if (nodes.some((node) => node['node-name'] === name)) await qmp.execute('blockdev-del', { 'node-name': name })
}

/** The actions that bring one disk's bitmaps to the verdict from whatever state they are in. Pure. */
export function settleActions(
  disk: Readonly<{
    formatNode: string
    tracking: Readonly<{ previous: string | undefined; next: string | undefined }>
  }>,
  found: readonly BitmapState[],
  verdict: 'commit' | 'abort',
): Action[] {
  const node = disk.formatNode
  const state = (name: string | undefined): BitmapState | undefined => found.find((bitmap) => bitmap.name === name)
  const previous = state(disk.tracking.previous)
  const next = state(disk.tracking.next)
  const remove = (name: string): Action => ({ type: 'block-dirty-bitmap-remove', data: { node, name } })
  if (verdict === 'commit') return previous === undefined ? [] : [remove(previous.name)]
  if (next === undefined) return []
  // An inconsistent bitmap can be neither enabled nor merged: the next instant reads the whole disk and says why.
  const usable = previous !== undefined && !previous.inconsistent && !next.inconsistent
  if (!usable || previous.recording) return [remove(next.name)]
  return [
    { type: 'block-dirty-bitmap-enable', data: { node, name: previous.name } },
    { type: 'block-dirty-bitmap-merge', data: { node, target: previous.name, bitmaps: [next.name] } },
    remove(next.name),
  ]
}

export async function settleBitmaps(qmp: QmpClient, record: RunningRecord, verdict: Verdict): Promise<void> {
  if (verdict === 'undecided') return
  const nodes = await queryNodes(qmp)
  const actions = record.disks.flatMap((disk) => {
    const node = nodes.find((one) => textOr(one['node-name'], '') === disk.formatNode)
    return node === undefined ? [] : settleActions(disk, bitmapsOf(node), verdict)
  })
  await transaction(qmp, actions)
}

/** Everything inside QEMU. The files and the journal's record are `removeFiles` and the caller's. */
export async function dismantle(qmp: QmpClient, clock: Clock, record: RunningRecord, verdict: Verdict): Promise<void> {
  await continueIfLeftPaused(qmp, record)
  for (const disk of record.disks) {
    for (const id of [disk.exportId, presentExport(disk).id]) await removeExport(qmp, clock, id)
    if (disk.method === 'job') await cancelJob(qmp, clock, disk.jobId)
    await removeNode(qmp, disk.accessNode)
    await putDriveBack(qmp, disk)
    await removeNode(qmp, disk.filterNode)
    await removeNode(qmp, disk.scratchNode)
  }
  // Cancelling a job may be what lets a stopped guest go on.
  await continueIfLeftPaused(qmp, record)
  await settleBitmaps(qmp, record, verdict)
  await stopNbdServer(qmp, clock, { socketPath: record.nbdSocketPath, processId: record.access.processId })
}

export async function removeFiles(record: RunningRecord): Promise<void> {
  for (const disk of record.disks) await removeFile(disk.scratchPath)
  await removeFile(record.nbdSocketPath)
}
