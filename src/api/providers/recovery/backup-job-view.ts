/** A vault's job as Azure shows it: what its record says, and while it runs, how far the engine says it is. */
import { isoTime, type Progress } from '#base'
import type { BackupJobRecord, ResourceRecord } from '#catalog'
import type { BackupTask } from '#domain'
import { durationText } from './azure-time.ts'

type Shown = Readonly<Record<string, unknown>>

export const JOB_TYPE = 'Microsoft.RecoveryServices/vaults/backupJobs'
/** Azure's word for "may be cancelled". */
const CANCELLABLE = 1

function percentOf(progress: Progress | undefined): number | undefined {
  if (progress === undefined || progress.totalBytes <= 0) return undefined
  return Math.min(99, Math.floor((100 * progress.doneBytes) / progress.totalBytes))
}

function showTask(task: BackupTask, nowMs: number, percent: number | undefined): Shown {
  const { taskId, status, startedMs, endedMs } = task
  const own = task.percent ?? (status === 'InProgress' ? percent : undefined)
  return {
    taskId,
    status,
    ...(startedMs !== undefined && {
      startTime: isoTime(startedMs),
      duration: durationText((endedMs ?? nowMs) - startedMs),
    }),
    ...(endedMs !== undefined && { endTime: isoTime(endedMs) }),
    ...(own !== undefined && { progressPercentage: own }),
  }
}

/** What is left of it, were it to go on as so far. */
function remaining(record: BackupJobRecord, progress: Progress | undefined, nowMs: number): Shown {
  const since = record.tasks.findLast(({ status }) => status === 'InProgress')?.startedMs
  if (progress === undefined || since === undefined || progress.doneBytes <= 0) return {}
  const leftMs = ((nowMs - since) * (progress.totalBytes - progress.doneBytes)) / progress.doneBytes
  return { estimatedRemainingDuration: durationText(leftMs) }
}

function sizeText(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)} MB`
}

function extendedInfo(record: BackupJobRecord, progress: Progress | undefined, nowMs: number): Shown {
  const isOver = record.endedMs !== undefined
  const percent = isOver ? undefined : percentOf(progress)
  const { totalBytes, doneBytes } = isOver
    ? record
    : { totalBytes: progress?.totalBytes, doneBytes: progress?.doneBytes }
  return {
    tasksList: record.tasks.map((task) => showTask(task, nowMs, percent)),
    propertyBag: {
      ...record.properties,
      ...(totalBytes !== undefined && { 'Backup Size': sizeText(totalBytes) }),
      ...(doneBytes !== undefined && { 'Data Transferred (in MB)': sizeText(doneBytes) }),
    },
    ...(percent !== undefined && { progressPercentage: percent }),
    ...(!isOver && remaining(record, progress, nowMs)),
    dynamicErrorMessage: record.errors[0]?.message ?? '',
  }
}

/** The container that an item is in: what `az` compares with. */
function containerOf(itemKey: string | undefined): string | undefined {
  return itemKey === undefined ? undefined : /\/protectionContainers\/([^/]+)/i.exec(itemKey)?.[1]
}

export function showBackupJob(
  vault: ResourceRecord,
  record: BackupJobRecord,
  progress: Progress | undefined,
  nowMs: number,
): Shown {
  const { id, startedMs, endedMs, errors } = record
  const containerName = containerOf(record.itemKey)
  return {
    id: `${vault.id}/backupJobs/${id}`,
    name: id,
    type: JOB_TYPE,
    properties: {
      jobType: 'AzureIaaSVMJob',
      operation: record.operation,
      entityFriendlyName: record.entityName,
      backupManagementType: 'AzureIaasVM',
      status: record.status,
      startTime: isoTime(startedMs),
      ...(endedMs !== undefined && { endTime: isoTime(endedMs) }),
      duration: durationText((endedMs ?? nowMs) - startedMs),
      activityId: id,
      actionsInfo: record.isCancellable && record.status === 'InProgress' ? [CANCELLABLE] : [],
      isUserTriggered: record.isUserTriggered,
      virtualMachineVersion: 'Compute',
      ...(containerName !== undefined && { containerName }),
      ...(errors.length > 0 && {
        errorDetails: errors.map(({ code, title, message, recommendations }) => ({
          // Azure's number of an error: it has none here, the words say it.
          errorCode: 0,
          errorTitle: `${code}: ${title}`,
          errorString: message,
          recommendations,
        })),
      }),
      extendedInfo: extendedInfo(record, progress, nowMs),
    },
  }
}
