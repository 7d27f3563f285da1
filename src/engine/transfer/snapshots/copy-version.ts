/**
 * A version of a disk as a point of its own, in the same repository or in another one. In the same one nothing is copied:
 * the new point names the same trees. It needs its source no more once it is committed.
 *
 * The id is the caller's, so that doing it again after a crash gives the point that is there.
 */
import { type PointId, pointForgotten, type PointRecord, type Repository } from '#engine/repository'
import { type CopyOptions, copyPoints } from '../copy.ts'

export type CopiedVersion = Readonly<{ id: PointId; history: string; note: string }>

/** @throws what either repository raises, `packs_deleted` when the source is given up meanwhile, `point_forgotten` when the copy was */
export async function copyVersion(
  source: Repository,
  target: Repository,
  point: PointRecord,
  as: CopiedVersion,
  options: CopyOptions,
): Promise<PointRecord> {
  await target.log.refresh()
  const made = target.points().find(({ id }) => id === as.id)
  if (made !== undefined) return made
  const { parent: _parent, expiresAtMs: _expiresAtMs, ...rest } = point
  // A bitmap of the disk that it came from says nothing of this history.
  const disks = rest.disks.map(({ generation: _generation, ...disk }) => disk)
  const record: PointRecord = { ...rest, disks, id: as.id, machine: as.history, notes: [as.note, ...rest.notes] }
  if (source !== target) {
    const { givenUp } = await copyPoints(source, target, [record], options)
    if (givenUp.length > 0) throw pointForgotten(as.id)
    return record
  }
  const session = await target.beginSession(`copy of ${point.machine}`)
  try {
    await session.commit([{ record, packs: [], reliesOn: [], base: point.id }])
  } catch (error) {
    await session.end().catch(() => {
      // The first error is what matters, and the pin runs out by itself.
    })
    throw error
  }
  return record
}
