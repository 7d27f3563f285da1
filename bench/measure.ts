/**
 * Measures commands: wall time from start to the moment when all that they wrote is durable (fsync of the output is part
 * of the time), CPU seconds of the command and its children, and the largest resident set of one process of it.
 * Needs GNU time, which alone reports both without polling.
 */
import { spawn } from 'node:child_process'
import { open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type Command = Readonly<{
  program: string
  args: readonly string[]
  env?: Readonly<Record<string, string>>
  cwd?: string
  /** File or folder that must be durable before the clock stops. */
  output?: string
}>

export type Measurement = Readonly<{ seconds: number; cpuSeconds: number; rssPeakBytes: number; stdout: string }>

const OUTPUT_CHARACTERS_KEPT = 20_000

/** @throws Error with the command's last words when it fails */
export async function measure(command: Command): Promise<Measurement> {
  const report = join(tmpdir(), `holdfast-bench-${process.pid}.time`)
  const startedNs = process.hrtime.bigint()
  const stdout = await run(command, ['-o', report, '-f', '%U %S %M'])
  if (command.output !== undefined) await syncTree(command.output)
  const seconds = Number(process.hrtime.bigint() - startedNs) / 1e9
  const [user = 0, system = 0, rssKib = 0] = (await readFile(report, 'utf8')).trim().split(' ').map(Number)
  await rm(report)
  return { seconds, cpuSeconds: user + system, rssPeakBytes: rssKib * 1024, stdout }
}

/** Runs the command unmeasured: preparations. */
export function run(command: Command, timeArgs?: readonly string[]): Promise<string> {
  const [program, args] =
    timeArgs === undefined
      ? [command.program, command.args]
      : ['/usr/bin/time', [...timeArgs, command.program, ...command.args]]
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...command.env },
      ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (data: Buffer) => (out = (out + data.toString()).slice(-OUTPUT_CHARACTERS_KEPT)))
    child.stderr.on('data', (data: Buffer) => (err = (err + data.toString()).slice(-OUTPUT_CHARACTERS_KEPT)))
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) return resolve(out)
      reject(
        new Error(
          `${command.program} ${command.args.join(' ')} ended with ${code}: ${(err || out).trim().slice(-800)}`,
        ),
      )
    })
  })
}

/** fsync of a file, or of every file and folder below a folder. */
export async function syncTree(path: string): Promise<void> {
  const handle = await open(path, 'r')
  await handle.sync()
  await handle.close()
  if (!(await stat(path)).isDirectory()) return
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory() || entry.isFile()) await syncTree(join(path, entry.name))
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2
}
