import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import type { OpenInstantOptions } from '../port.ts'
import { type Arriving, canShare, CONSUMERS, OPERATIONS, rule, ruleAll, type UnderWay } from './interactions.ts'

const UNDER_WAY = ['instant_wanted', 'instant_open', ...OPERATIONS] as const satisfies readonly UnderWay[]
/** Where the columns of the header's table begin. */
const COLUMNS = [17, 32, 47, 61, 75, 89, 103]

/** The rows of the table in the header of interactions.ts. */
function picture(): Map<string, string[]> {
  const source = readFileSync(new URL('./interactions.ts', import.meta.url), 'utf8')
  const rows = new Map<string, string[]>()
  for (const line of source.split('\n')) {
    const row = /^ \*   ([a-z,]+)\s{2,}(.*)$/.exec(line)
    const cells = row?.[2]?.trim().split(/\s{2,}/) ?? []
    if (row?.[1] !== undefined && cells.length === COLUMNS.length) rows.set(row[1].replace(',', '_'), cells)
    const stop = /^ \*   (attach,detach) (.*)$/.exec(line)
    if (stop?.[2] !== undefined) rows.set('attach_detach', stop[2].trim().split(/\s{2,}/))
  }
  return rows
}

describe('rule()', () => {
  const rows = picture()
  for (const arriving of [...CONSUMERS, ...OPERATIONS] satisfies Arriving[]) {
    for (const [i, underWay] of UNDER_WAY.entries()) {
      it(`${arriving} arriving at ${underWay} is as the header says`, () => {
        const cell = rows.get(arriving)?.[i]
        assert.ok(cell !== undefined, 'The header has this cell')
        assert.equal(rule(arriving, underWay), cell.replace(' ', '_'))
      })
    }
  }

  it('takes the strictest of all that is under way', () => {
    assert.equal(ruleAll('backup', []), 'run')
    assert.equal(ruleAll('backup', ['hydration', 'instant_wanted']), 'join')
    assert.equal(ruleAll('backup', ['instant_wanted', 'resize']), 'wait')
    assert.equal(ruleAll('stop', ['resize', 'instant_open']), 'break_off')
    assert.equal(ruleAll('migration', ['instant_open', 'stop']), 'refuse')
  })
})

describe('canShare()', () => {
  const tracking = {
    tracker: '0badcafe',
    next: '00000000000b',
    committed: { a: '00000000000a' },
    granularityBytes: 65_536,
  }
  const first: OpenInstantOptions = { consistency: 'filesystem', tracking, excludeLuns: [2, 1] }

  it('shares whatever the attempt would be called, and in whatever order LUNs are named', () => {
    assert.ok(canShare(first, { ...first, tracking: { ...tracking, next: '00000000000c' }, excludeLuns: [1, 2] }))
    assert.ok(canShare({ consistency: 'crash' }, { consistency: 'crash', strict: false }))
  })

  const different: readonly (readonly [string, OpenInstantOptions])[] = [
    ['another consistency', { ...first, consistency: 'crash' }],
    ['strictness', { ...first, strict: true }],
    ['other disks', { ...first, excludeLuns: [1] }],
    ['another repository', { ...first, tracking: { ...tracking, tracker: '11111111' } }],
    ['another granularity', { ...first, tracking: { ...tracking, granularityBytes: 4_096 } }],
    ['another parent', { ...first, tracking: { ...tracking, committed: { a: '000000000009' } } }],
    ['a further parent', { ...first, tracking: { ...tracking, committed: { a: '00000000000a', b: '00000000000a' } } }],
    ['no tracking', { consistency: 'filesystem', excludeLuns: [1, 2] }],
  ]
  for (const [what, second] of different) {
    it(`does not share over ${what}`, () => {
      assert.ok(!canShare(first, second))
      assert.ok(!canShare(second, first))
    })
  }
})
