/**
 * Runs other programs: no shell, bounded output, a deadline, and an error that shows what the program said.
 * Secrets are never passed as arguments (they would show in the process list); use `input`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { errnoOf, HoldfastError, MIB, type RetryVerdict } from '#base'

export const COMMAND_ERROR_CODES = [
  'command_missing',
  'command_failed',
  'command_timed_out',
  'command_output_too_large',
] as const
export type CommandErrorCode = (typeof COMMAND_ERROR_CODES)[number]
export class CommandError extends HoldfastError<CommandErrorCode> {}

export type CommandOptions = Readonly<{
  input?: string | Uint8Array
  cwd?: string
  env?: Readonly<Record<string, string | undefined>>
  timeoutMs?: number
  outputBytesMax?: number
  signal?: AbortSignal
}>

export type CommandResult = Readonly<{ stdout: Buffer; stderr: string; exitCode: number }>

const TIMEOUT_MS_DEFAULT = 60_000
const OUTPUT_BYTES_MAX_DEFAULT = 64 * MIB

function cannotStart(program: string, cause: Error): CommandError {
  if (errnoOf(cause) === 'ENOENT') {
    const hint = 'Run script/setup, which installs what Holdfast needs.'
    return new CommandError('command_missing', `The program ${program} is not installed.`, {
      facts: { program },
      hint,
      cause,
    })
  }
  return new CommandError('command_failed', `${program} could not be run: ${cause.message}`, {
    facts: { program },
    cause,
  })
}

function start(program: string, args: readonly string[], options: CommandOptions): ChildProcess {
  const child = spawn(program, args, {
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  child.stdin?.on('error', () => {
    // EPIPE: the program closed its input early; its exit code and message tell the story.
  })
  child.stdin?.end(options.input)
  return child
}

/** Runs `program` to its end whatever its exit code. @throws CommandError when it cannot start, hangs or says too much. */
export function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS_DEFAULT
  const outputBytesMax = options.outputBytesMax ?? OUTPUT_BYTES_MAX_DEFAULT
  return new Promise((resolve, reject) => {
    const child = start(program, args, options)
    const out: Buffer[] = []
    const err: Buffer[] = []
    let bytes = 0
    let failure: CommandError | undefined
    const stop = (code: CommandErrorCode, message: string, retry: RetryVerdict): void => {
      failure ??= new CommandError(code, message, { facts: { program }, retry })
      child.kill('SIGKILL')
    }
    const deadline = setTimeout(() => {
      stop('command_timed_out', `${program} did not finish within ${timeoutMs} ms.`, 'later')
    }, timeoutMs)
    const collectInto = (into: Buffer[]) => (data: Buffer) => {
      bytes += data.length
      if (bytes <= outputBytesMax) into.push(data)
      else stop('command_output_too_large', `${program} printed more than ${outputBytesMax} bytes.`, 'never')
    }
    child.stdout?.on('data', collectInto(out))
    child.stderr?.on('data', collectInto(err))
    child.on('error', (cause) => {
      clearTimeout(deadline)
      reject(failure ?? cannotStart(program, cause))
    })
    child.on('close', (code) => {
      clearTimeout(deadline)
      if (failure !== undefined) return reject(failure)
      resolve({ stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString('utf8'), exitCode: code ?? 1 })
    })
  })
}

/** As {@link runCommand}, and @throws `command_failed` with the last line that the program printed when it exits non-zero. */
export async function checkCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const result = await runCommand(program, args, options)
  if (result.exitCode === 0) return result
  const said = result.stderr.trim().split('\n').at(-1) ?? ''
  throw new CommandError(
    'command_failed',
    `${program} ${args[0] ?? ''} failed: ${said || `exit code ${result.exitCode}`}`,
    {
      facts: { program, exitCode: result.exitCode, stderr: result.stderr.slice(-2000) },
    },
  )
}
