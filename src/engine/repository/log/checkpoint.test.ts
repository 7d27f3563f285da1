import assert from 'node:assert/strict'
import { test } from 'node:test'
import { must, SeededRandom } from '#base'
import { DAY_MS, judge } from '../immutability/observed-time.ts'
import type { ImmutabilityPolicy } from '../immutability/policy.ts'
import type { PointRecord } from '../point.ts'
import { rollbackOf } from '../remembered-head.ts'
import { FaultyStore } from '../stores/faulty-store.ts'
import { MemoryStore } from '../stores/memory-store.ts'
import { readWholeLog } from '../verify/whole-log.ts'
import { checkpointKey, encodeCheckpoint, openCheckpoint } from './checkpoint.ts'
import { listCheckpoints } from './choose-checkpoint.ts'
import { deletedUnder } from './commit-check.ts'
import { decodeEntry, type Envelope, logKey } from './entry.ts'
import type { CommitLog, EntryDraft } from './log.ts'
import { clock, keys, openLog, REPOSITORY } from './log.rig.ts'
import { decodeOrdinals } from './ordinals.ts'
import { LogState } from './state.ts'

const EVERY = 8
const parts = {
  store: new MemoryStore(),
  keys,
  repositoryId: REPOSITORY,
  clock,
  random: new SeededRandom(5),
  writer: 'r',
}

const record = (id: string, note: string): PointRecord => ({
  schema: 1,
  id,
  machine: 'm',
  takenAt: '',
  consistency: 'crash',
  notes: [note],
  mode: 'full',
  disks: [],
  attachments: [],
  writer: 'w',
})

const anyPolicy = (random: SeededRandom): ImmutabilityPolicy => {
  const state = random.pick(['disabled', 'unlocked', 'unlocked', 'locked'] as const)
  return { state, days: state === 'disabled' ? 0 : 1 + random.below(9) }
}

const anyLock = (random: SeededRandom, { time }: LogState): { lockedUntilMs?: number } =>
  random.chance(0.4) ? { lockedUntilMs: time.observedMs + random.pick([1, 5, 70]) * random.below(DAY_MS) } : {}

/** A draft of any kind, by chance: also such as break the rules of locks, which readers pass over. */
function anyDraft(random: SeededRandom, names: () => string, state: LogState): EntryDraft {
  const points = [...state.points.keys()]
  const packs = state.packs.filter(({ status }) => status === 'live')
  const doomed = state.packs.filter(({ status }) => status === 'doomed').map(({ name }) => name)
  const kind = random.below(11)
  if (kind === 8) return { fields: { immutability: anyPolicy(random) } }
  if (kind === 9) return { fields: random.chance(0.3) ? { acceptedMs: clock.nowMs() } : {} }
  if (kind === 0 && points.length > 0) return { fields: { forgotten: [random.pick(points)] } }
  if (kind === 1 && packs.length > 0) return { fields: { tombstones: [random.pick(packs).name, names()] } }
  if (kind === 2) return { fields: { deletions: [...doomed, ...state.doomedStrays] } }
  if (kind === 3) {
    const lastsMs = random.pick([random.below(9), 2 * DAY_MS, 3000 * DAY_MS])
    return { fields: { pin: { holder: 'h', purpose: 'p', expiresAtMs: clock.nowMs() + lastsMs } } }
  }
  if (kind === 4 && packs.length > 0) {
    const [from, to] = [random.pick(packs).ordinal, state.packs.length]
    return { fields: { packs: [{ name: names(), lengthBytes: 7 }], moved: { from: `${from}`, to: `${to}` } } }
  }
  const id = names().slice(0, 32)
  const base = points.length > 0 && random.chance(0.6) ? { base: random.pick(points) } : {}
  const uses = [state.packs.length, ...packs.filter(() => random.chance(0.2)).map(({ ordinal }) => ordinal)].join(',')
  const sorted = uses
    .split(',')
    .map(Number)
    .sort((a, b) => a - b)
    .join(',')
  return {
    fields: {
      packs: [{ name: names(), lengthBytes: 5 }],
      points: [{ id, uses: sorted, ...base, ...anyLock(random, state) }],
    },
    body: { points: [record(id, `of ${state.head}`)] },
  }
}

function namer(seed: number): () => string {
  const random = new SeededRandom(seed + 1000)
  return () => Buffer.from(random.bytes(32)).toString('hex')
}

async function filled(
  seed: number,
  entries: number,
  entriesMin = EVERY,
): Promise<{ store: MemoryStore; log: CommitLog }> {
  const store = new MemoryStore()
  const [random, log] = [new SeededRandom(seed), await openLog(store, { seed, entriesMin })]
  const names = namer(seed)
  for (let i = 0; i < entries; i += 1) {
    clock.advance(random.pick([1, 3, DAY_MS * 0.8, DAY_MS * 2, DAY_MS * 9]))
    // Now and then the writer's clock is far off, ahead or behind, and right again.
    const trueMs = clock.nowMs()
    if (random.chance(0.15)) clock.jumpTo(trueMs + random.pick([-400, 60, 4000]) * DAY_MS)
    await log.append((state) => anyDraft(random, names, state))
    clock.jumpTo(trueMs)
  }
  return { store, log }
}

const closures = ({ state }: CommitLog): Map<string, number[]> =>
  new Map(
    [...state.points.values()].map(({ header }) => [
      header.id,
      [...state.closureOf(header)].filter((o) => state.packs[o]?.status !== 'deleted').sort((a, b) => a - b),
    ]),
  )

test('Whoever reads from a checkpoint knows what those know who read every entry', async () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const { store, log } = await filled(seed, 60)
    const short = await openLog(store, { seed: 90, entriesMin: EVERY })
    assert.ok(short.from >= 48, `read from ${short.from}`)
    const whole = await readWholeLog({ ...parts, store })
    assert.deepEqual(whole.checkpointDamage, [])
    for (const other of [short, whole.log]) assertSame(other, log)
    // They go on alike, whatever comes.
    const [random, names] = [new SeededRandom(seed + 70), namer(seed + 70)]
    for (let i = 0; i < 20; i += 1) await log.append((state) => anyDraft(random, names, state))
    await short.refresh()
    await whole.log.refresh()
    for (const other of [short, whole.log]) assertSame(other, log)
  }
})

/** All that can be asked of two logs is answered alike, at several times. */
function assertSame(other: CommitLog, log: CommitLog): void {
  assert.deepEqual(other.state.snapshot(), log.state.snapshot())
  assert.deepEqual(other.points(), log.points())
  const { observedMs } = log.state.time
  for (const days of [0, 1, 8, 40, 3000]) {
    const nowMs = observedMs + days * DAY_MS
    assert.deepEqual(other.state.lockedPacks(nowMs), log.state.lockedPacks(nowMs))
    assert.deepEqual(other.state.pins.active(nowMs), log.state.pins.active(nowMs))
    assert.deepEqual(judge(other.state.time, { nowMs }), judge(log.state.time, { nowMs }))
  }
}

test('The logs of these tests meet all that a checkpoint must carry for locks', async () => {
  const met = { doubtedPins: 0, doubts: 0, lockedPolicies: 0, heldThoughForgotten: 0, refusedToForget: 0 }
  for (let seed = 1; seed <= 12; seed += 1) {
    const { store, log } = await filled(seed, 60)
    for (const number of await listCheckpoints(store)) {
      const bytes = await store.get(checkpointKey(number))
      const { state } = must(openCheckpoint(keys, bytes, REPOSITORY, number), 'Whole')
      met.doubtedPins += state.pins.filter(({ doubted }) => doubted === true).length
      met.doubts += state.time.doubted === undefined ? 0 : 1
      met.lockedPolicies += state.immutability.state === 'locked' ? 1 : 0
      met.heldThoughForgotten += state.forgotten.filter(({ forgottenIn }) => forgottenIn <= state.horizon).length
    }
    for (let number = 1; number <= 60; number += 1) {
      const { envelope } = must(decodeEntry(await store.get(logKey(number))), 'An entry')
      met.refusedToForget += (envelope.forgotten ?? []).filter((id) => log.state.points.has(id)).length
    }
  }
  for (const [what, count] of Object.entries(met)) assert.ok(count > 0, what)
})

const lockedNames = (state: LogState, nowMs: number): string[] =>
  [...state.lockedPacks(nowMs)].flatMap((ordinal) => {
    const pack = state.packs[ordinal]
    return pack === undefined || pack.status === 'deleted' ? [] : [pack.name]
  })

test('Making a state compact changes no closure of a live point and unlocks nothing, but for packs that are gone', async () => {
  let [givenUp, locked] = [0, 0]
  for (let seed = 20; seed < 32; seed += 1) {
    const { store, log } = await filled(seed, 60)
    const plain = new LogState()
    for (let number = 1; number <= 60; number += 1) {
      const { envelope } = must(decodeEntry(await store.get(logKey(number))), 'An entry')
      const { compact: _, ...rest } = envelope
      plain.apply(rest, `h${number}`)
    }
    assert.deepEqual(closures(log), closures({ state: plain } as CommitLog))
    givenUp += plain.packsKnown - log.state.packsKnown
    for (const days of [0, 3, 20, 50]) {
      const nowMs = plain.time.observedMs + days * DAY_MS
      assert.deepEqual(lockedNames(log.state, nowMs).sort(), lockedNames(plain, nowMs).sort())
      locked += lockedNames(plain, nowMs).length
    }
    assert.deepEqual(
      log.state.packs.filter(({ status }) => status !== 'deleted').map(({ name, status }) => [name, status]),
      plain.packs.filter(({ status }) => status !== 'deleted').map(({ name, status }) => [name, status]),
    )
  }
  assert.ok(givenUp > 0 && locked > 0, 'deleted packs were given up, others were locked')
})

test('A damaged, truncated, foreign or misplaced checkpoint is passed over, and named by whoever reads all entries', async () => {
  const { store, log } = await filled(3, 60)
  const newest = must((await listCheckpoints(store)).at(-1), 'There are checkpoints')
  const good = await store.get(checkpointKey(newest))
  const foreign = (await filled(4, 60)).store
  const flipped = Buffer.from(good)
  flipped[300] = (flipped[300] ?? 0) ^ 1
  const harms: [string, Uint8Array][] = [
    ['flipped', flipped],
    ['truncated', good.subarray(0, 200)],
    ['empty', new Uint8Array()],
    ['foreign', await foreign.get(checkpointKey(must((await listCheckpoints(foreign)).at(-1), 'one')))],
  ]
  for (const [name, bytes] of harms) {
    store.overwrite(checkpointKey(newest), bytes)
    const short = await openLog(store, { seed: 91, entriesMin: EVERY })
    assert.ok(short.from < newest && short.from > 0, name)
    assert.deepEqual(short.points(), log.points(), name)
    for (const withKey of [true, false]) {
      const { keys: _, ...keyless } = parts
      const whole = await readWholeLog({ ...(withKey ? parts : keyless), store })
      if (!withKey && name === 'foreign') continue // its number may differ; without the key its state is compared below
      assert.deepEqual(whole.checkpointDamage, [
        { kind: 'checkpoint_corrupt', object: checkpointKey(newest), points: [] },
      ])
    }
  }
})

test('An authentic checkpoint that says other than the entries is named with and without the key', async () => {
  const { store, log } = await filled(3, 60)
  const newest = must((await listCheckpoints(store)).at(-1), 'There are checkpoints')
  const content = must(openCheckpoint(keys, await store.get(checkpointKey(newest)), REPOSITORY, newest), 'Whole')
  const lost = { state: { ...content.state, points: content.state.points.slice(1) }, records: content.records.slice(1) }
  store.overwrite(checkpointKey(newest), encodeCheckpoint(keys, REPOSITORY, new SeededRandom(8).bytes(32), lost))
  const { keys: _, ...keyless } = parts
  for (const reader of [parts, keyless]) {
    const { checkpointDamage } = await readWholeLog({ ...reader, store })
    assert.deepEqual(checkpointDamage, [{ kind: 'checkpoint_corrupt', object: checkpointKey(newest), points: [] }])
  }
  assert.ok(log.points().length > lost.records.length)
})

test('A checkpoint of another history is not believed: the chain must hold the entry that it is of', async () => {
  const { store } = await filled(3, 40)
  const fork = new MemoryStore()
  for await (const { key } of store.list('')) await fork.put(key, [await store.get(key)])
  const [ours, theirs] = [
    await openLog(store, { entriesMin: EVERY }),
    await openLog(fork, { seed: 7, entriesMin: EVERY }),
  ]
  for (let i = 0; i < 12; i += 1)
    await theirs.append(() => ({ fields: { forgotten: [...theirs.state.points.keys()] } }))
  for (let i = 0; i < 12; i += 1) await ours.append(() => ({ fields: { unpin: [i] } }))
  for (const number of await listCheckpoints(fork)) {
    if ((await store.head(checkpointKey(number))) !== undefined) await store.delete(checkpointKey(number))
    await store.put(checkpointKey(number), [await fork.get(checkpointKey(number))])
  }
  assert.ok(ours.points().length > 0)
  assert.deepEqual((await openLog(store, { seed: 92, entriesMin: EVERY })).points(), ours.points())
})

test('Without any checkpoint the log is read from its beginning; an older one serves when the newest is gone', async () => {
  const { store, log } = await filled(3, 60)
  for (const number of (await listCheckpoints(store)).reverse()) {
    await store.delete(checkpointKey(number))
    const short = await openLog(store, { entriesMin: EVERY })
    assert.ok(short.from < number)
    assert.deepEqual(short.state.snapshot(), log.state.snapshot())
  }
})

test('A log that was put back is noticed also behind a checkpoint, and though the entry that was seen was left lying', async () => {
  const { store } = await filled(3, 40)
  const fork = new MemoryStore()
  for await (const { key } of store.list('')) await fork.put(key, [await store.get(key)])
  const [ours, theirs] = [
    await openLog(store, { entriesMin: EVERY }),
    await openLog(fork, { seed: 7, entriesMin: EVERY }),
  ]
  await ours.append(() => ({ fields: { unpin: [1] } }))
  const seen = { number: 41, hash: ours.state.headHash }
  for (let i = 0; i < 30; i += 1) await theirs.append(() => ({ fields: { unpin: [2] } }))
  const put = await openLog(fork, { seed: 9, entriesMin: EVERY })
  assert.ok(put.from > 41)
  assert.equal((await rollbackOf(put, seen, ''))?.code, 'log_rolled_back')
  fork.overwrite(logKey(41), await store.get(logKey(41)))
  assert.equal((await rollbackOf(await openLog(fork, { entriesMin: EVERY }), seen, ''))?.code, 'log_rolled_back')
  const honest = await filled(3, 40)
  const before = { number: 13, hash: must(honest.log.hashOf(13), 'Read') }
  assert.equal(await rollbackOf(await openLog(honest.store, { entriesMin: EVERY }), before, ''), undefined)
})

test('A writer that dies while it writes the checkpoint has committed its entry; readers do without', async () => {
  for (let seed = 1; seed <= 6; seed += 1) {
    const store = new MemoryStore()
    const faulty = new FaultyStore(store)
    const log = await openLog(faulty, { entriesMin: EVERY })
    for (let i = 1; i < EVERY; i += 1) await log.append(() => ({ fields: { unpin: [i] } }))
    faulty.crashAfter(1, new SeededRandom(seed))
    assert.equal(await log.append(() => ({ fields: { unpin: [99] } })), EVERY)
    const next = await openLog(store, { seed: 2, entriesMin: EVERY })
    assert.deepEqual([next.damage, next.state.head], [[], EVERY])
    for (let i = 0; i < EVERY; i += 1) await next.append(() => ({ fields: { unpin: [i] } }))
    assert.equal((await openLog(store, { seed: 3, entriesMin: EVERY })).from, 2 * EVERY)
  }
})

test('Whoever stood still while the log went on past the horizon commits nothing, and is told so', () => {
  const state = new LogState()
  const entry = (number: number, fields: Partial<Envelope>): void =>
    state.apply({ number, atMs: number, ...fields } as Envelope, `h${number}`)
  entry(1, { pin: { holder: 'slow', purpose: 'p', expiresAtMs: 2 } })
  entry(2, { packs: [{ name: 'a'.repeat(64), lengthBytes: 1 }], points: [{ id: '1'.repeat(32), uses: '0' }] })
  entry(3, { forgotten: ['1'.repeat(32)] })
  entry(4, { tombstones: ['a'.repeat(64)] })
  entry(5, { deletions: ['a'.repeat(64)] })
  entry(6, { compact: 5 })
  assert.deepEqual([state.horizon, state.packsKnown, state.pins.size], [5, 0, 0])
  assert.equal(
    state.isDeleted('a'.repeat(64)),
    false,
    'the state does not remember it: only the horizon keeps us from it',
  )
  assert.notDeepEqual(deletedUnder(state, { packNames: [], base: '1'.repeat(32) }), [])
})

test('decodeOrdinals() of a compact state names no pack that is gone', async () => {
  const { log } = await filled(6, 64)
  for (const { header } of log.state.points.values())
    for (const ordinal of decodeOrdinals(header.uses, log.state.packs.length))
      assert.ok(log.state.packs[ordinal] !== undefined)
})
