/**
 * A recovery point of a running QEMU: all disks at one instant, and only what changed since the last point where QEMU's
 * bitmaps say so. The record of the open instant lies in this user's state folder, so that whatever kills this process, the
 * watchdog puts the machine right and the next backup goes by the repository's log (see engine/hypervisor, recoverInstants).
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConsistencyLevel, InstantHost, OpenInstantOptions } from '#engine/hypervisor'
import type { PointRecord, Repository } from '#engine/repository'
import type { CommandContext } from '../command.ts'
import { WRITER } from '../version.ts'
import type { OpenRepository } from './open.ts'
import { describeRunning, type MachineMonitor, sameImages } from './running-machine.ts'

export type RunningBackup = Readonly<{
  machine: string
  sockets: MachineMonitor
  consistency: ConsistencyLevel
  strict: boolean
  scratchDir?: string
  threads?: number
}>

/** State that must outlive this process (XDG Base Directory Specification). */
function stateFolder(): string {
  const given = process.env['XDG_STATE_HOME']
  return join(given === undefined || given === '' ? join(homedir(), '.local', 'state') : given, 'holdfast')
}

/** @throws qmp_unreachable, disk_unsupported, freeze_failed, instant_failed, and what reading and storing raise */
export async function backUpRunning(
  opened: OpenRepository,
  backup: RunningBackup,
  context: CommandContext,
): Promise<PointRecord> {
  const { systemClock, systemRandom } = await import('#runtime')
  const { repository } = opened
  const runFolder = await mkdtemp(join(tmpdir(), 'hf-'))
  const journalFolder = join(stateFolder(), 'instants', repository.config.id)
  try {
    await recover(repository, journalFolder, context)
    return await withHost(opened, backup, context, {
      clock: systemClock,
      random: systemRandom,
      journalFolder,
      scratchFolder: backup.scratchDir ?? join(stateFolder(), 'scratch'),
      runFolder,
      watchdog: 'start',
    })
  } finally {
    await rm(runFolder, { recursive: true, force: true })
  }
}

/** Instants that an earlier run left behind; what cannot be recovered now stays in the journal for the next time. */
async function recover(repository: Repository, journalFolder: string, { output }: CommandContext): Promise<void> {
  const { recoverInstants } = await import('#engine/hypervisor')
  const { holdsGeneration } = await import('#engine/transfer')
  const { systemClock } = await import('#runtime')
  const recovered = await recoverInstants({
    clock: systemClock,
    journalFolder,
    isCommitted: (_tracker, generation) => holdsGeneration(repository, generation),
  })
  for (const { id, outcome, error } of recovered) {
    if (outcome === 'failed') output.note(`Instant ${id} of an earlier run is still open: ${error?.message ?? ''}`)
  }
}

async function withHost(
  { repository, descriptor }: OpenRepository,
  { machine, sockets, consistency, strict, threads }: RunningBackup,
  { output, signal }: CommandContext,
  host: InstantHost,
): Promise<PointRecord> {
  const { openRunningInstant } = await import('#engine/hypervisor')
  const { backUpMachine } = await import('#engine/transfer')
  const running = await describeRunning(machine, sockets)
  const parent = repository.points().findLast((point) => point.machine === machine)
  const same = sameImages(running.description, parent)
  const options = { clock: host.clock, random: host.random, writer: WRITER, progress: output.progress, signal }
  return backUpMachine(
    repository,
    {
      machine,
      consistency,
      strict,
      openInstant: (wanted) => openRunningInstant(host, running, onlyTracked(wanted, same)),
    },
    { ...options, store: descriptor, ...(threads === undefined ? {} : { threads }) },
  )
}

/** Offers as committed only what is known to be of the image that the disk has now. */
function onlyTracked(wanted: OpenInstantOptions, same: ReadonlySet<string>): OpenInstantOptions {
  if (wanted.tracking === undefined) return wanted
  const committed = Object.entries(wanted.tracking.committed).filter(([diskId]) => same.has(diskId))
  return { ...wanted, tracking: { ...wanted.tracking, committed: Object.fromEntries(committed) } }
}
