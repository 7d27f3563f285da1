/**
 * Runs a group of tests with node:test and passes its verdict on.
 *   unit   tests beside the source and of the tools: no guest, no server of others, seconds each
 *   sim    seeded simulation, smoke size (HOLDFAST_SIM_SEEDS for more)
 *   parts  tests under test/ that need QEMU and its tools, each file with its time: two at once, but those that boot guests
 *          one after the other (test-lanes.ts)
 *   az     tests under test/az, with the official command line (test/az/install-az); also two at once
 *
 *   run-tests.ts GROUP [FILE...]
 *
 * Emulated guests on a busy machine miss deadlines that have nothing to do with what is tested. So a file of `parts` that
 * fails is run once more by itself when all others are done; if it then passes it is told as FLAKY, with its first failure
 * left in the output, and does not fail the run. A file that hangs is ended after FILE_MS_MAX and counts as failed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { lanesOf, LONG_FILES } from './test-lanes.ts'

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  unit: ['src/**/*.test.ts', 'tools/**/*.test.ts'],
  sim: ['sim/**/*.test.ts'],
  parts: ['test/**/*.test.ts'],
  az: ['test/az/**/*.test.ts'],
}
const FILE_BY_FILE = new Set(['parts', 'az'])
const TOGETHER = 2
const FILE_MS_MAX = 15 * 60_000
const OUTPUT_MS_MAX = 5_000

type Counts = Readonly<{ passed: number; failed: number; skipped: number }>
type Ran = Readonly<{ ok: boolean; counts: Counts; seconds: number }>

function testArguments(files: readonly string[], concurrency: number): string[] {
  const reporter = ['--test-reporter=./tools/test-summary.ts', '--test-reporter-destination=stdout']
  return ['--test', `--test-concurrency=${concurrency}`, ...reporter, ...files]
}

async function runFile(file: string): Promise<Ran> {
  const startMs = performance.now()
  const child = spawn(process.execPath, testArguments([file], 1), {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: FILE_MS_MAX,
    killSignal: 'SIGKILL',
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => (output += part))
  const read = once(child.stdout, 'close')
  const [status] = (await once(child, 'exit')) as [number | null]
  await Promise.race([read, sleep(OUTPUT_MS_MAX, undefined, { ref: false })]) // a process left behind may hold the pipe
  child.stdout.destroy()
  const counts = /(\d+) passed, (\d+) failed, (\d+) skipped/.exec(output)
  const [passed = 0, failed = 0, skipped = 0] = (counts ?? []).slice(1).map(Number)
  const seconds = Math.round((performance.now() - startMs) / 1000)
  const ok = status === 0
  const verdict = ok ? `${passed} passed` : status === null ? `ended after ${seconds} s` : `${failed} failed`
  process.stdout.write(`${file}: ${verdict}, ${seconds} s\n`)
  if (!ok || skipped > 0) process.stdout.write(`${output.replace(/\n\d+ passed, \d+ failed, \d+ skipped\n/, '')}\n`)
  else process.stdout.write(output.replaceAll(/^(?!\| ).*\n/gm, '')) // tables, such as the kill matrix
  return { ok, counts: { passed, failed: ok ? 0 : Math.max(1, failed), skipped }, seconds }
}

/** Runs the files, `atOnce` of them at a time, and adds what came of each. */
async function runLane(files: readonly string[], atOnce: number, results: Map<string, Ran>): Promise<void> {
  const waiting = [...files]
  const takeTurns = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) results.set(file, await runFile(file))
  }
  await Promise.all(Array.from({ length: atOnce }, takeTurns))
}

async function runFileByFile(files: readonly string[]): Promise<boolean> {
  const results = new Map<string, Ran>()
  const { together, alone } = lanesOf(files)
  await runLane(together, TOGETHER, results)
  await runLane(alone, 1, results)
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

/** Told, as every test that is skipped. */
function isLeftOut(file: string): boolean {
  const leftOut = LONG_FILES.includes(file) && process.env['HOLDFAST_LONG'] !== '1'
  if (leftOut) process.stdout.write(`SKIPPED ${file}: a long one, run by script/test --long\n`)
  return leftOut
}

const [group = 'unit', ...named] = process.argv.slice(2)
const patterns = GROUPS[group]
if (patterns === undefined)
  throw new Error(`There is no test group "${group}"; there are ${Object.keys(GROUPS).join(', ')}.`)
const found = patterns.flatMap((pattern) => globSync(pattern)).sort()
const ofGroup = found.filter((file) => (group === 'az') === file.startsWith('test/az/'))
const files = named.length > 0 ? named : ofGroup.filter((file) => !isLeftOut(file))
if (files.length === 0) throw new Error(`The test group "${group}" holds no file.`)
const ok = FILE_BY_FILE.has(group)
  ? await runFileByFile(files)
  : spawnSync(process.execPath, testArguments(files, TOGETHER), { stdio: 'inherit', timeout: FILE_MS_MAX }).status === 0
process.exitCode = ok ? 0 : 1
