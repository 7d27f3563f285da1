/**
 * planInstant decides everything about an instant of a running machine from what was found, touching nothing. The plan is
 * a value: it is stored in the journal before the first command, and whoever cleans up works from it alone.
 *
 * Methods (reference: QEMU docs/interop/live-block-operations.rst and block/copy-before-write.c)
 *   filter   copy-before-write + snapshot-access, on-cbw-error=break-snapshot. A full scratch breaks the instant.
 *   job      blockdev-backup sync=none. A full scratch stops the guest until the job is cancelled: the weaker promise.
 * `job` is chosen where the filter's options are missing, or where the device would not take the filter.
 */
import type { HypervisorErrorCode } from '../errors.ts'
import type { MachineDisk } from '../machine.ts'
import type { TrackingRequest } from '../port.ts'
import type { QemuCapabilities } from '../qmp/capabilities.ts'
import type { DriveState, Inventory } from './inventory.ts'
import { askOf, decideTracking, type TrackingDecision } from './tracking.ts'
import { HypervisorError } from '../errors.ts'

export type InstantMethod = 'filter' | 'job'

/** One disk of the plan. Node names have at most 31 characters (QEMU block.c, node_name[32]). */
export type DiskPlan = Readonly<{
  lun: number
  diskId: string
  format: string
  sizeBytes: number
  method: InstantMethod
  qomPath: string
  /** The image, where it is a file or device of this host. */
  imagePath: string
  /** What the device reads before and after the instant. */
  topNode: string
  /** Where the bitmaps are. */
  formatNode: string
  scratchNode: string
  filterNode: string
  accessNode: string
  jobId: string
  exportId: string
  exportName: string
  tracking: TrackingDecision
}>

export type Refusal = Readonly<{ code: HypervisorErrorCode; message: string; lun: number | undefined }>

export type InstantPlan = Readonly<{
  id: string
  disks: readonly DiskPlan[]
  refusals: readonly Refusal[]
  notes: readonly string[]
  weakerPromise: string | undefined
}>

export type InstantRequest = Readonly<{
  /** 8 hex digits, new for every attempt. */
  id: string
  disks: readonly Readonly<{ disk: MachineDisk; drive: DriveState }>[]
  tracking: TrackingRequest | undefined
  /** LUNs whose device did not take the filter when it was tried. */
  refusedFilter: readonly number[]
}>

/** Every name that Holdfast gives to something inside QEMU begins with this. */
export const OUR_PREFIX = 'hf-'

/** Jobs under which the bytes of a disk stay what the guest sees: hydration only moves data nearer. */
const HARMLESS_JOBS = new Set(['stream'])

function refusalsOf(request: InstantRequest, inventory: Inventory, can: QemuCapabilities): Refusal[] {
  const refusals: Refusal[] = []
  const refuse = (code: HypervisorErrorCode, message: string, lun?: number): void => {
    refusals.push({ code, message, lun })
  }
  if (request.disks.length === 0) refuse('disk_unsupported', 'No disk of the machine is left to take an instant of.')
  if (inventory.nodeNames.some((name) => name.startsWith(OUR_PREFIX))) {
    refuse('instant_open', 'Another instant of this machine is open, or one was left behind: recover it first.')
  }
  if (!can.blockExportAdd || !can.exportBitmaps || !(can.blockdevBackup || (can.breakSnapshot && can.snapshotAccess))) {
    refuse(
      'hypervisor_feature_missing',
      'This QEMU can neither filter nor back up a disk for an instant (older than 5.2).',
    )
  }
  if (inventory.hasIoThreads && !can.exportsFromIoThreads) {
    refuse('hypervisor_feature_missing', 'This QEMU is known to abort when a disk with an I/O thread is read by NBD.')
  }
  if (inventory.hasIoThreads && inventory.jobs.length > 0) {
    // QEMU 7.2 aborts (qemu_mutex_unlock_impl) when a filter is added beside a job in an I/O thread: seen with block-stream.
    refuse('disk_in_use', 'A block job runs in a machine with I/O threads: an instant would endanger it.')
  }
  for (const { disk, drive } of request.disks) {
    const job = inventory.jobs.find((one) => !HARMLESS_JOBS.has(one.type) && touches(one, drive))
    if (job !== undefined) refuse('disk_in_use', `Disk ${disk.lun} has a running job of type ${job.type}.`, disk.lun)
    if (drive.foreignFilter !== undefined) {
      refuse(
        'disk_in_use',
        `A filter of type ${drive.foreignFilter} that is not ours sits on disk ${disk.lun}.`,
        disk.lun,
      )
    }
    if (drive.readOnly) refuse('disk_unsupported', `Disk ${disk.lun} is attached read-only.`, disk.lun)
  }
  return refusals
}

function touches(job: Readonly<{ id: string; node: string }>, drive: DriveState): boolean {
  return [drive.topNode, drive.formatNode].some((node) => node === job.node || node === job.id)
}

function planDisk(request: InstantRequest, one: InstantRequest['disks'][number], can: QemuCapabilities): DiskPlan {
  const { disk, drive } = one
  const name = `${OUR_PREFIX}${request.id}-${disk.lun}`
  const filterable = can.breakSnapshot && can.snapshotAccess && can.copyBeforeWriteBitmap
  const method = filterable && !request.refusedFilter.includes(disk.lun) ? 'filter' : 'job'
  const decision = decideTracking(drive, askOf(request.tracking, disk.diskId))
  return {
    lun: disk.lun,
    diskId: disk.diskId,
    format: drive.format,
    sizeBytes: drive.sizeBytes,
    method,
    qomPath: drive.qomPath,
    imagePath: drive.filename,
    topNode: drive.topNode,
    formatNode: drive.formatNode,
    scratchNode: `${name}-scratch`,
    filterNode: `${name}-filter`,
    accessNode: `${name}-access`,
    jobId: `${name}-job`,
    exportId: `${name}-export`,
    exportName: `lun${disk.lun}`,
    tracking: decision,
  }
}

/** Decides; nothing is touched. Disks that cannot take part are refusals with their reason, never left out. */
export function planInstant(request: InstantRequest, inventory: Inventory, can: QemuCapabilities): InstantPlan {
  const refusals = refusalsOf(request, inventory, can)
  const disks: DiskPlan[] = []
  for (const one of request.disks) {
    try {
      disks.push(planDisk(request, one, can))
    } catch (error) {
      if (!(error instanceof HypervisorError)) throw error
      refusals.push({ code: error.code, message: error.message, lun: one.disk.lun })
    }
  }
  const byJob = disks.filter((disk) => disk.method === 'job').map((disk) => disk.lun)
  const weakerPromise =
    byJob.length === 0
      ? undefined
      : `Disks ${byJob.join(', ')} can only be copied by a backup job: if the scratch fills, the machine pauses until Holdfast cancels the job.`
  const healed = disks.filter((disk) => disk.tracking.heal !== undefined).map((disk) => disk.lun)
  const notes =
    healed.length === 0 ? [] : [`Tracking of disks ${healed.join(', ')} was joined after an interrupted attempt.`]
  return { id: request.id, disks, refusals, notes, weakerPromise }
}
