/**
 * The job `copy-restore-point`: the disks of a restore point into the repository of another region (or named once more in the same
 * one). Rows are there before it, in the state Creating; it brings all of them to Succeeded, or all to Failed.
 *
 * Each copy has its id from the start, so doing it again after a crash gives what is there. Copies of one that fails are given up.
 */
import { errorShapeOf } from '#base'
import { snapshotHistory, type VersionRef } from '#domain'
import type { JobDefinition } from '../../port.ts'
import { recordOf } from '../../repository-access.ts'
import { WORKER_RETRY } from '../create-disk.ts'
import type { SnapshotJobParts } from '../create-snapshots.ts'
import { regionRepository } from '../region-repository.ts'
import { failSnapshot, finishSnapshot } from '../snapshot-rows.ts'
import type { TakenVersion } from '../take-snapshots.ts'
import { COPY_VERSION_TASK, FORGET_VERSIONS_TASK } from '../version-tasks.ts'
import { failRestorePoint, finishRestorePoint } from './restore-point-rows.ts'

export const COPY_RESTORE_POINT_JOB = 'copy-restore-point'

export type CopyRestorePointInput = Readonly<{
  id: string
  region: string
  disks: readonly Readonly<{ id: string; version: VersionRef }>[]
}>

export function copyRestorePointJob(parts: SnapshotJobParts): JobDefinition<CopyRestorePointInput, null> {
  const { catalog, tasks, source, repositories } = parts
  return {
    name: COPY_RESTORE_POINT_JOB,
    version: 1,
    parse: (given) => recordOf(given, 'fields') as unknown as CopyRestorePointInput,
    run: async (job, { id, region, disks }) => {
      const end: { error: unknown } = { error: undefined }
      job.cleanup('fail', async () => {
        const { code, message } = errorShapeOf(end.error, 'job_failed')
        const reason = { errorCode: code, errorMessage: message }
        await catalog.write(async (trx) => {
          for (const disk of disks) await failSnapshot(trx, disk.id, reason, source)
          await failRestorePoint(trx, id, reason, source)
        })
      })
      try {
        const to = await job.step('repository', () => regionRepository(repositories, region))
        job.cleanup(
          'give up copies',
          async (step) => {
            await tasks.run(step, FORGET_VERSIONS_TASK, { ...to.access, madeBy: job.jobId })
          },
          { retry: WORKER_RETRY },
        )
        const made: TakenVersion[] = []
        for (const [i, { version }] of disks.entries()) {
          const from = await job.step(`source ${i}`, () => regionRepository(repositories, version.region))
          const history = snapshotHistory(version.disk, true)
          const wanted = { from: from.access, to: to.access, point: version.point, diskId: version.disk, history }
          const copied = await job.step(
            `copy ${i}`,
            async (step) => (await tasks.run(step, COPY_VERSION_TASK, { ...wanted, as: String(i) })) as TakenVersion,
            { retry: WORKER_RETRY },
          )
          made.push(copied)
        }
        await job.step('record', () =>
          catalog.write(async (trx) => {
            for (const [i, disk] of disks.entries()) {
              const version = made[i]
              if (version !== undefined) await finishSnapshot(trx, { id: disk.id, region, version }, source)
            }
            await finishRestorePoint(trx, id, undefined, source)
          }),
        )
        return null
      } catch (error) {
        end.error = error
        throw error
      }
    },
  }
}
