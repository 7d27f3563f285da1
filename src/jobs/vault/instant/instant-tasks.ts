/** The worker's tasks of restores whose machine runs at once on the vault's data. Each may be begun again at any time. */
import { isoTime } from '#base'
import type { TaskHandler } from '../../tasks.ts'
import { inputInvalid, recordOf } from '../../repository-access.ts'
import { type Hydrations, readInstantDisks } from './hydrations.ts'

export const MAKE_INSTANT_DISKS_TASK = 'make-instant-disks'
export const RELEASE_INSTANT_DISKS_TASK = 'release-instant-disks'
export const HYDRATE_DISKS_TASK = 'hydrate-disks'
/** Reached once, when a machine runs on the disks; its facts: {machine, startedAt}. */
export const MACHINE_RUNS = 'machine-runs'

/** Overlays on the served versions. */
export function makeInstantDisksTask(hydrations: Hydrations): TaskHandler {
  return async (given, { key }) => {
    await hydrations.makeOverlays(readInstantDisks(given), key.epoch)
    return null
  }
}

/** Serves the restore no longer whose key it is told. */
export function releaseInstantDisksTask(hydrations: Hydrations): TaskHandler {
  return async (given) => {
    const { key } = recordOf(given, 'fields')
    if (typeof key !== 'string') throw inputInvalid('key')
    await hydrations.release(key)
    return null
  }
}

/** For a while, or until every disk is whole: {done}. What it serves it serves on meanwhile. */
export function hydrateDisksTask(hydrations: Hydrations): TaskHandler {
  return async (given, { signal, progress, milestone }) => {
    const onRunning = (machine: string, startedAtMs: number): void =>
      milestone(MACHINE_RUNS, { machine, startedAt: isoTime(startedAtMs) })
    return { done: await hydrations.hydrate(readInstantDisks(given), { signal, progress, onRunning }) }
  }
}

export function instantTasks(hydrations: Hydrations): readonly (readonly [name: string, task: TaskHandler])[] {
  return [
    [MAKE_INSTANT_DISKS_TASK, makeInstantDisksTask(hydrations)],
    [RELEASE_INSTANT_DISKS_TASK, releaseInstantDisksTask(hydrations)],
    [HYDRATE_DISKS_TASK, hydrateDisksTask(hydrations)],
  ]
}
