/** holdfast repo files: looks into the file systems on a point's disks, and brings single files and folders out. */
import { once } from 'node:events'
import { Argument, type Command } from 'commander'
import type { DiskContents, OpenedFileSystem } from '#engine/transfer'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { parseCount } from '../count.ts'
import { CliError } from '../errors.ts'
import { printable } from '../printable.ts'
import { chooseDisk, parseLun } from './choose-disk.ts'
import { contentsJson, contentsText, entriesText, entryJson, extractedText } from './file-listing.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'
import { whileReading } from './reading.ts'
import { makeTargetFolder } from './target-folder.ts'

type FilesCommandOptions = RepoOptions &
  Readonly<{ disk?: number; partition?: number; machine?: string; to?: string; owners?: boolean }>
type Place = Readonly<{ fileSystem: OpenedFileSystem; path: string }>

export function filesCommand(): Command {
  return makeRepoCommand({
    usage: 'files <store> <point>',
    summary: 'list files on a disk of a point, and bring them out',
    description:
      '"ls" lists a folder, or without a path what file systems the disk has. "get" writes a file to stdout, or with --to a ' +
      'file or a folder with all that is in it into a folder of this host. Links are shown and never followed; nothing is ' +
      'mounted and nothing of the guest runs.',
    examples: [
      'holdfast repo files /srv/backup latest ls',
      'holdfast repo files /srv/backup latest --disk 0 --partition 1 ls /etc',
      'holdfast repo files /srv/backup latest get /etc/fstab',
      'holdfast repo files /srv/backup 4f1c get /home/ada --to /tmp/ada',
    ],
  })
    .addArgument(new Argument('<action>', 'what to do').choices(['ls', 'get']))
    .argument('[path]', 'path in the file system')
    .option('-d, --disk <lun>', 'the disk; may be left out if there is one only', parseLun)
    .option('-p, --partition <number>', 'the partition; may be left out if one only can be read', parseCount)
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
            const disk = await chooseDisk(point, options.disk)
            const source = await openVersion(repository, disk, { store: descriptor })
            try {
              await whileReading(repository, `files of ${point.id}`, async () => {
                const contents = await openFileSystems(source)
                if (action === 'ls') await list(contents, path, options, context)
                else await get(choose(contents, path ?? '/', options), options, context)
              })
            } finally {
              await source.close()
            }
          })
        }),
    )
}

/** @throws usage_invalid when it is not clear which file system is meant */
function choose({ fileSystems, refused }: DiskContents, path: string, { partition }: FilesCommandOptions): Place {
  const named = fileSystems.filter((candidate) => partition === undefined || candidate.partition.number === partition)
  const [fileSystem] = named
  if (named.length === 1 && fileSystem !== undefined) return { fileSystem, path }
  const refusal = refused.find((other) => partition === undefined || other.partition.number === partition)
  const facts = { partitions: fileSystems.map((candidate) => String(candidate.partition.number)) }
  if (named.length > 1)
    throw new CliError(
      'usage_invalid',
      `${named.length} partitions of the disk can be read; name one with --partition.`,
      { facts },
    )
  const why = refusal === undefined ? 'There is no such partition.' : refusal.refusal
  throw new CliError('usage_invalid', `No file system can be read there. ${why}`, {
    facts,
    hint: 'See what is on the disk with "ls" and no path; or restore or serve the whole disk.',
  })
}

async function list(
  contents: DiskContents,
  path: string | undefined,
  options: FilesCommandOptions,
  { output }: CommandContext,
): Promise<void> {
  if (path === undefined && options.partition === undefined) {
    output.result(contentsJson(contents), () => contentsText(contents))
    return
  }
  const { fileSystem, path: wanted } = choose(contents, path ?? '/', options)
  const { root, partition, notes } = fileSystem
  const entry = await root.stat(wanted)
  const entries = entry.kind === 'folder' ? await root.list(wanted) : [entry]
  for (const note of notes) output.note(`Note: ${printable(note)}`)
  output.result({ schema: 1, partition: partition.number, path: wanted, notes, entries: entries.map(entryJson) }, () =>
    entriesText(entries),
  )
}

async function get(
  { fileSystem, path }: Place,
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
