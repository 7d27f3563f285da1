/** holdfast repo restore: disks of a point as image files with the machine's description beside them, or in place. */
import { basename } from 'node:path'
import { formatBytes } from '#base'
import { type Command, Option } from 'commander'
import type { PointRecord } from '#engine/repository'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { chooseDisks, parseLun } from './choose-disk.ts'
import { collectDisk, type DiskArgument } from './disk-argument.ts'
import { makeRepoCommand, type OpenRepository, type RepoOptions, withRepository } from './open.ts'
import {
  checkFreeSpace,
  makeTargetFolder,
  refuseExisting,
  type RestoredFile,
  writeAttachments,
  writeDescription,
} from './target-folder.ts'
import { whileReading } from './reading.ts'
import { RESTORE_FORMATS, type RestoreFormat, restoreToFile } from './restore-file.ts'
import { inPlaceSummary, restoreDisksInPlace } from './restore-in-place.ts'

type RestoreCommandOptions = RepoOptions &
  Readonly<{
    to?: string
    disk?: number[]
    format?: RestoreFormat
    inPlace?: DiskArgument[]
    keepCurrent?: boolean
    grow?: boolean
    machine?: string
    threads?: number
  }>
type FolderOptions = Readonly<{ to: string; disk?: number[]; format: RestoreFormat; threads?: number }>

export function restoreCommand(): Command {
  return makeRepoCommand({
    usage: 'restore <store> <point>',
    summary: 'bring disks of a point back, as image files or in place',
    description:
      'With --to, writes disk-<lun>.<format> for every disk and machine.json with what is known of the machine. Every chunk ' +
      'is checked before it is written; a file gets its name only when it is whole and durable. Nothing that exists is ' +
      'replaced.\nWith --in-place, makes the disks of a stopped machine into what the point says: each is compared with the ' +
      'point, and only what differs is written. A disk that this did not come to the end of is marked; run it again.',
    examples: [
      'holdfast repo restore /srv/backup latest --machine web1 --to /images/web1-restored --format qcow2',
      'holdfast repo restore /srv/backup 4f1c --disk 1 --to /tmp/data-disk',
      'holdfast repo restore /srv/backup 4f1c --in-place 0=qcow2:/images/web1.qcow2 --keep-current',
    ],
  })
    .option('-t, --to <folder>', 'folder to write into; made if missing')
    .option('-d, --disk <lun>', 'with --to: only this disk; may be repeated', collectLun)
    .addOption(
      new Option('-f, --format <format>', 'with --to: format of the files (default: raw)').choices(RESTORE_FORMATS),
    )
    .option(
      '--in-place <lun=[format:]target>',
      'replace this disk where it is: raw or qcow2 image, block device or nbd URI; may be repeated',
      collectDisk,
    )
    .option('--keep-current', 'with --in-place: first make a point of what the disks hold now')
    .option('--grow', 'with --in-place: make an image file that is too small larger')
    .option('--machine <name>', 'look among the points of this machine only')
    .option('--threads <count>', 'threads that read and write (default: by the number of processors)', parseCount)
    .action((location: string, selector: string, options: RestoreCommandOptions) =>
      runCommandHandler(options, (context) => {
        refuseContradictions(options)
        return withRepository(location, options, context, async (opened) => {
          const point = opened.repository.findPoint(selector, options.machine)
          await whileReading(opened.repository, `restore of ${point.id}`, () =>
            restore(opened, point, options, context),
          )
        })
      }),
    )
}

function refuseContradictions({ to, disk, format, inPlace, keepCurrent, grow }: RestoreCommandOptions): void {
  const refuse = (message: string): never => {
    throw new CliError('usage_invalid', message, {
      hint: 'Name a folder with --to FOLDER, or each disk to replace with --in-place LUN=FORMAT:TARGET.',
    })
  }
  if (to === undefined && inPlace === undefined) refuse('Neither a folder nor a disk to replace was named.')
  if (to !== undefined && inPlace !== undefined) refuse('--to and --in-place exclude each other.')
  if (inPlace !== undefined && (disk !== undefined || format !== undefined))
    refuse('--in-place names its disks and formats itself: it takes no --disk and no --format.')
  if (inPlace === undefined && (keepCurrent !== undefined || grow !== undefined))
    refuse('--keep-current and --grow are for disks that are replaced: they need --in-place.')
}

async function restore(
  opened: OpenRepository,
  point: PointRecord,
  options: RestoreCommandOptions,
  context: CommandContext,
): Promise<void> {
  const { to, inPlace, format = 'raw' } = options
  const heading = { schema: 1, point: point.id, machine: point.machine }
  if (inPlace !== undefined) {
    const report = await restoreDisksInPlace(opened, point, { ...options, inPlace }, context)
    context.output.result({ ...heading, ...report }, () => inPlaceSummary(report))
  }
  if (to !== undefined) {
    const files = await restorePoint(opened, point, { ...options, to, format }, context)
    context.output.result({ ...heading, files }, () =>
      files.map(({ path, sizeBytes }) => `${path}  ${formatBytes(sizeBytes)}`).join('\n'),
    )
  }
}

function collectLun(text: string, before: readonly number[] = []): number[] {
  return [...before, parseLun(text)]
}

async function restorePoint(
  opened: OpenRepository,
  point: PointRecord,
  options: FolderOptions,
  { output, signal }: CommandContext,
): Promise<RestoredFile[]> {
  const { to, format, threads } = options
  const disks = await chooseDisks(point, options.disk)
  const wanted = disks.map((disk) => ({ disk, name: `disk-${disk.lun}.${format}` }))
  await makeTargetFolder(to)
  await refuseExisting(to, [
    ...wanted.map(({ name }) => name),
    'machine.json',
    ...point.attachments.map(({ name }) => basename(name)),
  ])
  await checkFreeSpace(to, disks)
  const files: RestoredFile[] = []
  for (const { disk, name } of wanted) {
    const how = { format, signal, progress: output.progress, ...(threads === undefined ? {} : { threads }) }
    files.push(await restoreToFile(opened, disk, { folder: to, name }, how))
  }
  files.push(...(await writeAttachments(opened.repository, point, to)))
  files.push(await writeDescription(point, to))
  return files
}
