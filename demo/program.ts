/** Runs bin/holdfast as a user would: its own process, its output parsed, its exit code looked at. */
import { type ChildProcess, spawn } from 'node:child_process'
import { resolve } from 'node:path'

const PROGRAM = resolve(import.meta.dirname, '../bin/holdfast')

export type Run = Readonly<{ exitCode: number; stdout: string; stderr: string }>

export class Program {
  readonly #environment: Record<string, string>
  readonly #children = new Set<ChildProcess>()

  constructor(environment: Record<string, string>) {
    this.#environment = environment
  }

  /** Starts a command with JSON output; `ended` resolves with what it printed. `onResult` hears the first line of a result. */
  start(
    args: readonly string[],
    onStderr: (text: string) => void = () => {},
  ): { child: ChildProcess; ended: Promise<Run>; firstLine: Promise<string> } {
    const child = spawn(PROGRAM, [...args, '--output', 'json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.#environment },
    })
    this.#children.add(child)
    let stdout = ''
    let stderr = ''
    child.stderr.on('data', (data: Buffer) => {
      stderr += data.toString('utf8')
      onStderr(stderr)
    })
    const firstLine = new Promise<string>((done, fail) => {
      child.stdout.on('data', (data: Buffer) => {
        stdout += data.toString('utf8')
        try {
          JSON.parse(stdout)
          done(stdout)
        } catch {
          // not whole yet
        }
      })
      child.once('close', (code) =>
        fail(new Error(`holdfast ${args.slice(0, 2).join(' ')} ended with ${code}: ${stderr}`)),
      )
    })
    firstLine.catch(() => {
      // Only those who wait for it hear of it.
    })
    const ended = new Promise<Run>((done) => {
      child.once('close', (code) => {
        this.#children.delete(child)
        done({ exitCode: code ?? -1, stdout, stderr })
      })
    })
    return { child, ended, firstLine }
  }

  /** Runs a command to its end and gives its result. @throws with what it said when it fails */
  async json<T>(args: readonly string[], exitCodes: readonly number[] = [0]): Promise<T> {
    const { exitCode, stdout, stderr } = await this.start(args).ended
    if (!exitCodes.includes(exitCode))
      throw new Error(`holdfast ${args.slice(0, 2).join(' ')} ended with ${exitCode}: ${stderr}`)
    return JSON.parse(stdout) as T
  }

  /** Ends what still runs. */
  killAll(): void {
    for (const child of this.#children) child.kill('SIGKILL')
  }
}
