/**
 * The worker's task `forget-points`: gives up those of a repository's points that no lock holds. It says which are not there any more
 * and which are locked, and until when; so one that is locked keeps no other. It may be begun again at any time.
 */
import type { TaskHandler } from '../tasks.ts'
import {
  inputInvalid,
  readRepositoryAccess,
  recordOf,
  type RepositoryAccess,
  type RepositoryHost,
  withRepository,
} from '../repository-access.ts'

export const FORGET_POINTS_TASK = 'forget-points'

export type ForgetPointsInput = RepositoryAccess & Readonly<{ points: readonly string[] }>
export type ForgottenPoints = Readonly<{
  /** Not there any more, now or before. */
  gone: readonly string[]
  locked: readonly Readonly<{ point: string; untilMs: number }>[]
}>

export function forgetPointsTask(host: RepositoryHost): TaskHandler {
  return async (given): Promise<ForgottenPoints> => {
    const input = recordOf(given, 'fields')
    const { points } = input
    if (!Array.isArray(points)) throw inputInvalid('points')
    const wanted = points.filter((point): point is string => typeof point === 'string')
    return withRepository(readRepositoryAccess(input), host, async (repository) => {
      await repository.log.refresh()
      const { passedMs } = await repository.immutability.judge()
      const live = new Set(repository.points().map(({ id }) => id))
      const locked = wanted.flatMap((point) => {
        const untilMs = live.has(point) ? (repository.immutability.lockedUntilMs(point) ?? 0) : 0
        return untilMs > passedMs ? [{ point, untilMs }] : []
      })
      const held = new Set(locked.map(({ point }) => point))
      const free = wanted.filter((point) => live.has(point) && !held.has(point))
      if (free.length > 0) await repository.forget(free)
      return { gone: wanted.filter((point) => !held.has(point)), locked }
    })
  }
}
