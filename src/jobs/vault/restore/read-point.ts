/**
 * The worker's task `read-vault-point`: opens a recovery point where it can be opened, the places in their order, and says what it
 * holds. So a restore goes on from the copy when the first store is gone. It writes nothing.
 */
import { errorShapeOf, isHoldfastError } from '#base'
import { AZURE_MACHINE_ATTACHMENT, type AzureMachine } from '#domain'
import type { PointRecord, Repository } from '#engine/repository'
import { readAttachment } from '#engine/transfer'
import { JobsError } from '../../errors.ts'
import { inputInvalid, readTaskAccess, recordOf, type RepositoryHost, withRepository } from '../../repository-access.ts'
import type { TaskHandler } from '../../tasks.ts'
import type { PointPlace } from '../point-source.ts'

export const READ_VAULT_POINT_TASK = 'read-vault-point'

export type ReadVaultPointInput = Readonly<{ places: readonly PointPlace[] }>

export type DiskOfPoint = Readonly<{ diskId: string; sizeBytes: number; usedBytes: number }>
export type ReadVaultPoint = Readonly<{
  place: PointPlace
  takenAt: string
  disks: readonly DiskOfPoint[]
  /** What the point says of its machine; null for a point that was not made by a vault. */
  azure: AzureMachine | null
  /** Why the places before this one were passed over. */
  passed: readonly string[]
}>

async function azureOf(repository: Repository, point: PointRecord): Promise<AzureMachine | null> {
  const found = point.attachments.find(({ name }) => name === AZURE_MACHINE_ATTACHMENT)
  if (found === undefined) return null
  const kept = JSON.parse(Buffer.from(await readAttachment(repository, found)).toString('utf8')) as AzureMachine
  if (kept.schema === 1) return kept
  throw new JobsError('job_input_invalid', 'The point describes its machine in a form of a later Holdfast.')
}

async function readAt(place: PointPlace, host: RepositoryHost): Promise<Omit<ReadVaultPoint, 'passed' | 'place'>> {
  const access = readTaskAccess(recordOf(place.access, 'access'))
  return withRepository(access, host, async (repository) => {
    await repository.log.refresh()
    const point = repository.points().find(({ id }) => id === place.point)
    if (point === undefined)
      throw new JobsError('disk_not_there', `The recovery point ${place.point} is not in ${place.access.store}.`, {
        facts: { point: place.point, store: place.access.store },
      })
    return {
      takenAt: point.takenAt,
      disks: point.disks.map(({ id, virtualSizeBytes, usedBytes }) => ({
        diskId: id,
        sizeBytes: virtualSizeBytes,
        usedBytes,
      })),
      azure: await azureOf(repository, point),
    }
  })
}

/** Runs on the worker. @throws the first place's error when none can be opened */
export function readVaultPointTask(host: RepositoryHost): TaskHandler {
  return async (given, { signal }): Promise<ReadVaultPoint> => {
    const { places } = recordOf(given, 'fields')
    if (!Array.isArray(places) || places.length === 0) throw inputInvalid('places')
    const passed: string[] = []
    let first: unknown
    for (const place of places as readonly PointPlace[]) {
      signal.throwIfAborted()
      try {
        return { place, ...(await readAt(place, host)), passed }
      } catch (error) {
        if (!isHoldfastError(error)) throw error
        first ??= error
        passed.push(`${place.side}: ${errorShapeOf(error, 'job_failed').message}`)
      }
    }
    throw first
  }
}
