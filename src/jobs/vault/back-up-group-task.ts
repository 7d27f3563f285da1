/**
 * The worker's task `back-up-group-to-vault`: a point of each of several machines, all of one instant, in a vault's repository. It
 * says by the milestone `instant-open` that the instant is open.
 *
 *   the worker dies                 what is left                           what the next attempt does
 *   before all are committed        as of one machine; maybe some points   gives those up, and begins again with a new instant
 *   with all points committed       the points, by the job's note          gives them
 */
import type { ConsistencyLevel } from '#engine/hypervisor'
import { backUpTogether, type MemberBackup } from '#engine/transfer'
import { AZURE_MACHINE_ATTACHMENT } from '#domain'
import type { BackupTaskHost } from '../backup.ts'
import { INSTANT_OPEN, madeByNote } from '../compute/take-snapshots.ts'
import { inputInvalid, readTaskAccess, recordOf, type TaskAccess, withRepository } from '../repository-access.ts'
import type { TaskHandler } from '../tasks.ts'
import { type BackedUp, backedUp, uefiVars } from './back-up-task.ts'
import type { MachineToBackUp } from './plan-backup.ts'

export const BACK_UP_GROUP_TASK = 'back-up-group-to-vault'

export type GroupMember = Omit<MachineToBackUp, 'host' | 'disks'> & Readonly<{ history: string; lockMs?: number }>

export type BackUpGroupInput = TaskAccess &
  Readonly<{
    group: string
    members: readonly GroupMember[]
    consistency: ConsistencyLevel
    waitMs: number
  }>

/** In the order of the members. */
export type GroupBackedUp = Readonly<{ members: readonly BackedUp[] }>

function readInput(given: unknown): BackUpGroupInput {
  const input = recordOf(given, 'fields')
  if (!Array.isArray(input['members']) || typeof input['group'] !== 'string') throw inputInvalid('members')
  return { ...(input as unknown as BackUpGroupInput), ...readTaskAccess(input) }
}

async function memberOf(
  host: BackupTaskHost,
  { history, sources, places, description, azure, uefiOf, lockMs }: GroupMember,
): Promise<MemberBackup> {
  const text = new TextEncoder().encode(JSON.stringify(azure))
  const vars = uefiOf === undefined ? [] : await uefiVars(host.stateFolder, uefiOf)
  return {
    machine: history,
    sources,
    places: new Map(places),
    description,
    attachments: [{ name: AZURE_MACHINE_ATTACHMENT, bytes: text }, ...vars],
    ...(lockMs !== undefined && { lockMs }),
  }
}

export function backUpGroupTask(host: BackupTaskHost): TaskHandler {
  return async (given, { key, signal, progress, milestone }): Promise<GroupBackedUp> => {
    const input = readInput(given)
    const { group, consistency, waitMs } = input
    const members = await Promise.all(input.members.map((member) => memberOf(host, member)))
    return withRepository(input, host, async (repository, store) => {
      const wanted = { group, members, consistency, waitMs, once: madeByNote(key.job) }
      const points = await backUpTogether(repository, wanted, {
        ...host,
        store,
        signal,
        progress,
        onOpen: (facts) => milestone(INSTANT_OPEN, facts),
        onWarning: (sentence) => host.warn({ group }, sentence),
        onUnrecovered: (id, error) =>
          host.warn({ instant: id, error: error?.message }, 'an instant of an earlier run is still open'),
      })
      await repository.log.refresh()
      return { members: points.map((point) => backedUp(repository, point)) }
    })
  }
}
