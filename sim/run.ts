/**
 * Runs many seeds, each in a world without locks and in one with, and names each that fails as it fails:
 *   script/node sim/run.ts FIRST COUNT [OPERATIONS]
 * For long runs; the smoke set is in repository.test.ts.
 */
import { messageOf } from '#base'
import { runWorld } from './world.ts'

const [first = 1, count = 100, operations = 24] = process.argv.slice(2).map(Number)
let failed = 0
for (let seed = first; seed < first + count; seed += 1) {
  for (const locks of [false, true]) {
    try {
      await runWorld({ seed, operations, canary: 'none', locks })
    } catch (error) {
      failed += 1
      process.stdout.write(`${locks ? 'With locks: ' : ''}${messageOf(error)}\n\n`)
    }
  }
  if ((seed - first + 1) % 50 === 0) process.stdout.write(`${seed - first + 1} of ${count} seeds, ${failed} failed\n`)
}
process.stdout.write(`${count} seeds from ${first} with ${operations} operations: ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
