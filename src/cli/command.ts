/**
 * What every command shares: the options `--output`, `--quiet`, examples in its help, one way of running that turns
 * whatever happens into words and an exit code, and cancellation. The first Ctrl-C (or SIGTERM) cancels: what was begun
 * is given up in order; the second one ends the program at once.
 */
import { Command, Option } from 'commander'
import { BaseError, errnoOf, HoldfastError, isHoldfastError, messageOf } from '#base'
import { CliError } from './errors.ts'
import { EXIT, exitCodeOf } from './exit-code.ts'
import { Output, type OutputFormat } from './output.ts'

export type CommandContext = Readonly<{ output: Output; signal: AbortSignal }>
export type SharedOptions = Readonly<{ output: OutputFormat; quiet?: boolean }>

export type CommandText = Readonly<{
  /** Name and arguments, as commander writes them: "list <store>". */
  usage: string
  summary: string
  /** What the command does and promises, for its help. */
  description?: string
  /** At least one line that can be pasted. */
  examples: readonly [string, ...string[]]
}>

/** A command with the shared options and its examples. */
export function makeCommand(text: CommandText): Command {
  return makeBareCommand(text)
    .addOption(new Option('-o, --output <format>', 'form of the result').choices(['text', 'json']).default('text'))
    .option('-q, --quiet', 'no progress')
}

/** A command with its words and examples, and no option yet. */
export function makeBareCommand(text: CommandText): Command {
  const [name = '', ...args] = text.usage.split(' ')
  const command = new Command(name)
  for (const arg of args) command.argument(arg)
  return command
    .summary(text.summary)
    .description(text.description ?? `${text.summary}.`)
    .addHelpText('after', `\nExamples:\n${text.examples.map((example) => `  ${example}`).join('\n')}`)
}

/** Runs `handler`; a number that it gives is the exit code. Never throws. */
export async function runCommandHandler(
  options: SharedOptions,
  handler: (context: CommandContext) => Promise<number | void>,
): Promise<void> {
  const output = new Output(options.output, options.quiet !== true)
  const { signal, release } = cancelOnSignals(output)
  try {
    process.exitCode = (await handler({ output, signal })) ?? EXIT.ok
  } catch (error) {
    const shown = signal.aborted && !isDamage(error) ? cancelled(error) : presentable(error)
    output.error(shown)
    process.exitCode = exitCodeOf(shown)
  } finally {
    output.endProgress()
    release()
  }
}

/** Whatever broke off because of the cancellation is that; damage stays damage. */
function isDamage(error: unknown): boolean {
  return exitCodeOf(error) === EXIT.damage
}

function cancelled(cause: unknown): HoldfastError {
  return isHoldfastError(cause, 'cancelled') ? cause : new BaseError('cancelled', 'Cancelled.', { cause })
}

/** What was thrown as a HoldfastError. What the system refused keeps its words (EACCES: ...); a fault of ours keeps its stack for the report of it. */
export function presentable(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error
  const errno = errnoOf(error)
  if (errno !== undefined && /^E[A-Z0-9]+$/.test(errno)) {
    const hint = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'Free space there and try again.' : undefined
    return new CliError('system_error', `The system refused: ${messageOf(error)}`, {
      facts: { errno },
      hint,
      cause: error,
    })
  }
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  return new CliError('internal_error', `Holdfast made a mistake: ${messageOf(error)}`, {
    facts: { stack },
    hint: `Please report it with this:\n${stack}`,
    cause: error,
  })
}

function cancelOnSignals(output: Output): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController()
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.cancelled)
    output.note('Ending in order; once more ends at once.')
    controller.abort()
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, onSignal)
  const release = (): void => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, onSignal)
  }
  return { signal: controller.signal, release }
}
