/** holdfast disk|snapshot export: the bytes as a file here. */
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { formatBytes } from '#base'
import { type ApiContext, makeApiCommand, runApiCommand, type Shown } from './api-command.ts'
import { type GroupOptions, idOf, withGroupOption } from './targets.ts'

type ExportOptions = GroupOptions & Readonly<{ to: string; format: 'vhd' | 'raw'; force?: boolean }>

export type Exported = Readonly<{
  type: string
  word: string
  description: string
  examples: readonly [string, string]
}>

export function exportCommand({ type, word, description, examples }: Exported): Command {
  const command = makeApiCommand({
    usage: 'export <name>',
    summary: `the bytes of a ${word} as a file here`,
    description,
    examples,
  })
    .requiredOption('--to <file>', 'where to write it')
    .addOption(new Option('--format <format>', 'of the file').choices(['vhd', 'raw']).default('vhd'))
    .option('--force', 'replace a file that exists')
  return withGroupOption(command).action((name: string, options: ExportOptions) =>
    runApiCommand(options, (context) => exportTo(context, type, name, options)),
  )
}

async function exportTo(context: ApiContext, type: string, name: string, options: ExportOptions): Promise<Shown> {
  const { checkFree, downloadImage } = await import('./download.ts')
  const { withReadAccess } = await import('./signed-access.ts')
  const target = { path: resolve(options.to), format: options.format, force: options.force === true }
  await checkFree(target)
  const id = await idOf(context, name, type, options)
  const { client, output } = context
  const made = await withReadAccess(context, id, (url) => downloadImage(client, url, target, output.progress))
  const { path, format, sizeBytes, fetchedBytes } = made
  const words = `${path}: ${formatBytes(sizeBytes)} as ${format}, of which ${formatBytes(fetchedBytes)} hold something.`
  return { value: { id, ...made }, table: () => words }
}
