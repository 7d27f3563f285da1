/** holdfast machine run-command, console, screenshot: into a machine without a network. */
import { readFile, writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { buffer } from 'node:stream/consumers'
import { errnoOf } from '#base'
import { CliError } from '../errors.ts'
import { printable } from '../printable.ts'
import { type ApiContext, type ApiOptions, follow, makeApiCommand, runApiCommand, type Shown } from './api-command.ts'
import { MACHINE_TYPE } from './machine-kind.ts'
import { type GroupOptions, idOf, withGroupOption } from './targets.ts'

type RunOptions = GroupOptions & Readonly<{ script?: readonly string[]; file?: string; parameters?: readonly string[] }>
type Ran = Readonly<{ value?: readonly Readonly<{ message?: string }>[] }>

async function scriptOf({ script, file }: RunOptions): Promise<readonly string[]> {
  if ((script === undefined) === (file === undefined))
    throw new CliError('usage_invalid', 'Say either --script or --file.')
  return script ?? (await readFile(file ?? '', 'utf8')).split('\n')
}

function parameterOf(pair: string, at: number): Readonly<{ name: string; value: string }> {
  const equals = pair.indexOf('=')
  return equals < 1
    ? { name: `arg${at + 1}`, value: pair }
    : { name: pair.slice(0, equals), value: pair.slice(equals + 1) }
}

/** Line breaks and tabs stay, everything else that could steer a terminal is shown as it is written. */
function printableText(text: string): string {
  return text
    .split('\n')
    .map((line) => line.split('\t').map(printable).join('\t'))
    .join('\n')
}

async function run(context: ApiContext, name: string, options: RunOptions): Promise<Shown> {
  const id = await idOf(context, name, MACHINE_TYPE, options)
  const parameters = (options.parameters ?? []).map(parameterOf)
  const body = { commandId: 'RunShellScript', script: await scriptOf(options), parameters }
  const answer = await context.client.ask('POST', `${id}/runCommand`, body)
  const ran = (await follow(context, answer, `Running a command in ${name}`)).output as Ran
  const text = (ran.value ?? []).map(({ message = '' }) => message).join('\n')
  return { value: ran, table: () => printableText(text) }
}

export function runCommandCommand(): Command {
  const command = makeApiCommand({
    usage: 'run-command <name>',
    summary: 'run a shell script in the guest, through its agent',
    description:
      'The script runs as root and only once. What it wrote is shown, the last 4096 bytes of each of its outputs.',
    examples: [
      'holdfast machine run-command web1 -g web --script "uptime" "df -h"',
      'holdfast machine run-command web1 -g web --file fix.sh --parameters level=3',
    ],
  })
    .option('--script <line...>', 'its lines')
    .option('--file <file>', 'the script')
    .option('--parameters <name=value...>', 'variables of the script, and its arguments in their order')
  return withGroupOption(command).action((name: string, options: RunOptions) =>
    runApiCommand(options, (context) => run(context, name, options)),
  )
}

type Diagnostics = Readonly<{ consoleScreenshotBlobUri: string; serialConsoleLogBlobUri: string }>

async function fetched({ client }: ApiContext, id: string, field: keyof Diagnostics): Promise<Buffer> {
  const answer = await client.ask('POST', `${id}/retrieveBootDiagnosticsData`)
  const url = (answer.body as Diagnostics)[field]
  const response = await client.http.open({ method: 'GET', url, headers: {}, signal: client.signal })
  const bytes = await buffer(response)
  if (response.statusCode === 200) return bytes
  const code = String(response.headers['x-ms-error-code'] ?? '')
  throw new CliError('download_failed', `It was refused with status ${response.statusCode}.`, {
    facts: { code },
    retry: 'later',
    hint: 'A machine has a screen only while it runs.',
  })
}

export function consoleCommand(): Command {
  const command = makeApiCommand({
    usage: 'console <name>',
    summary: 'what the guest wrote to its serial port',
    examples: ['holdfast machine console web1 -g web'],
  })
  return withGroupOption(command).action((name: string, options: GroupOptions) =>
    runApiCommand(options, async (context) => {
      const id = await idOf(context, name, MACHINE_TYPE, options)
      const text = (await fetched(context, id, 'serialConsoleLogBlobUri')).toString('utf8')
      return { value: { log: text }, table: () => printableText(text.replaceAll('\r', '')).trimEnd() }
    }),
  )
}

async function writeNew(path: string, bytes: Buffer, force: boolean): Promise<void> {
  try {
    await writeFile(path, bytes, { flag: force ? 'w' : 'wx' })
  } catch (cause) {
    if (errnoOf(cause) !== 'EEXIST') throw cause
    throw new CliError('usage_invalid', `There is a file ${path} already.`, {
      cause,
      hint: 'Say --force to replace it.',
    })
  }
}

export function screenshotCommand(): Command {
  const command = makeApiCommand({
    usage: 'screenshot <name>',
    summary: 'the guest’s screen as a PNG file',
    examples: ['holdfast machine screenshot web1 -g web --to web1.png'],
  })
    .requiredOption('-t, --to <file>', 'the file')
    .option('--force', 'replace a file that is there')
  return withGroupOption(command).action(
    (name: string, options: GroupOptions & ApiOptions & Readonly<{ to: string; force?: boolean }>) =>
      runApiCommand(options, async (context) => {
        const id = await idOf(context, name, MACHINE_TYPE, options)
        const bytes = await fetched(context, id, 'consoleScreenshotBlobUri')
        await writeNew(options.to, bytes, options.force === true)
        return { value: { path: options.to, sizeBytes: bytes.length }, table: () => `Written to ${options.to}.` }
      }),
  )
}
