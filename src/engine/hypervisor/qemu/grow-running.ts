/**
 * Disks under a running QEMU, whoever started it: QEMU holds the image, so it is asked what the disk is, and to grow it. The
 * guest sees the new size at once. Done already is done: asking again is right after a crash.
 */
import { realpath } from 'node:fs/promises'
import type { Clock } from '#base'
import { HypervisorError } from '../errors.ts'
import { findDrive, queryNodes, readInventory } from '../instant/inventory.ts'
import { QmpClient } from '../qmp/client.ts'

/**
 * @param sizeBytes a whole number of sectors
 * @throws HypervisorError `disk_unsupported` when QEMU has no such disk, or for shrinking; `qmp_command_failed` (try later)
 * while an instant of it is open
 */
export async function growRunningDisk(
  clock: Clock,
  qmpSocketPath: string,
  imagePath: string,
  sizeBytes: number,
): Promise<void> {
  const path = await realpath(imagePath)
  const qmp = await QmpClient.connect(qmpSocketPath, { clock })
  try {
    const drive = findDrive(await readInventory(qmp), { path })
    if (drive.sizeBytes === sizeBytes) return
    if (drive.sizeBytes > sizeBytes) {
      throw new HypervisorError('disk_unsupported', 'A disk cannot shrink.', {
        facts: { path, beforeBytes: drive.sizeBytes, afterBytes: sizeBytes },
      })
    }
    await qmp.execute('block_resize', { 'node-name': drive.formatNode, size: sizeBytes })
  } finally {
    await qmp.close()
  }
}

export type RunningDisk = Readonly<{
  /** Resolved. */
  path: string
  format: string
  sizeBytes: number
  /** It is an overlay of another image. */
  hasBacking: boolean
}>

/** What the disk with this image is. @throws HypervisorError `disk_unsupported` when QEMU has no such disk */
export async function describeRunningDisk(
  clock: Clock,
  qmpSocketPath: string,
  imagePath: string,
): Promise<RunningDisk> {
  const path = await realpath(imagePath)
  const qmp = await QmpClient.connect(qmpSocketPath, { clock })
  try {
    const { format, sizeBytes, formatNode } = findDrive(await readInventory(qmp), { path })
    const node = (await queryNodes(qmp)).find((one) => one['node-name'] === formatNode)
    const depth = node?.['backing_file_depth']
    return { path, format, sizeBytes, hasBacking: typeof depth === 'number' && depth > 0 }
  } finally {
    await qmp.close()
  }
}
