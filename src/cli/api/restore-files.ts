/** holdfast restore files: looks into a recovery point of a vault and brings files out, without restoring its disks. */
import { createWriteStream } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { Command, Option } from 'commander'
import { BaseError, isHoldfastError } from '#base'
import { CliError } from '../errors.ts'
import { printable } from '../printable.ts'
import { textTable } from '../text-table.ts'
import { type ApiContext, makeApiCommand, runApiCommand, type Shown } from './api-command.ts'
import { checkFree } from './download.ts'
import { choosePoint, type PointOptions, withPointOptions } from './restore-point.ts'
import { sizeCell, timeCell } from './words.ts'

type EntryJson = Readonly<{
  name: string
  kind: string
  sizeBytes: number
  mode: string
  userId: number
  groupId: number
  modifiedAt: string | null
  linkTarget?: string
  fileSystem?: string
  label?: string
  note?: string
}>
type ListingJson = Readonly<{ entry: EntryJson; value: readonly EntryJson[]; notes: readonly string[] }>
type DownloadJson = Readonly<{ url: string; expiresAt: string; entry: EntryJson }>
type GetOptions = PointOptions & Readonly<{ to?: string; format: string; force?: boolean }>
type ScriptOptions = PointOptions & Readonly<{ to?: string; force?: boolean }>
type ScriptsJson = Readonly<{ clientScripts: readonly Readonly<{ scriptContent: string; scriptNameSuffix: string }>[] }>

/** As az cuts a script's password out of its name. */
const PASSWORD_OFFSET = 33

export function restoreFilesCommand(): Command {
  return new Command('files')
    .summary('single files and folders of a recovery point')
    .description(
      'Lists and fetches what is on the disks of a recovery point. A path begins with a volume, as "ls /" names them. Nothing is ' +
        'mounted; links are shown and never followed.',
    )
    .addHelpText('after', '\nExamples:\n  holdfast restore files ls web1 / -g web -v vault1')
    .addCommand(listCommand())
    .addCommand(getCommand())
    .addCommand(scriptCommand())
    .addCommand(revokeCommand())
}

function listingTable({ entry, value }: ListingJson): string {
  const rows = (entry.kind === 'folder' ? value : [entry]).map((one) => [
    one.kind,
    one.mode,
    `${one.userId}:${one.groupId}`,
    one.kind === 'file' ? sizeCell(one.sizeBytes) : '-',
    timeCell(one.modifiedAt ?? undefined),
    printable(one.linkTarget === undefined ? one.name : `${one.name} -> ${one.linkTarget}`),
    printable([one.fileSystem, one.label, one.note].filter((text) => text !== undefined).join(' ')),
  ])
  return textTable(['KIND', 'MODE', 'OWNER', 'SIZE', 'MODIFIED (UTC)', 'NAME', ''], rows)
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'ls <machine> [path]',
    summary: 'what is in a folder; without a path the volumes',
    examples: [
      'holdfast restore files ls web1 -g web -v vault1',
      'holdfast restore files ls web1 /osp1/etc -g web -v vault1',
    ],
  })
  return withPointOptions(command).action((machine: string, path: string | undefined, options: PointOptions) =>
    runApiCommand(options, async (context): Promise<Shown> => {
      const point = await choosePoint(context, machine, options)
      const listing = (await context.client.ask('POST', `${point.path}/listFiles`, { path: path ?? '/' }))
        .body as ListingJson
      for (const note of listing.notes) context.output.note(`Note: ${printable(note)}`)
      return { value: listing, table: () => listingTable(listing) }
    }),
  )
}

/** What comes is a whole file, or no file. */
async function fetchTo({ client, output }: ApiContext, url: string, path: string): Promise<number> {
  const response = await client.http.open({ method: 'GET', url, headers: {}, signal: client.signal })
  const failed = (message: string): CliError =>
    new CliError('download_failed', message, { retry: 'later', hint: 'Run it again.' })
  if (response.statusCode !== 200) throw failed(`The server refused the file with status ${response.statusCode ?? 0}.`)
  const totalBytes = Number(response.headers['content-length'] ?? 0)
  const part = `${path}.holdfast-part`
  let doneBytes = 0
  response.on('data', (piece: Buffer) => {
    doneBytes += piece.length
    output.progress({ task: 'Fetching', doneBytes, totalBytes })
  })
  try {
    await pipeline(response, createWriteStream(part, { mode: 0o600, flush: true }), { signal: client.signal })
    if (totalBytes > 0 && doneBytes !== totalBytes) throw failed(`Only ${doneBytes} of ${totalBytes} bytes came.`)
    await rename(part, path)
    return doneBytes
  } catch (error) {
    await rm(part, { force: true })
    if (client.signal.aborted) throw new BaseError('cancelled', 'Fetching was ended.', { cause: error })
    throw isHoldfastError(error) ? error : failed('The connection broke.')
  }
}

function getCommand(): Command {
  const command = makeApiCommand({
    usage: 'get <machine> <path>',
    summary: 'a file; with --format tar or zip also a folder with all that is in it',
    examples: [
      'holdfast restore files get web1 /osp1/etc/fstab -g web -v vault1',
      'holdfast restore files get web1 /osp1/home --format tar --to home.tar -g web -v vault1',
    ],
  })
    .option('--to <file>', 'where to (default: its name, in this folder)')
    .option('--force', 'replace what is there')
    .addOption(new Option('--format <form>', 'how it comes').choices(['file', 'tar', 'zip']).default('file'))
  return withPointOptions(command).action((machine: string, path: string, options: GetOptions) =>
    runApiCommand(options, async (context): Promise<Shown> => {
      const point = await choosePoint(context, machine, options)
      const { format, force = false } = options
      const answer = await context.client.ask('POST', `${point.path}/downloadFiles`, { path, format })
      const { url, entry } = answer.body as DownloadJson
      const own = entry.name.replaceAll(/[/\0]/g, '_')
      const to = options.to ?? (format === 'file' ? own : `${own}.${format}`)
      await checkFree({ path: to, force, format: 'raw' })
      const bytes = await fetchTo(context, url, to)
      return { value: { path: to, bytes }, table: () => `${printable(to)}: ${bytes} bytes.` }
    }),
  )
}

function scriptCommand(): Command {
  const command = makeApiCommand({
    usage: 'script <machine>',
    summary: 'a Python script that brings files out on another Linux machine, for twelve hours',
    description:
      'The script needs Python 3 and this server’s address, and no login: whoever has it and its password may read the point until ' +
      'the twelve hours are over or the session is revoked.',
    examples: ['holdfast restore files script web1 -g web -v vault1'],
  })
    .option('--to <file>', 'where to (default: its own name, in this folder)')
    .option('--force', 'replace what is there')
  return withPointOptions(command).action((machine: string, options: ScriptOptions) =>
    runApiCommand(options, async (context): Promise<Shown> => {
      const { client } = context
      const free = (path: string): Promise<void> => checkFree({ path, force: options.force === true, format: 'raw' })
      // Before anything else: a new session ends the one that somebody may be using.
      if (options.to !== undefined) await free(options.to)
      const point = await choosePoint(context, machine, options)
      const properties = { objectType: 'IaasVMILRRegistrationRequest', recoveryPointId: point.name }
      await client.ask('POST', `${point.path}/provisionInstantItemRecovery`, { properties })
      const answer = await client.ask('POST', `${point.path}/listInstantItemRecoveryOperationResult`)
      const [script] = (answer.body as ScriptsJson).clientScripts
      if (script === undefined) throw new CliError('api_answer_invalid', 'The answer holds no script.')
      const { scriptNameSuffix: name } = script
      const at = name.lastIndexOf('_') + PASSWORD_OFFSET
      const password = name.slice(at)
      const path = options.to ?? `${name.slice(0, at)}.py`
      if (options.to === undefined) await free(path)
      const text = Buffer.from(script.scriptContent, 'base64').toString('utf8')
      await writeFile(path, text.replace(`TargetPassword="${password}"`, 'TargetPassword="UserInput012345"'), {
        mode: 0o600,
      })
      return {
        value: { path, password },
        table: () => `python3 ${path} shell\nIts password: ${password}`,
      }
    }),
  )
}

function revokeCommand(): Command {
  const command = makeApiCommand({
    usage: 'revoke <machine>',
    summary: 'ends the session of the script',
    examples: ['holdfast restore files revoke web1 -g web -v vault1'],
  })
  return withPointOptions(command).action((machine: string, options: PointOptions) =>
    runApiCommand(options, async (context): Promise<undefined> => {
      const point = await choosePoint(context, machine, options)
      await context.client.ask('POST', `${point.path}/revokeInstantItemRecovery`, {})
      return undefined
    }),
  )
}
