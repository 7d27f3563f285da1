/**
 * A recovery point of a whole machine out of what it is made of now: a QEMU that runs, images that nobody uses, or both. All disks
 * are of one instant, and the point has them all or is not made.
 *
 * Which backup a point is of is told by a note (`once`): who asks again after a crash is given the point that was committed, and
 * else a new one, of a new instant that says its own time. Instants that an earlier run left are recovered first, by the log.
 */
import { join } from 'node:path'
import type { HoldfastError } from '#base'
import { type Instant, recoverInstants } from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import type { BackupOptions } from '../backup.ts'
import { backUpMachine, holdsGeneration, type MachineBackup } from '../backup-machine.ts'
import { type ImageToTake, type MachineToTake, type OpenedSources, openSources } from './open-sources.ts'
import type { OpenInstantFacts } from './take-snapshots.ts'

export type SourcesBackup = Omit<MachineBackup, 'openInstant' | 'onOpen' | 'notes'> &
  Readonly<{
    sources: readonly (MachineToTake | ImageToTake)[]
    /** How long another instant of the same machine is waited for. */
    waitMs: number
    /** A note that the point carries; a point of this machine that carries it already is the result. */
    once: string
  }>

export type SourcesBackupOptions = BackupOptions &
  Readonly<{
    /** Must outlive this process: `instants/<repository>` below it is the journal. */
    stateFolder: string
    onOpen: (facts: OpenInstantFacts) => void
    /** Told of each instant of an earlier run that could not be recovered now; it stays in the journal for the next time. */
    onUnrecovered: (id: string, error: HoldfastError | undefined) => void
  }>

type InstantPlace = Pick<SourcesBackupOptions, 'clock' | 'random' | 'stateFolder'>

/** Where instants for the repository are opened, and recorded. */
export function instantHostOf(repository: Repository, { clock, random, stateFolder }: InstantPlace) {
  const journalFolder = join(stateFolder, 'instants', repository.config.id)
  const scratchFolder = join(stateFolder, 'scratch')
  return { clock, random, journalFolder, scratchFolder, watchdog: 'start', own: stateFolder } as const
}

/** Instants that an earlier run left are settled by what the log says. */
export async function recoverLeft(
  repository: Repository,
  { clock, journalFolder }: Pick<ReturnType<typeof instantHostOf>, 'clock' | 'journalFolder'>,
  onUnrecovered: SourcesBackupOptions['onUnrecovered'],
): Promise<void> {
  const isCommitted = (_tracker: string, generation: string): Promise<boolean> =>
    holdsGeneration(repository, generation)
  for (const { id, outcome, error } of await recoverInstants({ clock, journalFolder, isCommitted }))
    if (outcome === 'failed') onUnrecovered(id, error)
}

/** @throws what opening, reading and storing raise; nothing is committed then */
export async function backUpSources(
  repository: Repository,
  { sources, waitMs, once, ...wanted }: SourcesBackup,
  options: SourcesBackupOptions,
): Promise<PointRecord> {
  const { signal } = options
  const host = instantHostOf(repository, options)
  await recoverLeft(repository, host, options.onUnrecovered)
  await repository.log.refresh()
  const made = repository.points().findLast(({ machine, notes }) => machine === wanted.machine && notes.includes(once))
  if (made !== undefined) return made
  const opened: OpenedSources[] = []
  const openInstant: MachineBackup['openInstant'] = async ({ tracking }): Promise<Instant> => {
    const { consistency, strict = false } = wanted
    const one = await openSources(sources, {
      host,
      tracking,
      consistency,
      strict,
      waitMs,
      ...(signal !== undefined && { signal }),
    })
    opened.push(one)
    return one.instant
  }
  const onOpen = ({ takenAtMs, pauseMs, consistency }: Instant): void =>
    options.onOpen({ takenAtMs, pauseMs, consistency, skewMs: opened.at(-1)?.skewMs ?? 0 })
  try {
    return await backUpMachine(repository, { ...wanted, notes: [once], openInstant, onOpen }, options)
  } finally {
    for (const one of opened) await one.close()
  }
}
