/**
 * Runs a group of tests with node:test and passes its verdict on.
 *   unit   tests beside the source and of the tools: no guest, no server of others, seconds each
 *   sim    seeded simulation, smoke size (HOLDFAST_SIM_SEEDS for more)
 *   parts  tests under test/ that need QEMU and its tools: one file after the other, each with its time
 *   az     tests under test/az, with the official command line (test/az/install-az); also one after the other
 *
 *   run-tests.ts GROUP [FILE...]
 *
 * Emulated guests on a busy machine miss deadlines that have nothing to do with what is tested. So a file of `parts` that
 * fails is run once more by itself when all others are done; if it then passes it is told as FLAKY, with its first failure
 * left in the output, and does not fail the run. A file that hangs is ended after FILE_MS_MAX and counts as failed.
 */
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  unit: ['src/**/*.test.ts', 'tools/**/*.test.ts'],
  sim: ['sim/**/*.test.ts'],
  parts: ['test/**/*.test.ts'],
  az: ['test/az/**/*.test.ts'],
}
const ONE_BY_ONE = new Set(['parts', 'az'])
const FILE_MS_MAX = 15 * 60_000

type Counts = Readonly<{ passed: number; failed: number; skipped: number }>
type Ran = Readonly<{ ok: boolean; counts: Counts; seconds: number }>

function nodeTest(
  files: readonly string[],
  concurrency: number,
  stdio: 'inherit' | 'pipe',
): ReturnType<typeof spawnSync> {
  const reporter = ['--test-reporter=./tools/test-summary.ts', '--test-reporter-destination=stdout']
  const args = ['--test', `--test-concurrency=${concurrency}`, ...reporter, ...files]
  const output = stdio === 'inherit' ? ('inherit' as const) : (['ignore', 'pipe', 'inherit'] as const)
  return spawnSync(process.execPath, args, { stdio: output as 'inherit', timeout: FILE_MS_MAX, killSignal: 'SIGKILL' })
}

function runFile(file: string): Ran {
  const startMs = performance.now()
  const result = nodeTest([file], 1, 'pipe')
  const text = String(result.stdout ?? '')
  const counts = /(\d+) passed, (\d+) failed, (\d+) skipped/.exec(text)
  const [passed = 0, failed = 0, skipped = 0] = (counts ?? []).slice(1).map(Number)
  const seconds = Math.round((performance.now() - startMs) / 1000)
  const ok = result.status === 0
  const verdict = ok ? `${passed} passed` : result.status === null ? `ended after ${seconds} s` : `${failed} failed`
  process.stdout.write(`${file}: ${verdict}, ${seconds} s\n`)
  if (!ok || skipped > 0) process.stdout.write(`${text.replace(/\n\d+ passed, \d+ failed, \d+ skipped\n/, '')}\n`)
  else process.stdout.write(text.replaceAll(/^(?!\| ).*\n/gm, '')) // tables, such as the kill matrix
  return { ok, counts: { passed, failed: ok ? 0 : Math.max(1, failed), skipped }, seconds }
}

function runOneByOne(files: readonly string[]): boolean {
  const results = new Map(files.map((file) => [file, runFile(file)]))
  const again = [...results].filter(([, { ok }]) => !ok).map(([file]) => file)
  for (const file of again) {
    process.stdout.write(`\nOnce more, by itself: `)
    const second = runFile(file)
    if (second.ok) process.stdout.write(`FLAKY ${file}: it failed in the run and passed by itself\n`)
    results.set(file, second)
  }
  const sum = (field: keyof Counts): number =>
    [...results.values()].reduce((total, { counts }) => total + counts[field], 0)
  process.stdout.write(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`)
  return [...results.values()].every(({ ok }) => ok)
}

const [group = 'unit', ...named] = process.argv.slice(2)
const patterns = GROUPS[group]
if (patterns === undefined)
  throw new Error(`There is no test group "${group}"; there are ${Object.keys(GROUPS).join(', ')}.`)
const found = patterns.flatMap((pattern) => globSync(pattern)).sort()
const files = named.length > 0 ? named : found.filter((file) => (group === 'az') === file.startsWith('test/az/'))
if (files.length === 0) throw new Error(`The test group "${group}" holds no file.`)
const ok = ONE_BY_ONE.has(group) ? runOneByOne(files) : nodeTest(files, 2, 'inherit').status === 0
process.exitCode = ok ? 0 : 1
