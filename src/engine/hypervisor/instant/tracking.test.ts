import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isHoldfastError } from '#base'
import { bitmapName, type BitmapState, decideTracking, generationOf } from './tracking.ts'

const TRACKER = '0badcafe'
const G = '00000000000a'
const NEXT = '00000000000f'

function bitmap(generation: string, state: Partial<BitmapState> = {}): BitmapState {
  return {
    name: `hf-${TRACKER}-${generation}`,
    recording: true,
    busy: false,
    inconsistent: false,
    persistent: true,
    granularityBytes: 65_536,
    ...state,
  }
}

const stopped = { recording: false }
const younger = bitmap('00000000000b')
const foreign = { ...bitmap(G), name: 'libvirt-checkpoint' }
const otherTracker = { ...bitmap(G), name: `hf-11111111-${G}` }

function decide(bitmaps: readonly BitmapState[], committed: string | undefined = G, keepsBitmaps = true) {
  return decideTracking({ keepsBitmaps, bitmaps }, { tracker: TRACKER, next: NEXT, committed })
}

/** The rows of the table in tracking.ts, in its order. */
const TABLE = [
  { row: 'nothing committed, nothing found', bitmaps: [], committed: undefined, changes: 'first_backup', remove: [] },
  {
    row: 'nothing committed, leftovers',
    bitmaps: [younger],
    committed: undefined,
    changes: 'first_backup',
    remove: [younger.name],
  },
  {
    row: 'G inconsistent',
    bitmaps: [bitmap(G, { inconsistent: true, recording: false })],
    changes: 'bitmap_inconsistent',
    remove: [bitmap(G).name],
  },
  { row: 'G recording', bitmaps: [bitmap(G)], changes: 'since', remove: [] },
  {
    row: 'G recording beside a leftover',
    bitmaps: [bitmap(G), bitmap('00000000000b', stopped)],
    changes: 'since',
    remove: [younger.name],
  },
  { row: 'G stopped, a younger one recording', bitmaps: [bitmap(G, stopped), younger], changes: 'heal', remove: [] },
  {
    row: 'G stopped, the younger one stopped too',
    bitmaps: [bitmap(G, stopped), bitmap('00000000000b', stopped)],
    changes: 'bitmap_inconsistent',
    remove: [bitmap(G).name, younger.name],
  },
  {
    row: 'G stopped, the younger one inconsistent',
    bitmaps: [bitmap(G, stopped), bitmap('00000000000b', { inconsistent: true })],
    changes: 'bitmap_inconsistent',
    remove: [bitmap(G).name, younger.name],
  },
  { row: 'G stopped, alone', bitmaps: [bitmap(G, stopped)], changes: 'bitmap_inconsistent', remove: [bitmap(G).name] },
  { row: 'another generation only', bitmaps: [younger], changes: 'bitmap_wrong_generation', remove: [younger.name] },
  { row: 'nothing, though the format keeps bitmaps', bitmaps: [], changes: 'bitmap_missing', remove: [] },
  { row: 'nothing, the format keeps none', bitmaps: [], keeps: false, changes: 'bitmap_unsupported', remove: [] },
  {
    row: 'G recording in memory only',
    bitmaps: [bitmap(G, { persistent: false })],
    keeps: false,
    changes: 'since',
    remove: [],
  },
] as const

describe('decideTracking()', () => {
  for (const { row, bitmaps, changes, remove, ...rest } of TABLE) {
    it(`${row}: ${changes}`, () => {
      const committed = 'committed' in rest ? rest.committed : G
      const keeps = !('keeps' in rest)
      const withForeign = [foreign, ...bitmaps, otherTracker]
      const decision = decideTracking(
        { keepsBitmaps: keeps, bitmaps: withForeign },
        { tracker: TRACKER, next: NEXT, committed },
      )
      const since = changes === 'since' || changes === 'heal'
      assert.deepEqual(decision.changes, since ? { kind: 'since', generation: G } : { kind: 'all', reason: changes })
      assert.equal(decision.previous, since ? bitmap(G).name : undefined)
      assert.deepEqual(decision.heal, changes === 'heal' ? { into: bitmap(G).name, from: [younger.name] } : undefined)
      assert.deepEqual(decision.remove, remove)
      assert.equal(decision.next, `hf-${TRACKER}-${NEXT}`)
      assert.equal(decision.persistent, keeps)
    })
  }

  it('touches nothing when no tracking is asked for', () => {
    const decision = decideTracking({ keepsBitmaps: true, bitmaps: [bitmap(G), foreign] }, undefined)
    assert.deepEqual(decision.changes, { kind: 'all', reason: 'source_without_bitmap' })
    assert.deepEqual([decision.next, decision.previous, decision.remove], [undefined, undefined, []])
  })

  it('refuses while an export or a job holds a bitmap of the tracker, but not another one', () => {
    assert.throws(
      () => decide([bitmap(G, { busy: true })]),
      (error: unknown) => isHoldfastError(error, 'instant_open'),
    )
    assert.equal(decide([bitmap(G), { ...foreign, busy: true }]).changes.kind, 'since')
  })
})

describe('bitmapName()', () => {
  it('is read back by generationOf() for its own tracker only', () => {
    assert.equal(generationOf(TRACKER, bitmapName(TRACKER, G)), G)
    assert.equal(generationOf('11111111', bitmapName(TRACKER, G)), undefined)
    for (const name of ['hf-0badcafe-', `hf-0badcafe-${G}0`, `hf-0badcafe-${G.toUpperCase()}`, G]) {
      assert.equal(generationOf(TRACKER, name), undefined)
    }
  })

  it('refuses ids that could be mistaken for others', () => {
    for (const [tracker, generation] of [
      ['0badcaf', G],
      [TRACKER, 'x'],
      ['0BADCAFE', G],
      [`${TRACKER}-`, G],
    ] as const) {
      assert.throws(
        () => bitmapName(tracker, generation),
        (error: unknown) => isHoldfastError(error, 'instant_failed'),
      )
    }
  })
})
