/** holdfast repo restore: disks of a recovery point as image files, and the machine's description beside them. */
import { basename } from 'node:path'
import { formatBytes } from '#base'
import { type Command, Option } from 'commander'
import type { PointRecord } from '#engine/repository'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { chooseDisks, parseLun } from './choose-disk.ts'
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

type RestoreCommandOptions = RepoOptions &
  Readonly<{ to: string; disk?: number[]; format: RestoreFormat; machine?: string; threads?: number }>

export function restoreCommand(): Command {
  return makeRepoCommand({
    usage: 'restore <store> <point>',
    summary: 'bring disks of a point back as image files',
    description:
      'Writes disk-<lun>.<format> for every disk and machine.json with what is known of the machine. Every chunk is checked ' +
      'before it is written; a file gets its name only when it is whole and durable. Nothing that exists is replaced.',
    examples: [
      'holdfast repo restore /srv/backup latest --machine web1 --to /images/web1-restored --format qcow2',
      'holdfast repo restore /srv/backup 4f1c --disk 1 --to /tmp/data-disk',
    ],
  })
    .requiredOption('-t, --to <folder>', 'folder to write into; made if missing')
    .option('-d, --disk <lun>', 'only this disk; may be repeated', collectLun)
    .addOption(new Option('-f, --format <format>', 'format of the files').choices(RESTORE_FORMATS).default('raw'))
    .option('--machine <name>', 'look among the points of this machine only')
    .option('--threads <count>', 'threads that read and write (default: by the number of processors)', parseCount)
    .action((location: string, selector: string, options: RestoreCommandOptions) =>
      runCommandHandler(options, (context) =>
        withRepository(location, options, context, async (opened) => {
          const point = opened.repository.findPoint(selector, options.machine)
          const files = await whileReading(opened.repository, `restore of ${point.id}`, () =>
            restorePoint(opened, point, options, context),
          )
          context.output.result({ schema: 1, point: point.id, machine: point.machine, files }, () =>
            files.map(({ path, sizeBytes }) => `${path}  ${formatBytes(sizeBytes)}`).join('\n'),
          )
        }),
      ),
    )
}

function collectLun(text: string, before: readonly number[] = []): number[] {
  return [...before, parseLun(text)]
}

async function restorePoint(
  opened: OpenRepository,
  point: PointRecord,
  options: RestoreCommandOptions,
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
