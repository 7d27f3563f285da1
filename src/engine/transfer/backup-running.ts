/**
 * A recovery point of a running QEMU: all disks at one instant, and only what changed since the last point where QEMU's
 * bitmaps say so. The record of the open instant lies in the state folder, so that whatever kills this process, the
 * watchdog puts the machine right and the next backup goes by the repository's log (see engine/hypervisor, recoverInstants).
 *
 * Which backup a point is of can be asked for by a note (`once`): a backup that is run again after its process died gives
 * the point that it made before, if it did. Two that run at once with one note would make two points.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { HoldfastError } from '#base'
import {
  type ConsistencyLevel,
  type InstantHost,
  openRunningInstant,
  type OpenInstantOptions,
  recoverInstants,
} from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import type { BackupOptions } from './backup.ts'
import { backUpMachine, holdsGeneration } from './backup-machine.ts'
import { refuseMarked } from './in-place/restore-mark.ts'
import { describeMonitored, type MachineMonitor } from './running-machine.ts'

export type RunningBackup = Readonly<{
  machine: string
  sockets: MachineMonitor
  consistency: ConsistencyLevel
  strict: boolean
  /** See MachineBackup. */
  granularityBytes?: number
  /** Reads everything that is allocated, whatever change tracking says. */
  scan?: boolean
  expiresAtMs?: number
  lockMs?: number
  /** A note that the point carries; a point of this machine that carries it already is the result. */
  once?: string
}>

export type RunningBackupOptions = BackupOptions &
  Readonly<{
    /** Must outlive this process: `instants/<repository>` below it is the journal. */
    stateFolder: string
    /** Default: `scratch` below the state folder. */
    scratchFolder?: string
    /** Told of each instant of an earlier run that could not be recovered now; it stays in the journal for the next time. */
    onUnrecovered: (id: string, error: HoldfastError | undefined) => void
  }>

/** @throws qmp_unreachable, disk_unsupported, restore_unfinished, freeze_failed, instant_failed, and what reading and storing raise */
export async function backUpRunning(
  repository: Repository,
  backup: RunningBackup,
  options: RunningBackupOptions,
): Promise<PointRecord> {
  const { clock, random, stateFolder, scratchFolder } = options
  const journalFolder = join(stateFolder, 'instants', repository.config.id)
  await recover(repository, journalFolder, options)
  await repository.log.refresh()
  const made = backup.once === undefined ? undefined : pointWith(repository, backup.machine, backup.once)
  if (made !== undefined) return made
  const runFolder = await mkdtemp(join(tmpdir(), 'hf-'))
  const scratch = scratchFolder ?? join(stateFolder, 'scratch')
  const host = { clock, random, journalFolder, scratchFolder: scratch, runFolder, watchdog: 'start' } as const
  try {
    return await backUpOn(host, repository, backup, options)
  } finally {
    await rm(runFolder, { recursive: true, force: true })
  }
}

function pointWith(repository: Repository, machine: string, note: string): PointRecord | undefined {
  return repository.points().findLast((point) => point.machine === machine && point.notes.includes(note))
}

async function recover(repository: Repository, journalFolder: string, options: RunningBackupOptions): Promise<void> {
  const recovered = await recoverInstants({
    clock: options.clock,
    journalFolder,
    isCommitted: (_tracker, generation) => holdsGeneration(repository, generation),
  })
  for (const { id, outcome, error } of recovered) if (outcome === 'failed') options.onUnrecovered(id, error)
}

async function backUpOn(
  host: InstantHost,
  repository: Repository,
  { machine, sockets, consistency, strict, granularityBytes, scan = false, once, expiresAtMs, lockMs }: RunningBackup,
  options: RunningBackupOptions,
): Promise<PointRecord> {
  const { running, attachments } = await describeMonitored(host.clock, machine, sockets)
  for (const { path } of running.description.disks) await refuseMarked({ kind: 'image', path }, options.stateFolder)
  const openInstant = (wanted: OpenInstantOptions) => openRunningInstant(host, running, wanted)
  const notes = once === undefined ? [] : [once]
  const keep = {
    ...(granularityBytes === undefined ? {} : { granularityBytes }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    ...(lockMs === undefined ? {} : { lockMs }),
  }
  const backup = { machine, consistency, strict, scan, attachments, notes, openInstant, ...keep }
  return backUpMachine(repository, backup, options)
}
