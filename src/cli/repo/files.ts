/** holdfast repo files: looks into the file systems on a point's disks, and brings single files and folders out. */
import { once } from 'node:events'
import { Argument, type Command } from 'commander'
import type { BlockSource } from '#engine/block'
import type { DiskRecord, Repository, StoreDescriptor } from '#engine/repository'
import type { DiskContents, NamedDisk, OpenedFileSystem, RefusedFileSystem } from '#engine/transfer'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { printable } from '../printable.ts'
import { chooseDisks, parseLun } from './choose-disk.ts'
import { contentsJson, contentsText, entriesText, entryJson, extractedText } from './file-listing.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'
import { whileReading } from './reading.ts'
import { makeTargetFolder } from './target-folder.ts'

type FilesCommandOptions = RepoOptions &
  Readonly<{ disk?: number; partition?: number; volume?: string; machine?: string; to?: string; owners?: boolean }>
type FilePlace = Readonly<{ fileSystem: OpenedFileSystem; path: string }>

export function filesCommand(): Command {
  return makeRepoCommand({
    usage: 'files <store> <point>',
    summary: 'list files on the disks of a point, and bring them out',
    description:
      '"ls" lists a folder, or without a path what file systems the disks hold: on partitions, in LVM volume groups, on ' +
      'software RAID, also over several disks. "get" writes a file to stdout, or with --to a file or a folder with all that ' +
      'is in it into a folder of this host. Links are shown and never followed; nothing is mounted and nothing of the guest ' +
      'runs. Read are ext2/3/4, XFS, Btrfs, NTFS and FAT.',
    examples: [
      'holdfast repo files /srv/backup latest ls',
      'holdfast repo files /srv/backup latest --disk 0 --partition 1 ls /etc',
      'holdfast repo files /srv/backup latest get /etc/fstab',
      'holdfast repo files /srv/backup latest --volume rhel/root ls /var/log',
      'holdfast repo files /srv/backup 4f1c get /home/ada --to /tmp/ada',
    ],
  })
    .addArgument(new Argument('<action>', 'what to do').choices(['ls', 'get']))
    .argument('[path]', 'path in the file system')
    .option('-d, --disk <lun>', 'look at this disk only; default: all disks of the point together', parseLun)
    .option('-p, --partition <number>', 'the partition; may be left out if one only can be read', parseCount)
    .option('--volume <name>', 'the volume as "ls" shows it: lun0p1, vg0/home, md/data')
    .option('-t, --to <folder>', 'folder to bring files into; made if missing')
    .option('--no-owners', 'do not give files to the owners that they had in the guest')
    .option('--machine <name>', 'look among the points of this machine only')
    .action(
      (
        location: string,
        selector: string,
        action: 'ls' | 'get',
        path: string | undefined,
        options: FilesCommandOptions,
      ) =>
        runCommandHandler(options, async (context) => {
          if (action === 'get' && path === undefined)
            throw new CliError('usage_invalid', 'Name the file or folder to get.')
          if (action === 'get' && options.to === undefined && options.output === 'json')
            throw new CliError('usage_invalid', 'A file on stdout cannot be JSON: name a folder with --to.')
          await withRepository(location, options, context, async ({ repository, descriptor }) => {
            const { openFileSystems, openVersion } = await import('#engine/transfer')
            const point = repository.findPoint(selector, options.machine)
            const disks = await chooseDisks(point, options.disk === undefined ? undefined : [options.disk])
            await withDisks(repository, descriptor, disks, openVersion, async (named) => {
              await whileReading(repository, `files of ${point.id}`, async () => {
                const contents = await openFileSystems(named)
                if (action === 'ls') await list(contents, path, options, context)
                else await get(choose(contents, path ?? '/', options), options, context)
              })
            })
          })
        }),
    )
}

type OpenVersion = (
  repository: Repository,
  disk: DiskRecord,
  options: Readonly<{ store: StoreDescriptor }>,
) => Promise<BlockSource>

/** All disks open at once, since a volume may lie on several of them. */
async function withDisks(
  repository: Repository,
  store: StoreDescriptor,
  disks: readonly DiskRecord[],
  openVersion: OpenVersion,
  work: (named: readonly NamedDisk[]) => Promise<void>,
): Promise<void> {
  const named: NamedDisk[] = []
  try {
    for (const disk of disks)
      named.push({ name: `lun${disk.lun}`, source: await openVersion(repository, disk, { store }) })
    await work(named)
  } finally {
    for (const { source } of named) await source.close()
  }
}

function isMeant(
  { partition, volume }: OpenedFileSystem | RefusedFileSystem,
  options: Pick<FilesCommandOptions, 'partition' | 'volume'>,
): boolean {
  if (options.volume !== undefined) return volume === options.volume
  return options.partition === undefined || partition.number === options.partition
}

/** @throws usage_invalid when it is not clear which file system is meant */
function choose({ fileSystems, refused }: DiskContents, path: string, options: FilesCommandOptions): FilePlace {
  const named = fileSystems.filter((candidate) => isMeant(candidate, options))
  const [fileSystem] = named
  if (named.length === 1 && fileSystem !== undefined) return { fileSystem, path }
  const refusal = refused.find((other) => isMeant(other, options))
  const facts = { volumes: fileSystems.map(({ volume }) => volume) }
  if (named.length > 1)
    throw new CliError(
      'usage_invalid',
      `${named.length} file systems can be read there; name one with --volume, or with --partition.`,
      { facts },
    )
  const why = refusal === undefined ? 'There is no such partition or volume.' : refusal.refusal
  throw new CliError('usage_invalid', `No file system can be read there. ${why}`, {
    facts,
    hint: 'See what the disks hold with "ls" and no path; or restore or serve the whole disk.',
  })
}

async function list(
  contents: DiskContents,
  path: string | undefined,
  options: FilesCommandOptions,
  { output }: CommandContext,
): Promise<void> {
  if (path === undefined && options.partition === undefined && options.volume === undefined) {
    output.result(contentsJson(contents), () => contentsText(contents))
    return
  }
  const { fileSystem, path: wanted } = choose(contents, path ?? '/', options)
  const { root, partition, volume, notes } = fileSystem
  const entry = await root.stat(wanted)
  const entries = entry.kind === 'folder' ? await root.list(wanted) : [entry]
  for (const note of notes) output.note(`Note: ${printable(note)}`)
  const facts = { schema: 1, volume, partition: partition.number, path: wanted, notes }
  output.result({ ...facts, entries: entries.map(entryJson) }, () => entriesText(entries))
}

async function get(
  { fileSystem, path }: FilePlace,
  { to, owners }: FilesCommandOptions,
  { output, signal }: CommandContext,
): Promise<void> {
  if (to === undefined) return writeToStdout(fileSystem, path, signal)
  const { extractFiles } = await import('#engine/transfer')
  await makeTargetFolder(to)
  const extracted = await extractFiles(fileSystem.root, path, {
    targetFolder: to,
    fileSystemBytes: fileSystem.partition.sizeBytes,
    progress: output.progress,
    signal,
    ...(owners === false ? { restoresOwners: false } : {}),
  })
  const { files, folders, links, bytes, skipped } = extracted
  output.result({ schema: 1, files, folders, links, bytes, skipped }, () => extractedText(extracted))
}

async function writeToStdout({ root }: OpenedFileSystem, path: string, signal: AbortSignal): Promise<void> {
  const { kind } = await root.stat(path)
  if (kind !== 'file')
    throw new CliError('usage_invalid', `${printable(path)} is a ${kind}: name a folder to bring it into with --to.`)
  for await (const bytes of root.readFile(path)) {
    signal.throwIfAborted()
    if (!process.stdout.write(bytes)) await once(process.stdout, 'drain', { signal })
  }
}
