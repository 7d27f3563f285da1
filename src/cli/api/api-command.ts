/**
 * What every command over the API shares: `--output`, `--query`, the server, the defaults, and how a change is followed.
 * JSON is what the API gives, so scripts can rely on it; tables are for people.
 */
import { type Command, Option } from 'commander'
import { systemClock } from '#runtime'
import { type CommandContext, type CommandText, makeBareCommand, runCommandHandler } from '../command.ts'
import type { ApiClient } from './api-client.ts'
import { type Defaults, effectiveDefaults } from './defaults.ts'
import { begunBy, type Followed, followOperation } from './follow-operation.ts'
import type { HttpAnswer } from './https.ts'
import { applyQuery } from './query.ts'
import { anyTable, tsv } from './render.ts'

export const API_FORMATS = ['table', 'json', 'yaml', 'tsv'] as const
export type ApiFormat = (typeof API_FORMATS)[number]

export type ApiOptions = Readonly<{ output: ApiFormat; query?: string; quiet?: boolean; home?: string }>
export type WaitOptions = ApiOptions & Readonly<{ wait: boolean }>

/** A result: what the API gave, and how it reads as a table. */
export type Shown = Readonly<{ value: unknown; table: () => string }>

export type ApiContext = CommandContext & Readonly<{ client: ApiClient; defaults: Defaults }>

export function makeApiCommand(text: CommandText): Command {
  return makeBareCommand(text)
    .addOption(new Option('-o, --output <format>', 'form of the result').choices(API_FORMATS).default('table'))
    .option('--query <jmespath>', 'what of the result to show')
    .option('-q, --quiet', 'no progress')
    .option('--home <folder>', "the server's folder (default: HOLDFAST_ENDPOINT, else HOLDFAST_HOME or its default)")
}

/** @param follower the command that waits for the end of what this one begins */
export function withWaitOption(command: Command, follower = 'holdfast operation watch'): Command {
  return command.option('--no-wait', `do not wait for the end; "${follower}" does`)
}

async function render({ value, table }: Shown, { output, query }: ApiOptions): Promise<[unknown, string]> {
  const queried = query === undefined ? value : await applyQuery(value, query)
  const shown = queried ?? null
  if (output === 'json') return [shown, '']
  if (output === 'tsv') return [shown, tsv(shown)]
  if (output === 'table') return [shown, query === undefined ? table() : anyTable(shown)]
  const { stringify } = await import('yaml')
  return [shown, shown === null ? '' : stringify(shown).trimEnd()]
}

/** Runs a command over the API and shows what it gave; nothing where it gave nothing. */
export function runApiCommand(
  options: ApiOptions,
  handler: (context: ApiContext) => Promise<Shown | undefined>,
): Promise<void> {
  const shared = { output: options.output === 'json' ? ('json' as const) : ('text' as const) }
  return runCommandHandler({ ...shared, quiet: options.quiet === true }, async (context) => {
    const defaults = await effectiveDefaults(process.env)
    const { ApiClient } = await import('./api-client.ts')
    const { findServer } = await import('./find-server.ts')
    const client = new ApiClient(await findServer(options.home, process.env), {
      clock: systemClock,
      signal: context.signal,
    })
    try {
      const shown = await handler({ ...context, client, defaults })
      if (shown === undefined) return
      const [value, text] = await render(shown, options)
      context.output.result(value, () => text)
    } finally {
      client.close()
    }
  })
}

/** Follows what an answer began. @param task what is done, for people: "Creating disk d1" */
export function follow({ client, output }: ApiContext, answer: HttpAnswer, task: string): Promise<Followed> {
  return followOperation({ client, task, progress: output.progress }, answer)
}

/**
 * The end of a change: with `--no-wait` what was begun, else its result when it is over.
 * @param show the finished thing, asked for anew
 */
export async function conclude(
  context: ApiContext,
  options: WaitOptions,
  answer: HttpAnswer,
  change: Readonly<{ task: string; show: () => Promise<Shown | undefined> }>,
): Promise<Shown | undefined> {
  if (options.wait) {
    await follow(context, answer, change.task)
    return change.show()
  }
  const begun = begunBy(answer)
  const { operation } = begun
  const words = operation === null ? `${change.task}: done.` : `${change.task}: goes on as operation ${operation}.`
  return { value: begun, table: () => words }
}
