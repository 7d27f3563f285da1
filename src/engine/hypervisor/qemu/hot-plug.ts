/**
 * Disks that come and go while the machine runs.
 *
 * Plugging is ours alone; unplugging is a request: QEMU asks the guest (ACPI, PCIe or a SCSI event), and only when the guest
 * has let go does it raise DEVICE_DELETED. The block node goes after the device. Both are repeatable: what is there already,
 * or gone already, is skipped, so that a crash between two steps is mended by the same call.
 */
import { BaseError, isHoldfastError } from '#base'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription, MachineDisk } from '../machine.ts'
import type { QmpClient } from '../qmp/client.ts'
import { asList, asObject, textOr } from '../qmp/shape.ts'
import { diskBlockdev } from './command-line.ts'
import { diskDevice, diskDeviceId, diskNodeName, isHotPluggable } from './device-address.ts'

async function hasDevice(qmp: QmpClient, id: string): Promise<boolean> {
  const children = asList(await qmp.execute('qom-list', { path: '/machine/peripheral' }), 'the list of devices')
  return children.some((child) => asObject(child, 'a device')['name'] === id)
}

async function hasNode(qmp: QmpClient, name: string): Promise<boolean> {
  const nodes = asList(await qmp.execute('query-named-block-nodes', { flat: true }), 'the list of block nodes')
  return nodes.some((node) => asObject(node, 'a block node')['node-name'] === name)
}

/** @throws `disk_unsupported` when the bus cannot do it. */
export function requireHotPluggable(disk: MachineDisk): void {
  if (isHotPluggable(disk.bus)) return
  throw new HypervisorError('disk_unsupported', `A disk on ${disk.bus} cannot come or go while the machine runs.`, {
    hint: 'Stop the machine first, or use virtio-scsi.',
  })
}

/**
 * Opens the image and shows it to the guest. The disk is in the description already, so a device that is there is this
 * disk's, from a call that was cut short. @throws `qmp_command_failed`; then the image is closed again.
 */
export async function plugDisk(
  qmp: QmpClient,
  disk: MachineDisk,
  machine: Pick<MachineDescription, 'machineType' | 'firmware'>,
): Promise<void> {
  const node = diskNodeName(disk.lun)
  if (await hasDevice(qmp, diskDeviceId(disk.lun))) return
  if (!(await hasNode(qmp, node))) await qmp.execute('blockdev-add', diskBlockdev(disk))
  try {
    await qmp.execute('device_add', diskDevice(disk, machine))
  } catch (error) {
    await qmp.execute('blockdev-del', { 'node-name': node })
    throw error
  }
}

async function requestUnplug(qmp: QmpClient, id: string): Promise<void> {
  try {
    await qmp.execute('device_del', { id })
  } catch (error) {
    // A request of an earlier call is still under way: what counts is the event.
    const isPending = isHoldfastError(error, 'qmp_command_failed') && /in the process of unplug/.test(error.message)
    if (!isPending) throw error
  }
}

function stillHeld(machine: MachineDescription, lun: number, deadlineMs: number, cause?: unknown): BaseError {
  const message = `The guest of ${machine.name} has not let go of the disk at LUN ${lun} within ${deadlineMs} ms.`
  return new BaseError('timed_out', message, {
    facts: { lun, deadlineMs },
    retry: 'later',
    hint: 'Unmount it in the guest. A guest that is still booting, or has no hot-plug driver, cannot let go: stop it first.',
    cause,
  })
}

/**
 * Asks the guest to let go, waits, and closes the image. The expectation that did not come ends with the connection.
 * @throws BaseError `timed_out`.
 */
export async function unplugDisk(
  qmp: QmpClient,
  machine: MachineDescription,
  lun: number,
  deadlineMs: number,
): Promise<void> {
  const id = diskDeviceId(lun)
  const deleted = qmp.expectEvent('DEVICE_DELETED', (event) => textOr(event.data['device'], '') === id)
  const refused = qmp.expectEvent('DEVICE_UNPLUG_GUEST_ERROR', (event) => textOr(event.data['device'], '') === id)
  try {
    if (await hasDevice(qmp, id)) {
      await requestUnplug(qmp, id)
      const first = await Promise.race([deleted.within(deadlineMs), refused.within(deadlineMs)])
      if (first.name !== 'DEVICE_DELETED') throw stillHeld(machine, lun, deadlineMs)
    }
  } catch (error) {
    if (error instanceof BaseError && error.code === 'timed_out') throw stillHeld(machine, lun, deadlineMs, error)
    throw error
  }
  const node = diskNodeName(lun)
  if (await hasNode(qmp, node)) await qmp.execute('blockdev-del', { 'node-name': node })
}
