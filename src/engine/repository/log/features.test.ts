import assert from 'node:assert/strict'
import { test } from 'node:test'
import { must, SeededRandom } from '#base'
import { MemoryStore } from '../stores/memory-store.ts'
import { readWholeLog } from '../verify/whole-log.ts'
import { checkpointKey, encodeCheckpoint, openCheckpoint } from './checkpoint.ts'
import { decodeEntry, encodeEntry, type Envelope, logKey } from './entry.ts'
import type { CommitLog } from './log.ts'
import { clock, keys, openLog, PACK, REPOSITORY } from './log.rig.ts'
import { LogState } from './state.ts'

const LATER = { code: 'repository_too_new', message: /prunes-the-log/ }

/** The entry of a later program, whose fields may be of shapes that are not known here. */
function laterEntry({ state }: CommitLog, fields: Record<string, unknown>): Uint8Array {
  const envelope = {
    format: 'holdfast-log',
    repository: REPOSITORY,
    number: state.head + 1,
    entry: '1'.repeat(64),
    previous: state.headHash,
    ...fields,
  }
  return encodeEntry(keys, envelope as unknown as Envelope, {})
}

test('An entry that asks for what this program does not know is refused by name, by readers and writers', async () => {
  const shapes = [{ atMs: 1, firstOrdinal: 1, writer: 'x' }, { points: 'of a later shape' }, {}]
  for (const shape of shapes) {
    const store = new MemoryStore()
    const log = await openLog(store)
    await log.append(() => ({ fields: { packs: [PACK('a')] } }))
    await store.put(logKey(2), [laterEntry(log, { requires: ['prunes-the-log'], ...shape })])
    for (const keyless of [false, true]) await assert.rejects(openLog(store, { keyless }), LATER)
    await assert.rejects(
      log.append(() => ({ fields: {} })),
      LATER,
    )
    assert.equal(await store.head(logKey(3)), undefined, 'nothing was written after it')
  }
})

test('A forged entry that asks for what nobody knows is damage to whoever holds the key', async () => {
  const store = new MemoryStore()
  const log = await openLog(store)
  await log.append(() => ({ fields: {} }))
  const forged = laterEntry(log, { requires: ['prunes-the-log'] })
  forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1
  await store.put(logKey(2), [forged])
  assert.deepEqual((await openLog(store)).damage, [{ kind: 'log_entry_corrupt', number: 2 }])
})

test('Names of features that are no names make no entry', async () => {
  const log = await openLog(new MemoryStore())
  for (const requires of ['x', [1], ['Upper'], [''], ['a b'], [null]])
    assert.equal(decodeEntry(laterEntry(log, { requires, atMs: 1, firstOrdinal: 0, writer: 'x' })), undefined)
  assert.ok(decodeEntry(laterEntry(log, { requires: [], atMs: 1, firstOrdinal: 0, writer: 'x' })) !== undefined)
})

test('What an entry asked for stays in the state and in its checkpoints, which are refused by name as well', async () => {
  const state = new LogState()
  for (const [i, requires] of [['b', 'a'], undefined, ['a', 'c']].entries())
    state.apply({ number: i + 1, atMs: 1, ...(requires === undefined ? {} : { requires }) } as unknown as Envelope, 'h')
  assert.deepEqual(LogState.restore(state.snapshot()).requires, ['a', 'b', 'c'])
  const store = new MemoryStore()
  const log = await openLog(store, { entriesMin: 4 })
  for (let i = 0; i < 4; i += 1) await log.append(() => ({ fields: {} }))
  const bytes = await store.get(checkpointKey(4))
  const whole = must(openCheckpoint(keys, bytes, REPOSITORY, 4), 'A checkpoint')
  for (const drop of ['none', 'pins'] as const) {
    const { [drop as 'pins']: _, ...rest } = whole.state
    const later = { state: { ...rest, requires: ['prunes-the-log'] } as unknown as typeof whole.state, records: [] }
    store.overwrite(checkpointKey(4), encodeCheckpoint(keys, REPOSITORY, new SeededRandom(8).bytes(32), later))
    await assert.rejects(openLog(store, { entriesMin: 4 }), LATER)
    const parts = { store, keys, repositoryId: REPOSITORY, clock, random: new SeededRandom(5), writer: 'r' }
    assert.equal((await readWholeLog(parts)).checkpointDamage[0]?.kind, 'checkpoint_corrupt')
  }
})
