/**
 * Runs a group of tests with node:test and passes its verdict on.
 *   unit   tests beside the source and of the tools: no guest, no server of others, seconds each
 *   sim    seeded simulation, smoke size (HOLDFAST_SIM_SEEDS for more)
 *   parts  tests under test/ that need QEMU and its tools: one file after the other, each with its time
 *   az     tests under test/az, with the official command line (test/az/install-az): two files at a time, each with a
 *          server of its own
 *
 *   run-tests.ts GROUP [FILE...]
 *
 * Emulated guests on a busy machine miss deadlines that have nothing to do with what is tested. So a file of `parts` that
 * fails is run once more by itself when all others are done; if it then passes it is told as FLAKY, with its first failure
 * left in the output, and does not fail the run. A file that hangs is ended after FILE_MS_MAX and counts as failed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  unit: ['src/**/*.test.ts', 'tools/**/*.test.ts'],
  sim: ['sim/**/*.test.ts'],
  parts: ['test/**/*.test.ts'],
  az: ['test/az/**/*.test.ts'],
}
const FILES_AT_ONCE: Readonly<Record<string, number>> = { parts: 1, az: 2 }
const FILE_MS_MAX = 15 * 60_000

type Counts = Readonly<{ passed: number; failed: number; skipped: number }>
type Ran = Readonly<{ ok: boolean; counts: Counts; seconds: number }>

function nodeTestArgs(files: readonly string[], concurrency: number): string[] {
  const reporter = ['--test-reporter=./tools/test-summary.ts', '--test-reporter-destination=stdout']
  return ['--test', `--test-concurrency=${concurrency}`, ...reporter, ...files]
}

function outputOf(file: string): Promise<Readonly<{ status: number | null; text: string }>> {
  const child = spawn(process.execPath, nodeTestArgs([file], 1), {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: FILE_MS_MAX,
    killSignal: 'SIGKILL',
  })
  const parts: Buffer[] = []
  child.stdout.on('data', (part: Buffer) => parts.push(part))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => resolve({ status, text: Buffer.concat(parts).toString() }))
  })
}

async function runFile(file: string): Promise<Ran> {
  const startMs = performance.now()
  const { status, text } = await outputOf(file)
  const counts = /(\d+) passed, (\d+) failed, (\d+) skipped/.exec(text)
  const [passed = 0, failed = 0, skipped = 0] = (counts ?? []).slice(1).map(Number)
  const seconds = Math.round((performance.now() - startMs) / 1000)
  const ok = status === 0
  const verdict = ok ? `${passed} passed` : status === null ? `ended after ${seconds} s` : `${failed} failed`
  process.stdout.write(`${file}: ${verdict}, ${seconds} s\n`)
  if (!ok || skipped > 0) process.stdout.write(`${text.replace(/\n\d+ passed, \d+ failed, \d+ skipped\n/, '')}\n`)
  else process.stdout.write(text.replaceAll(/^(?!\| ).*\n/gm, '')) // tables, such as the kill matrix
  return { ok, counts: { passed, failed: ok ? 0 : Math.max(1, failed), skipped }, seconds }
}

async function runFiles(files: readonly string[], atOnce: number): Promise<boolean> {
  const results = new Map<string, Ran>()
  const left = [...files]
  const work = async (): Promise<void> => {
    for (let file = left.shift(); file !== undefined; file = left.shift()) results.set(file, await runFile(file))
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  const again = [...results].filter(([, { ok }]) => !ok).map(([file]) => file)
  for (const file of again) {
    process.stdout.write(`\nOnce more, by itself: `)
    const second = await runFile(file)
    if (second.ok) process.stdout.write(`FLAKY ${file}: it failed in the run and passed by itself\n`)
    results.set(file, second)
  }
  const sum = (field: keyof Counts): number =>
    [...results.values()].reduce((total, { counts }) => total + counts[field], 0)
  process.stdout.write(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`)
  return [...results.values()].every(({ ok }) => ok)
}

function runAll(files: readonly string[]): boolean {
  const options = { stdio: 'inherit', timeout: FILE_MS_MAX, killSignal: 'SIGKILL' } as const
  return spawnSync(process.execPath, nodeTestArgs(files, 2), options).status === 0
}

const [group = 'unit', ...named] = process.argv.slice(2)
const patterns = GROUPS[group]
if (patterns === undefined)
  throw new Error(`There is no test group "${group}"; there are ${Object.keys(GROUPS).join(', ')}.`)
const found = patterns.flatMap((pattern) => globSync(pattern)).sort()
const files = named.length > 0 ? named : found.filter((file) => (group === 'az') === file.startsWith('test/az/'))
if (files.length === 0) throw new Error(`The test group "${group}" holds no file.`)
const atOnce = FILES_AT_ONCE[group]
const ok = atOnce === undefined ? runAll(files) : await runFiles(files, atOnce)
process.exitCode = ok ? 0 : 1
