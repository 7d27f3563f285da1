/**
 * Tasks on versions that are there: copy one, give some up, prune a region's repository. Each may be begun again at any time:
 * a copy has its id from the start, what is given up already is passed over, prune decides anew.
 */
import { createHash } from 'node:crypto'
import { prune, type PointRecord } from '#engine/repository'
import { copyVersion } from '#engine/transfer'
import {
  inputInvalid,
  readRepositoryAccess,
  recordOf,
  type RepositoryAccess,
  type RepositoryHost,
  withRepository,
} from '../repository-access.ts'
import type { TaskHandler } from '../tasks.ts'
import { JobsError } from '../errors.ts'
import { madeByNote, type TakenVersion } from './take-snapshots.ts'

export const COPY_VERSION_TASK = 'copy-version'
export const FORGET_VERSIONS_TASK = 'forget-versions'
export const PRUNE_TASK = 'prune-repository'

export type CopyVersionInput = Readonly<{
  from: RepositoryAccess
  /** The same as `from` for a copy in the region. */
  to: RepositoryAccess
  point: string
  diskId: string
  history: string
  /** Tells several copies of one job apart. */
  as?: string
}>

/** `points`: ids. `madeBy`: a job whose points are given up, whatever their ids. */
export type ForgetVersionsInput = RepositoryAccess & Readonly<{ points?: readonly string[]; madeBy?: string }>

function accessIn(input: Record<string, unknown>, field: string): RepositoryAccess {
  return readRepositoryAccess(recordOf(input[field], field))
}

function textIn(input: Record<string, unknown>, field: string): string {
  const value = input[field]
  if (typeof value === 'string' && value !== '') return value
  throw inputInvalid(field)
}

/** The same for the same job, so that doing it again finds what was done. */
function pointIdOf(job: string, as: unknown): string {
  const text = typeof as === 'string' ? `holdfast copy\0${job}\0${as}` : `holdfast copy\0${job}`
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

function copied(point: PointRecord, diskId: string): TakenVersion {
  const [disk] = point.disks
  if (disk === undefined) throw inputInvalid('point')
  const { virtualSizeBytes, usedBytes, readBytes, storedBytes, mode } = disk
  const { id, takenAt } = point
  return { diskId, point: id, takenAt, sizeBytes: virtualSizeBytes, usedBytes, readBytes, storedBytes, mode }
}

export function copyVersionTask(host: RepositoryHost): TaskHandler {
  return async (given, { key, signal, progress }): Promise<TakenVersion> => {
    const input = recordOf(given, 'fields')
    const [from, to] = [accessIn(input, 'from'), accessIn(input, 'to')]
    const [wanted, diskId] = [textIn(input, 'point'), textIn(input, 'diskId')]
    const as = { id: pointIdOf(key.job, input['as']), history: textIn(input, 'history'), note: madeByNote(key.job) }
    const options = { random: host.random, signal, progress }
    return withRepository(from, host, async (source) => {
      await source.log.refresh()
      const point = source.points().find(({ id }) => id === wanted)
      if (point === undefined)
        throw new JobsError('disk_not_there', 'The version behind the source snapshot is not there.', {
          facts: { point: wanted },
        })
      if (from.store === to.store) return copied(await copyVersion(source, source, point, as, options), diskId)
      return withRepository(to, host, async (target) =>
        copied(await copyVersion(source, target, point, as, options), diskId),
      )
    })
  }
}

export function forgetVersionsTask(host: RepositoryHost): TaskHandler {
  return async (given): Promise<Readonly<{ forgotten: number }>> => {
    const input = recordOf(given, 'fields')
    const { points = [], madeBy } = input
    if (!Array.isArray(points)) throw inputInvalid('points')
    return withRepository(readRepositoryAccess(input), host, async (repository) => {
      await repository.log.refresh()
      const note = typeof madeBy === 'string' ? madeByNote(madeBy) : undefined
      const found = repository
        .points()
        .filter(({ id, notes }) => points.includes(id) || (note !== undefined && notes.includes(note)))
      if (found.length > 0) await repository.forget(found.map(({ id }) => id))
      return { forgotten: found.length }
    })
  }
}

export type Pruned = Readonly<{ deletedPacks: number; freedBytes: number; heldBack: number }>

export function pruneTask(host: RepositoryHost): TaskHandler {
  return async (given, { signal, progress }): Promise<Pruned> => {
    const access = readRepositoryAccess(recordOf(given, 'fields'))
    const { clock, random } = host
    return withRepository(access, host, async (repository) => {
      const report = await prune(repository, { clock, random, signal, progress })
      return { deletedPacks: report.deleted, freedBytes: report.freedBytes, heldBack: report.heldBack }
    })
  }
}
