/**
 * Restores of a recovery point, and the questions whether one would be accepted:
 *
 *   POST {point}/restore                                   202; the job's record says how it goes
 *   POST {vault}/backupValidateOperation                   200 with what is wrong, or nothing
 *   POST {vault}/backupTriggerValidateOperation            202, then the same by its two URLs
 */
import { findVaultPoint } from '#catalog'
import { ArmError } from '#contract'
import {
  holdPoint,
  MACHINE_TASK,
  REPLACE_TASK,
  RESTORE_POINT_JOB,
  RESTORE_QUEUE,
  type RestoreOrder,
  TRANSFER_TASK,
} from '#jobs'
import type { ArmCall, ArmReply, ArmRoute } from '../../../arm/call.ts'
import { ITEM_ACTION, POINT_PATH } from '../find-vault.ts'
import { beginVaultOperation } from '../vault-operations.ts'
import { findNamedPoint, type NamedPoint } from './named-point.ts'
import { planRestore } from './restore-plan.ts'
import { readRestoreRequest } from './restore-request.ts'

export const RESTORE_ACTION = `${ITEM_ACTION}/recoveryPoints/restore/action`

/** Azure's words of what the job does. */
const JOB_TYPES = {
  disks: 'Recover disks',
  machine: 'Recover VM to an alternate location',
  replace: 'Recover VM to the original location',
} as const
const SECOND_TASK = { disks: [], machine: [MACHINE_TASK], replace: [REPLACE_TASK] } as const

function propertiesOf(order: RestoreOrder, { point }: NamedPoint): Record<string, string> {
  const { kind, group, machine, storage, region } = order
  return {
    'Job Type': JOB_TYPES[kind],
    'Recovery point time': new globalThis.Date(point.takenMs).toISOString(),
    'Target resource group': group.split('/').at(-1) ?? '',
    'Target region': region,
    ...(machine !== null && { 'Target Virtual Machine Name': machine.id.split('/').at(-1) ?? '' }),
    ...(storage !== null && { 'Target Storage Account Name': storage.split('/').at(-1) ?? '' }),
  }
}

/** Holds the point, writes the record, starts the job. */
export function beginRestore(call: ArmCall, named: NamedPoint, order: RestoreOrder): Promise<ArmReply> {
  const { vault, item, point } = named
  const isAcross = order.from === 'mirror'
  return beginVaultOperation(call, vault, {
    at: isAcross ? vault.id : item.id,
    itemKey: item.key,
    entityName: item.friendlyName,
    operation: isAcross ? 'CrossRegionRestore' : 'Restore',
    action: RESTORE_ACTION,
    job: {
      name: RESTORE_POINT_JOB,
      input: order,
      queue: RESTORE_QUEUE,
    },
    // As in Azure, a restore across regions is not cancelled.
    isCancellable: !isAcross,
    tasks: order.instant ? [MACHINE_TASK, TRANSFER_TASK] : [TRANSFER_TASK, ...SECOND_TASK[order.kind]],
    properties: propertiesOf(order, named),
    announce: async (trx, id) => {
      if ((await findVaultPoint(trx, item.key, point.name)) === undefined)
        throw new ArmError('ResourceNotFound', `The recovery point '${point.name}' has been deleted meanwhile.`)
      await holdPoint(trx, { itemKey: item.key, point: point.name }, id)
    },
  })
}

async function restore(call: ArmCall): Promise<ArmReply> {
  const named = await findNamedPoint(call)
  const order = await planRestore(call, named, readRestoreRequest(call.body))
  return beginRestore(call, named, order)
}

export const restoreRoutes: readonly ArmRoute[] = [
  { method: 'POST', path: `${POINT_PATH}/restore`, action: RESTORE_ACTION, handle: restore },
]
