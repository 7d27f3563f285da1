import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '#base'
import { FaultyStore } from '../stores/faulty-store.ts'
import { MemoryStore } from '../stores/memory-store.ts'
import { RetryingStore } from '../stores/retrying-store.ts'
import { encodeEntry, logKey } from './entry.ts'
import { clock, keys, openLog, PACK, REPOSITORY } from './log.rig.ts'

const unpin = (number: number) => () => ({ fields: { unpin: [number] } })

async function logOf(entries: number): Promise<MemoryStore> {
  const store = new MemoryStore()
  const log = await openLog(store)
  for (let i = 0; i < entries; i += 1) await log.append(unpin(0))
  return store
}

for (const writers of [2, 3, 8, 16]) {
  test(`${writers} writers that append at once each take numbers of their own, without gap or loss`, async () => {
    const store = new MemoryStore()
    const logs = await Promise.all(Array.from({ length: writers }, (_, i) => openLog(store, { seed: i + 1 })))
    const numbers = await Promise.all(
      logs.flatMap((log, i) => Array.from({ length: 5 }, () => log.append(unpin(1000 + i)))),
    )
    assert.deepEqual(
      numbers.toSorted((a, b) => a - b),
      Array.from({ length: writers * 5 }, (_, i) => i + 1),
    )
    const reader = await openLog(store, { seed: 99 })
    assert.deepEqual([reader.damage, reader.state.head], [[], writers * 5])
  })
}

test('Two sessions of one process that read one log at once do not see a broken chain', async () => {
  const store = await logOf(6)
  const log = await openLog(store)
  const other = await openLog(store, { seed: 2 })
  for (let i = 0; i < 3; i += 1) await other.append(unpin(0))
  await Promise.all([log.refresh(), log.refresh(), log.append(unpin(1)), log.append(unpin(2))])
  assert.deepEqual([log.damage, log.state.head], [[], 11])
})

test('A put whose reply was lost is recognised as our own, and appended once', async () => {
  const inner = await logOf(2)
  const faulty = new FaultyStore(inner)
  const impatient = new RetryingStore(faulty, clock, { attemptsMax: 3, delayMs: 0, delayMsMax: 0 })
  const log = await openLog(impatient)
  faulty.failNext('put', { kind: 'after' })
  const appended = log.append(() => ({ fields: { packs: [PACK('a')] } }))
  while (clock.sleeping === 0) await new Promise((resolve) => setImmediate(resolve))
  clock.advance(1)
  assert.equal(await appended, 3)
  const reader = await openLog(inner)
  assert.deepEqual([reader.state.head, reader.state.packs.length], [3, 1])
})

test('A draft is made anew of what the winner of the race wrote', async () => {
  const store = await logOf(1)
  const faulty = new FaultyStore(store, clock)
  const [slow, fast] = [await openLog(faulty, { seed: 2 }), await openLog(store, { seed: 3 })]
  faulty.failNext('put', { kind: 'delayed', ms: 10 })
  const heads: number[] = []
  const racing = slow.append((state) => {
    heads.push(state.head)
    return { fields: { packs: [PACK('b')] } }
  })
  while (clock.sleeping === 0) await new Promise((resolve) => setImmediate(resolve))
  await fast.append(() => ({ fields: { packs: [PACK('a')] } }))
  clock.advance(10)
  await racing
  assert.deepEqual(heads, [1, 2], 'the second draft saw the entry of the winner')
  const names = (await openLog(store)).state.packs.map(({ name }) => name[0])
  assert.deepEqual(names, ['a', 'b'])
})

test('A damaged entry is named, the rest is read, and nothing is written', async () => {
  for (const number of [1, 3, 5]) {
    const store = await logOf(5)
    const bytes = await store.get(logKey(number))
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
    store.overwrite(logKey(number), bytes)
    const log = await openLog(store)
    assert.deepEqual(log.damage, [{ kind: 'log_entry_corrupt', number }])
    assert.equal(log.state.head, 5)
    await assert.rejects(log.append(unpin(1)), { code: 'log_damaged' })
  }
})

test('A missing entry in the middle is named with and without the key; a missing end is a shorter log', async () => {
  for (const keyless of [false, true]) {
    const store = await logOf(5)
    await store.delete(logKey(2))
    await store.delete(logKey(3))
    const log = await openLog(store, { keyless })
    assert.deepEqual(
      log.damage.map(({ kind, number }) => [kind, number]),
      [
        ['log_entry_missing', 2],
        ['log_entry_missing', 3],
      ],
    )
  }
  const store = await logOf(5)
  await store.delete(logKey(5))
  assert.deepEqual((await openLog(store)).damage, [], 'what ends early is found by remembered heads and pack headers')
})

test('An entry of another repository, of another number, or without the key is not taken in', async () => {
  const fields = {
    format: 'holdfast-log',
    entry: '1'.repeat(64),
    previous: '',
    atMs: 1,
    writer: 'x',
    firstOrdinal: 0,
  } as const
  const planted = [
    encodeEntry(keys, { ...fields, repository: 'cd'.repeat(16), number: 1 }, {}),
    encodeEntry(keys, { ...fields, repository: REPOSITORY, number: 2 }, {}),
    Buffer.concat([
      encodeEntry(keys, { ...fields, repository: REPOSITORY, number: 1 }, {}).subarray(0, -32),
      Buffer.alloc(32),
    ]),
  ]
  for (const bytes of planted) {
    const store = new MemoryStore()
    await store.put(logKey(1), [bytes])
    assert.deepEqual((await openLog(store)).damage, [{ kind: 'log_entry_corrupt', number: 1 }])
  }
})

test('An authentic entry that does not follow its predecessor breaks the chain, for those without the key too', async () => {
  const store = await logOf(3)
  const fields = {
    format: 'holdfast-log',
    entry: '1'.repeat(64),
    atMs: 1,
    writer: 'x',
    firstOrdinal: 0,
    repository: REPOSITORY,
  } as const
  await store.put(logKey(4), [encodeEntry(keys, { ...fields, number: 4, previous: '2'.repeat(64) }, {})])
  for (const keyless of [false, true])
    assert.deepEqual((await openLog(store, { keyless })).damage, [{ kind: 'log_chain_broken', number: 4 }])
})

test('A planted entry with a huge number is named without noting every number before it', async () => {
  const store = await logOf(2)
  await store.put('log/999999999999', [new SeededRandom(1).bytes(100)])
  const log = await openLog(store)
  assert.ok(log.damage.length > 1 && log.damage.length < 20_000)
  assert.deepEqual(log.damage.at(-1), { kind: 'log_entry_corrupt', number: 999_999_999_999 })
})

test('Packs keep their ordinals although entries before them are missing, and the gap says which ordinals it took', async () => {
  for (const keyless of [false, true]) {
    const store = new MemoryStore()
    const log = await openLog(store)
    for (const digits of [['a'], ['b', 'c'], [], ['d'], ['e']])
      await log.append(() => ({ fields: { packs: digits.map(PACK) } }))
    await store.delete(logKey(2))
    await store.delete(logKey(3))
    const { state, losses, damage } = await openLog(store, { keyless })
    assert.deepEqual(
      state.packs.map(({ name, ordinal }) => [name[0], ordinal]),
      [
        ['a', 0],
        [undefined, -1],
        [undefined, -1],
        ['d', 3],
        ['e', 4],
      ],
    )
    assert.deepEqual(losses, [{ first: 2, last: 3, from: 1, to: 3 }])
    assert.equal(damage.length, 2)
  }
})

test('An entry that states other ordinals than its predecessors took does not follow them', async () => {
  for (const [firstOrdinal, keyless] of [
    [0, false],
    [2, false],
    [2, true],
  ] as const) {
    const store = new MemoryStore()
    const log = await openLog(store)
    await log.append(() => ({ fields: { packs: [PACK('a')] } }))
    const fields = { format: 'holdfast-log', entry: '1'.repeat(64), atMs: 1, writer: 'x', number: 2 } as const
    const previous = log.state.headHash
    await store.put(logKey(2), [encodeEntry(keys, { ...fields, repository: REPOSITORY, previous, firstOrdinal }, {})])
    assert.deepEqual((await openLog(store, { keyless })).damage, [{ kind: 'log_chain_broken', number: 2 }])
  }
})

test('A planted entry that claims endless ordinals is damage, and costs no memory', async () => {
  const store = await logOf(2)
  const fields = { format: 'holdfast-log', entry: '1'.repeat(64), atMs: 1, writer: 'x', number: 3 } as const
  const planted = { ...fields, repository: REPOSITORY, previous: '', firstOrdinal: 2 ** 50 }
  await store.put(logKey(3), [encodeEntry(keys, planted, {})])
  assert.deepEqual((await openLog(store, { keyless: true })).damage, [{ kind: 'log_entry_corrupt', number: 3 }])
})
