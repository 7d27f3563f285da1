/** holdfast disk import|export|adopt: bytes that come from outside, go there, or stay where they are. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { messageOf } from '#base'
import { CliError } from '../errors.ts'
import {
  type ApiContext,
  makeApiCommand,
  runApiCommand,
  type Shown,
  type WaitOptions,
  withWaitOption,
} from './api-command.ts'
import { DISK } from './disk-kind.ts'
import { exportCommand } from './export-command.ts'
import { change } from './one-or-many.ts'
import { DISK_TYPE, type GroupOptions, idOf, locationFor, readTagOptions, withGroupOption } from './targets.ts'

type MakeOptions = WaitOptions &
  GroupOptions &
  Readonly<{ location?: string; osType?: string; tags?: readonly string[] }>
type ImportOptions = MakeOptions & Readonly<{ urlFile?: string; format?: 'raw' | 'vhd' }>
type AdoptOptions = MakeOptions &
  Readonly<{ file: string; format?: 'raw' | 'qcow2'; machine?: string; qmp?: string; qga?: string }>

function withMakeOptions(command: Command): Command {
  const more = command
    .option('-l, --location <region>', "its region (default: the usual one, else the group's)")
    .option('--os-type <type>', 'Linux or Windows')
    .option('--tags <name=value...>', 'its tags')
  return withWaitOption(withGroupOption(more))
}

async function commonFields(context: ApiContext, options: MakeOptions) {
  const tags = readTagOptions(options.tags)
  return { location: await locationFor(context, options), ...(tags !== undefined && { tags }) }
}

type Source = Readonly<{ kind: 'uri'; uri: string }> | Readonly<{ kind: 'file'; path: string }>

/** A URL that opens something by itself is a secret, and every user of the host can read a command line. */
function checkedUrl(text: string): string {
  const url = URL.parse(text)
  if (url === null) throw new CliError('usage_invalid', `"${text}" is no URL.`)
  if (url.username === '' && url.password === '' && !/[?&](sig|signature|token|x-amz-signature)=/i.test(url.search))
    return text
  throw new CliError(
    'usage_invalid',
    'The URL holds a signature or password, which does not belong on a command line.',
    {
      hint: 'Write it to a file and name that with --url-file.',
    },
  )
}

/** @throws CliError `usage_invalid`, `key_file_unreadable` */
async function readSource(source: string | undefined, urlFile: string | undefined): Promise<Source> {
  if ((source === undefined) === (urlFile === undefined))
    throw new CliError('usage_invalid', 'Either a source or --url-file is needed.')
  if (urlFile !== undefined) {
    const uri = await readFile(urlFile, 'utf8').catch((cause: unknown) => {
      const message = `The file ${urlFile} cannot be read: ${messageOf(cause)}`
      throw new CliError('key_file_unreadable', message, { facts: { path: urlFile }, cause })
    })
    return { kind: 'uri', uri: uri.trim() }
  }
  const text = source ?? ''
  if (/^(https?|file):\/\//.test(text)) return { kind: 'uri', uri: checkedUrl(text) }
  return { kind: 'file', path: resolve(text) }
}

export function importCommand(): Command {
  const command = makeApiCommand({
    usage: 'import <name> [source]',
    summary: 'make a disk of an image: a file here, a file of the server, a URL',
    description:
      'A path is uploaded from here: a raw image or a fixed VHD. file:///... names a file of the server in one of its import ' +
      'folders, https://... what it fetches from a host that is allowed; there qcow2, VHD, VHDX and VMDK are read too.',
    examples: [
      'holdfast disk import data1 ./data.vhd -g web',
      'holdfast disk import data1 file:///srv/import/data.qcow2 -g web',
      'holdfast disk import data1 --url-file ./url.txt -g web',
    ],
  })
    .option('--url-file <path>', 'file that holds the URL, for one with a signature')
    .addOption(
      new Option('--format <format>', 'of a file here (default: what its last bytes say)').choices(['raw', 'vhd']),
    )
  return withMakeOptions(command).action((name: string, source: string | undefined, options: ImportOptions) =>
    runApiCommand(options, async (context) => {
      const from = await readSource(source, options.urlFile)
      const id = await idOf(context, name, DISK_TYPE, options)
      if (from.kind === 'file') return upload(context, id, from.path, options)
      const { osType } = options
      const creationData = { createOption: 'Import', sourceUri: from.uri }
      const properties = { creationData, ...(osType !== undefined && { osType }) }
      const body = { ...(await commonFields(context, options)), properties }
      return change(context, DISK, options, { method: 'PUT', id, body, doing: 'Importing' })
    }),
  )
}

async function upload(
  context: ApiContext,
  id: string,
  path: string,
  options: ImportOptions,
): Promise<Shown | undefined> {
  const { openUpload, sendUpload } = await import('./upload.ts')
  const image = await openUpload(path, options.format)
  try {
    const { osType } = options
    const creationData = { createOption: 'Upload', uploadSizeBytes: image.uploadSizeBytes }
    const properties = { creationData, ...(osType !== undefined && { osType }) }
    const body = { ...(await commonFields(context, options)), properties }
    await change(context, DISK, { ...options, wait: true }, { method: 'PUT', id, body, doing: 'Creating' })
    return await sendUpload(context, id, image, options)
  } finally {
    await image.close()
  }
}

export function exportDiskCommand(): Command {
  return exportCommand({
    type: DISK_TYPE,
    word: 'disk',
    description:
      'Writes the bytes of a disk that no running machine has to a file here. Of a running machine: take a snapshot and export that.',
    examples: [
      'holdfast disk export data1 -g web --to data1.vhd',
      'holdfast disk export data1 -g web --to d.img --format raw',
    ],
  })
}

export function adoptCommand(): Command {
  const command = makeApiCommand({
    usage: 'adopt <name>',
    summary: 'make a disk of an image file of the server, where it lies',
    description:
      'The file is not copied, and stays when the disk is deleted. It must lie in a folder that the server allows. With --machine ' +
      'and --qmp the disk belongs to a QEMU that others started. Takes an administrator of the whole server.',
    examples: [
      'holdfast disk adopt data1 -g web --file /srv/images/data1.qcow2',
      'holdfast disk adopt data1 -g web --file /srv/images/data1.qcow2 --machine web1 --qmp /run/web1.qmp',
    ],
  })
    .requiredOption('--file <path>', 'absolute path on the server')
    .addOption(new Option('--format <format>', 'of the file (default: what its bytes say)').choices(['raw', 'qcow2']))
    .option('--machine <name>', 'the machine that has it')
    .option('--qmp <socket>', "that machine's monitor")
    .option('--qga <socket>', "that machine's guest agent")
  return withMakeOptions(command).action((name: string, options: AdoptOptions) =>
    runApiCommand(options, async (context) => {
      const { file, format, osType, machine, qmp, qga } = options
      if ((machine === undefined) !== (qmp === undefined))
        throw new CliError('usage_invalid', '--machine and --qmp belong together.')
      const id = await idOf(context, name, DISK_TYPE, options)
      const body = {
        ...(await commonFields(context, options)),
        path: resolve(file),
        ...(format !== undefined && { format }),
        ...(osType !== undefined && { osType }),
        ...(machine !== undefined && { machine: { name: machine, qmp, ...(qga !== undefined && { agent: qga }) } }),
      }
      return change(context, DISK, options, { method: 'POST', id, path: `${id}/adopt`, body, doing: 'Adopting' })
    }),
  )
}
