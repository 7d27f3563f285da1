/** Parses the command line and runs one command. Parts load when a command needs them. */
import { CommanderError } from 'commander'
import { errnoOf } from '#base'
import { CliError } from './errors.ts'
import { EXIT } from './exit-code.ts'
import { Output } from './output.ts'
import { makeProgram } from './program.ts'

/** Commander has no format yet when it finds the command line wrong. */
function wantsJson(args: readonly string[]): boolean {
  return args.some(
    (arg, i) =>
      arg === '--output=json' || arg === '-ojson' || (arg === 'json' && /^(-o|--output)$/.test(args[i - 1] ?? '')),
  )
}

function reportUsage(error: CommanderError, args: readonly string[]): void {
  if (error.exitCode === 0) return
  process.exitCode = EXIT.usage
  if (error.code === 'commander.help') return
  const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ')
  const usage = new CliError('usage_invalid', message.charAt(0).toUpperCase() + message.slice(1), {
    hint: 'See "holdfast --help", or --help after any command.',
  })
  new Output(wantsJson(args) ? 'json' : 'text', false).error(usage)
}

/** Sets process.exitCode; never throws for what a user may do. */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  process.stdout.on('error', (error) => {
    if (errnoOf(error) !== 'EPIPE') throw error
    process.exit(EXIT.brokenPipe)
  })
  try {
    await makeProgram().parseAsync([...args], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    reportUsage(error, args)
  }
}
