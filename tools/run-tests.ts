/**
 * Runs a group of tests with node:test and passes its exit code on.
 *   unit   tests beside the source and of the tools: no guest, no server of others, seconds each
 *   sim    seeded simulation, smoke size (HOLDFAST_SIM_SEEDS for more)
 *   parts  tests under test/ that need QEMU and its tools
 * Further arguments name files or are handed to `node --test`.
 */
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  unit: ['src/**/*.test.ts', 'tools/**/*.test.ts'],
  sim: ['sim/**/*.test.ts'],
  parts: ['test/**/*.test.ts'],
}

const [group = 'unit', ...rest] = process.argv.slice(2)
const patterns = GROUPS[group]
if (patterns === undefined)
  throw new Error(`There is no test group "${group}"; there are ${Object.keys(GROUPS).join(', ')}.`)
const files = patterns.flatMap((pattern) => globSync(pattern)).sort()
if (files.length === 0) throw new Error(`The test group "${group}" holds no file.`)
const concurrency = group === 'parts' ? 1 : 2
const result = spawnSync(
  process.execPath,
  [
    '--test',
    `--test-concurrency=${concurrency}`,
    '--test-reporter=./tools/test-summary.ts',
    '--test-reporter-destination=stdout',
    ...rest,
    ...files,
  ],
  { stdio: 'inherit' },
)
process.exit(result.status ?? 1)
