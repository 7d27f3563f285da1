/**
 * The smoke simulation. HOLDFAST_SIM_SEEDS=n runs n seeds beginning at HOLDFAST_SIM_FIRST (default 1);
 * HOLDFAST_SIM_SEED=n runs that seed alone.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { messageOf } from '#base'
import type { Canary } from './surroundings.ts'
import { runWorld } from './world.ts'

const OPERATIONS = 24
const CANARY_SEEDS_MAX = 60
/** How a planted defect must show: as loss, not as some other trouble. */
/** A checkpoint that is believed against the chain shows as a broken log, at the latest when the next entry is written. */
const LOSS =
  /log_damaged|log is damaged|log_rolled_back|cannot be restored|is lost|pack_missing|chunk_missing|found damage|differs/
const only = process.env['HOLDFAST_SIM_SEED']
const first = Number(only ?? process.env['HOLDFAST_SIM_FIRST'] ?? 1)
const wanted = process.env['HOLDFAST_SIM_SEEDS']
const seeds = only === undefined ? Number(wanted ?? 8) : 1
/** Worlds with locks take longer: the quick gate runs few of them, long runs as many as of the others. */
const lockSeeds = only === undefined ? Number(wanted ?? 3) : 1

test(`simulated writers, readers and prunes keep every point, seeds ${first} to ${first + seeds - 1}`, async () => {
  const sum = { points: 0, deletes: 0, crashes: 0, jumps: 0, planted: 0, fromCheckpoint: 0 }
  const failures: string[] = []
  for (let seed = first; seed < first + seeds; seed += 1) {
    try {
      const report = await runWorld({ seed, operations: OPERATIONS, canary: 'none' })
      for (const name of ['points', 'deletes', 'crashes', 'jumps', 'planted', 'fromCheckpoint'] as const)
        sum[name] += report[name]
    } catch (error) {
      failures.push(messageOf(error))
    }
  }
  assert.equal(failures.length, 0, `${failures.length} of ${seeds} seeds fail.\n${failures[0]}`)
  if (only !== undefined) return
  for (const [name, count] of Object.entries(sum)) assert.ok(count > 0, `the seeds met ${name}`)
})

test(`simulated clocks that jump end no lock, seeds ${first} to ${first + lockSeeds - 1}`, async () => {
  const sum = { locked: 0, deletes: 0, clockJumps: 0 }
  const failures: string[] = []
  for (let seed = first; seed < first + lockSeeds; seed += 1) {
    try {
      const report = await runWorld({ seed, operations: OPERATIONS, canary: 'none', locks: true })
      for (const name of ['locked', 'deletes', 'clockJumps'] as const) sum[name] += report[name]
    } catch (error) {
      failures.push(messageOf(error))
    }
  }
  assert.equal(failures.length, 0, `${failures.length} of ${lockSeeds} seeds fail.\n${failures[0]}`)
  if (only !== undefined) return
  for (const [name, count] of Object.entries(sum)) assert.ok(count > 0, `the seeds met ${name}`)
})

/** The first seed that finds the planted defect. */
async function findingSeed(canary: Canary): Promise<number | undefined> {
  for (let seed = 1; seed <= CANARY_SEEDS_MAX; seed += 1) {
    const found = await runWorld({ seed, operations: OPERATIONS, canary, locks: canary === 'believes-its-clock' }).then(
      () => false,
      (error: unknown) => LOSS.test(messageOf(error).split('\n')[0] ?? ''),
    )
    if (found) return seed
  }
  return undefined
}

const CANARIES: readonly Canary[] = [
  'acknowledges-packs-early',
  'deletes-without-entry',
  'trusts-any-checkpoint',
  'believes-its-clock',
]
for (const canary of only === undefined ? CANARIES : []) {
  test(`the simulation finds a planted defect: ${canary}`, async () => {
    assert.ok((await findingSeed(canary)) !== undefined, `no seed up to ${CANARY_SEEDS_MAX} found it`)
  })
}
