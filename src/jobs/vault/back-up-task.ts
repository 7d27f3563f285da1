/**
 * The worker's task `back-up-machine-to-vault`: one point of all disks of a machine in a repository, with what ARM needs to make the
 * machine again as its attachment. It says by the milestone `instant-open` that the instant is open.
 *
 *   the worker dies              what is left                        what the next attempt does
 *   before the instant is open   at most bitmaps                     begins again
 *   with the instant open        filters, bitmaps, packs             the watchdog frees the guest; a new instant, which says its time
 *   with the point committed     the point, by the job's note        gives it: no second one is made
 */
import { readFile } from 'node:fs/promises'
import { errnoOf } from '#base'
import { AZURE_MACHINE_ATTACHMENT } from '#domain'
import { machinePaths, type ConsistencyLevel } from '#engine/hypervisor'
import type { PointGroup, PointRecord, Repository } from '#engine/repository'
import { backUpSources } from '#engine/transfer'
import type { BackupTaskHost } from '../backup.ts'
import { machineRoots } from '../compute/machine/machine-host.ts'
import { INSTANT_OPEN, madeByNote } from '../compute/take-snapshots.ts'
import { inputInvalid, readTaskAccess, recordOf, type TaskAccess, withRepository } from '../repository-access.ts'
import type { TaskHandler } from '../tasks.ts'
import type { MachineToBackUp } from './plan-backup.ts'

export const BACK_UP_TO_VAULT_TASK = 'back-up-machine-to-vault'

export type BackUpToVaultInput = TaskAccess &
  Omit<MachineToBackUp, 'host' | 'disks'> &
  Readonly<{
    /** Points of one name form the machine's history. */
    history: string
    consistency: ConsistencyLevel
    waitMs: number
    /** Lock the point for so long at least. */
    lockMs?: number
  }>

export type StoredDisk = Readonly<{
  diskId: string
  sizeBytes: number
  usedBytes: number
  readBytes: number
  storedBytes: number
  mode: string
  reason?: string
}>
export type BackedUp = Readonly<{
  point: string
  /** Of the log entry that committed it. */
  sequence: number
  takenAtMs: number
  consistency: ConsistencyLevel
  notes: readonly string[]
  /** Why it is less consistent than was asked for, in codes. */
  reasons: readonly string[]
  /** Machines that share its instant. */
  group?: PointGroup
  disks: readonly StoredDisk[]
}>

function readInput(given: unknown): BackUpToVaultInput {
  const input = recordOf(given, 'fields')
  if (!Array.isArray(input['sources']) || typeof input['history'] !== 'string') throw inputInvalid('sources')
  return { ...(input as unknown as BackUpToVaultInput), ...readTaskAccess(input) }
}

/** Variables of the firmware; a machine that never ran has none. */
export async function uefiVars(stateFolder: string, machine: string) {
  try {
    const bytes = await readFile(machinePaths(machineRoots(stateFolder), machine).uefiVars)
    return [{ name: 'uefi-vars', bytes: new Uint8Array(bytes) }]
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

export function backedUp(repository: Repository, point: PointRecord): BackedUp {
  const { id, takenAt, consistency, notes, disks, consistencyReasons = [], group } = point
  return {
    point: id,
    sequence: repository.log.state.points.get(id)?.number ?? 0,
    takenAtMs: globalThis.Date.parse(takenAt),
    consistency,
    notes: notes.filter((note) => !note.startsWith('Made by job')),
    reasons: consistencyReasons,
    ...(group !== undefined && { group }),
    disks: disks.map(({ id: diskId, virtualSizeBytes, usedBytes, readBytes, storedBytes, mode, reason }) => ({
      diskId,
      sizeBytes: virtualSizeBytes,
      usedBytes,
      readBytes,
      storedBytes,
      mode,
      ...(reason !== undefined && { reason }),
    })),
  }
}

export function backUpToVaultTask(host: BackupTaskHost): TaskHandler {
  return async (given, { key, signal, progress, milestone }): Promise<BackedUp> => {
    const input = readInput(given)
    const { history, sources, consistency, waitMs, description, azure, lockMs, uefiOf } = input
    const text = new TextEncoder().encode(JSON.stringify(azure))
    const vars = uefiOf === undefined ? [] : await uefiVars(host.stateFolder, uefiOf)
    return withRepository(input, host, async (repository, store) => {
      const wanted = {
        machine: history,
        sources,
        consistency,
        waitMs,
        once: madeByNote(key.job),
        places: new Map(input.places),
        description,
        attachments: [{ name: AZURE_MACHINE_ATTACHMENT, bytes: text }, ...vars],
        ...(lockMs !== undefined && { lockMs }),
      }
      const point = await backUpSources(repository, wanted, {
        ...host,
        store,
        signal,
        progress,
        onOpen: (facts) => milestone(INSTANT_OPEN, facts),
        onWarning: (sentence) => host.warn({ machine: history }, sentence),
        onUnrecovered: (id, error) =>
          host.warn({ instant: id, error: error?.message }, 'an instant of an earlier run is still open'),
      })
      await repository.log.refresh()
      return backedUp(repository, point)
    })
  }
}
