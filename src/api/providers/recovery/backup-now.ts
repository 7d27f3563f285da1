/** A backup on demand. One at a time of a machine: while another one runs it is refused, as Azure refuses it. */
import {
  type CatalogTransaction,
  findProtectedItem,
  listBackupJobs,
  type ProtectedItem,
  type ResourceRecord,
} from '#catalog'
import { ArmError } from '#contract'
import { ON_DEMAND_DAYS_DEFAULT } from '#domain'
import { BACKUP_TASKS, VAULT_BACKUP_JOB, VAULT_BACKUP_QUEUE, type VaultBackupInput, withItsGroup } from '#jobs'
import type { ArmCall, ArmReply } from '../../arm/call.ts'
import { checkFields, fieldAt } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { readFilterTime } from './azure-time.ts'
import { ITEM_ACTION } from './find-vault.ts'
import { BACKUP_NOW_FIELDS } from './item-fields.ts'
import { beginVaultOperation } from './vault-operations.ts'

const EXPIRY = 'properties.recoveryPointExpiryTimeInUTC'
const DAY_MS = 24 * 3_600_000
/** 99 years, as Azure's. */
const EXPIRY_MS_MAX = 99 * 366 * DAY_MS

function expiryOf(body: unknown, nowMs: number): number {
  const given = fieldAt(body, EXPIRY)
  if (given === undefined || given === '') return nowMs + ON_DEMAND_DAYS_DEFAULT * DAY_MS
  const ms = typeof given === 'string' ? readFilterTime(given) : undefined
  if (ms !== undefined && ms > nowMs && ms - nowMs <= EXPIRY_MS_MAX) return ms
  throw new ArmError(
    'InvalidParameter',
    'recoveryPointExpiryTimeInUTC must be a time in the future, within 99 years.',
    {
      target: EXPIRY,
    },
  )
}

/** A backup of another machine of its group is one of it as well. */
async function checkFree(trx: CatalogTransaction, item: ProtectedItem): Promise<void> {
  for (const one of await withItsGroup(trx, item.key)) await checkOneFree(trx, one)
}

async function checkOneFree(trx: CatalogTransaction, { vaultKey, key, friendlyName }: ProtectedItem): Promise<void> {
  for (const status of ['InProgress', 'Cancelling'] as const) {
    const [running] = await listBackupJobs(trx, { vaultKey, itemKey: key, operation: 'Backup', status, limit: 1 })
    if (running !== undefined)
      throw new ArmError(
        'UserErrorBackupOperationInProgress',
        `A backup of '${friendlyName}' is in progress already (job ${running.id}): wait until it has ended, or cancel it.`,
      )
  }
}

/** @throws ArmError */
export function backUpNow(call: ArmCall, vault: ResourceRecord, item: ProtectedItem): Promise<ArmReply> {
  const body = objectBody(call.body ?? {})
  checkFields(BACKUP_NOW_FIELDS, body)
  const expiresMs = expiryOf(body, call.host.clock.nowMs())
  const input: VaultBackupInput = { item: item.key, isOnDemand: true, expiresMs }
  return beginVaultOperation(call, vault, {
    at: item.id,
    itemKey: item.key,
    entityName: item.friendlyName,
    operation: 'Backup',
    action: `${ITEM_ACTION}/backup/action`,
    job: { name: VAULT_BACKUP_JOB, input, queue: VAULT_BACKUP_QUEUE, key: item.machineKey },
    isCancellable: true,
    tasks: BACKUP_TASKS,
    announce: async (trx) => {
      const now = await findProtectedItem(trx, item.key)
      const isStopped = now?.state === 'ProtectionStopped' || now?.state === 'BackupsSuspended'
      if (now === undefined || now.softDeletedMs !== undefined || isStopped)
        throw new ArmError(
          'OperationNotAllowed',
          `The protection of '${item.friendlyName}' is stopped: resume it before it is backed up.`,
        )
      await checkFree(trx, now)
    },
  })
}
