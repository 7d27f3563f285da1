/** holdfast repo backup: one recovery point of a machine's disks. */
import { WRITER } from '#base'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { PointRecord } from '#engine/repository'
import { CliError } from '../errors.ts'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { printable } from '../printable.ts'
import { stateFolder } from '../state-folder.ts'
import { collectDisk, type DiskArgument } from './disk-argument.ts'
import { type HeldDisk, holdDisks } from './disk-sources.ts'
import { makeRepoCommand, type OpenRepository, type RepoOptions, withRepository } from './open.ts'
import { lockText, pointJson, sumOf } from './point-json.ts'
import { parseCount } from '../count.ts'

type BackupCommandOptions = RepoOptions &
  Readonly<{
    machine: string
    disk?: DiskArgument[]
    allowBackingIn?: string[]
    qmp?: string
    qga?: string
    consistency?: keyof typeof CONSISTENCY
    strict?: boolean
    scan?: boolean
    scratchDir?: string
    threads?: number
    keepUntil?: number
    lockDays?: number
  }>

const DAY_MS = 24 * 60 * 60_000
const CONSISTENCY = { app: 'application', fs: 'filesystem', crash: 'crash' } as const

export function backupCommand(): Command {
  return makeRepoCommand({
    usage: 'backup <store>',
    summary: 'make a recovery point of a machine',
    description:
      'Makes one recovery point of a running machine or of the disks that are named. An image file is locked while it is read, as QEMU locks it: one ' +
      'that a machine runs on is refused. What the repository holds already is not stored again.',
    examples: [
      'holdfast repo backup /srv/backup --machine web1 --disk 0=qcow2:/images/web1.qcow2',
      'holdfast repo backup /srv/backup --machine db1 --disk 0=raw:/dev/vg0/db1 --disk 1=raw:/dev/vg0/db1-data',
      'holdfast repo backup /srv/backup --machine web1 --qmp /run/web1.qmp --qga /run/web1.qga --consistency app',
      "holdfast repo backup /srv/backup --machine app --disk '0=nbd+unix:///disk0?socket=/run/app.nbd'",
    ],
  })
    .requiredOption(
      '-m, --machine <name>',
      'name of the machine; points of one name form its history',
      parseMachineName,
    )
    .option(
      '-d, --disk <lun=[format:]source>',
      'a disk: image file, block device or nbd URI; once for each',
      collectDisk,
    )
    .option(
      '--allow-backing-in <folder>',
      'accept images whose backing files lie in this folder; may be repeated',
      collectFolder,
    )
    .option('--qmp <socket>', 'a running QEMU, by its monitor: all its disks at one instant')
    .option('--qga <socket>', "the machine's guest agent, which freezes its file systems for the instant")
    .addOption(
      new Option('--consistency <level>', 'what to ask of the guest (default: app with --qga, else crash)').choices(
        Object.keys(CONSISTENCY),
      ),
    )
    .option('--strict', 'fail instead of making a point of lesser consistency')
    .option('--scan', 'read all that is allocated instead of going by change tracking')
    .option('--scratch-dir <folder>', 'where what the guest overwrites meanwhile is kept (default: the state folder)')
    .option('--keep-until <date>', 'when the point expires: no rule of "forget" gives it up before', parseDate)
    .option(
      '--lock-days <count>',
      'lock the point: nobody can give it up or delete its data before, nor undo this (see "immutability")',
      parseCount,
    )
    .option('--threads <count>', 'threads that read and store (default: by the number of processors)', parseCount)
    .action((location: string, options: BackupCommandOptions) =>
      runCommandHandler(options, async (context) => {
        refuseContradictions(options)
        await withRepository(location, options, context, async (opened) => {
          const point =
            options.qmp === undefined
              ? await backUpNamed(opened, options, context)
              : await backUpRunningMachine(opened, options.qmp, options, context)
          const lockedUntilMs = opened.repository.immutability.lockedUntilMs(point.id)
          context.output.result(pointJson(point, lockedUntilMs), () => summary(point, lockedUntilMs))
        })
      }),
    )
}

function refuseContradictions({ disk, qmp, qga, consistency, strict, scan, scratchDir }: BackupCommandOptions): void {
  const refuse = (message: string): never => {
    throw new CliError('usage_invalid', message, {
      hint: 'Name each disk with --disk LUN=[FORMAT:]SOURCE, or a running machine with --qmp SOCKET.',
    })
  }
  if (disk === undefined && qmp === undefined) refuse('Neither disks nor a running machine were named.')
  if (disk !== undefined && qmp !== undefined)
    refuse('A running machine is backed up with all its disks: --qmp takes no --disk.')
  const needsQmp = [qga, consistency, strict, scan, scratchDir].some((option) => option !== undefined)
  if (qmp === undefined && needsQmp)
    refuse('--qga, --consistency, --strict, --scan and --scratch-dir are for running machines: they need --qmp.')
  if (qga === undefined && consistency !== undefined && consistency !== 'crash')
    refuse('Only the guest agent can make more than a crash consistent point: name its socket with --qga.')
}

async function backUpRunningMachine(
  { repository, descriptor }: OpenRepository,
  qmpSocketPath: string,
  options: BackupCommandOptions,
  { output, signal }: CommandContext,
): Promise<PointRecord> {
  const { machine, qga, consistency, strict, scan, scratchDir, threads } = options
  const { backUpRunning } = await import('#engine/transfer')
  const { systemClock, systemRandom } = await import('#runtime')
  const wanted = consistency ?? (qga === undefined ? 'crash' : 'app')
  const sockets = { qmpSocketPath, ...(qga === undefined ? {} : { agentSocketPath: qga }) }
  const promised = { consistency: CONSISTENCY[wanted], strict: strict ?? false, scan: scan ?? false }
  const backup = { machine, sockets, ...promised, ...keeping(options) }
  return backUpRunning(repository, backup, {
    store: descriptor,
    clock: systemClock,
    random: systemRandom,
    writer: WRITER,
    progress: output.progress,
    signal,
    stateFolder: stateFolder(),
    onWarning: (sentence) => output.note(`Warning: ${sentence}`),
    onUnrecovered: (id, error) => output.note(`Instant ${id} of an earlier run is still open: ${error?.message ?? ''}`),
    ...(scratchDir === undefined ? {} : { scratchFolder: scratchDir }),
    ...(threads === undefined ? {} : { threads }),
  })
}

async function backUpNamed(
  opened: OpenRepository,
  options: BackupCommandOptions,
  context: CommandContext,
): Promise<PointRecord> {
  const { disk = [], allowBackingIn = [] } = options
  const held = await holdDisks(disk, { stateFolder: stateFolder(), allowBackingIn, signal: context.signal })
  try {
    return await backUpImages(opened, held.disks, options, context)
  } finally {
    await held.close()
  }
}

/** @throws InvalidArgumentError */
function parseMachineName(text: string): string {
  if (text !== '' && text.length <= 128 && printable(text) === text) return text
  throw new InvalidArgumentError('A name has 1 to 128 characters that can be printed.')
}

function collectFolder(folder: string, before: readonly string[] = []): string[] {
  return [...before, folder]
}

async function backUpImages(
  { repository, descriptor }: OpenRepository,
  disks: readonly HeldDisk[],
  options: BackupCommandOptions,
  { output, signal }: CommandContext,
): Promise<PointRecord> {
  const { backUp, derivedDiskId } = await import('#engine/transfer')
  const { systemClock, systemRandom } = await import('#runtime')
  const { machine, threads } = options
  const known = new Set(
    repository.points().flatMap((point) => (point.machine === machine ? point.disks.map(({ id }) => id) : [])),
  )
  const input = {
    machine,
    takenAtMs: systemClock.nowMs(),
    consistency: 'crash',
    notes: [],
    ...keeping(options),
    disks: disks.map((disk) => {
      const id = derivedDiskId(machine, disk.lun)
      const reason = known.has(id) ? 'source_without_bitmap' : 'first_backup'
      return { ...disk, id, changes: { kind: 'all', reason } as const }
    }),
  } as const
  return backUp(repository, input, {
    store: descriptor,
    clock: systemClock,
    random: systemRandom,
    writer: WRITER,
    progress: output.progress,
    signal,
    ...(threads === undefined ? {} : { threads }),
  })
}

function keeping({ keepUntil, lockDays }: BackupCommandOptions): { expiresAtMs?: number; lockMs?: number } {
  return {
    ...(keepUntil === undefined ? {} : { expiresAtMs: keepUntil }),
    ...(lockDays === undefined ? {} : { lockMs: lockDays * DAY_MS }),
  }
}

/** A day (its end, in UTC) or an instant, in ISO 8601. @throws InvalidArgumentError */
function parseDate(text: string): number {
  const isDay = /^\d{4}-\d{2}-\d{2}$/.test(text)
  const isInstant = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/.test(text)
  const atMs = isDay || isInstant ? globalThis.Date.parse(text) : Number.NaN
  if (Number.isNaN(atMs))
    throw new InvalidArgumentError('Give a day like 2027-01-31, or an instant like 2027-01-31T12:00Z.')
  return isDay ? atMs + DAY_MS : atMs
}

function summary(point: PointRecord, lockedUntilMs: number | undefined): string {
  const reasons = [...new Set(point.disks.flatMap(({ reason }) => reason ?? []))]
  const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`
  return (
    `Point ${point.id} of ${point.machine}: ${point.mode}${why}, ${point.consistency} consistent.\n` +
    `Read ${sumOf(point, 'readBytes')}; new ${sumOf(point, 'newBytes')}, stored in ${sumOf(point, 'storedBytes')}.` +
    (lockedUntilMs === undefined ? '' : `\nLocked until ${lockText(lockedUntilMs)} UTC.`)
  )
}
