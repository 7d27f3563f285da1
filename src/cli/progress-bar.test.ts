import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GIB, MIB } from '#base'
import { formatDuration, ProgressBar, progressLine } from './progress-bar.ts'

test('progressLine() tells share, amount, rate and time left, and no share while the total is unknown', () => {
  const half = progressLine({ task: 'Reading disk 0', doneBytes: GIB, totalBytes: 2 * GIB }, 100 * MIB)
  assert.equal(half, 'Reading disk 0  [############............]  50 %  1.0 GiB of 2.0 GiB  100.0 MiB/s  11 s left')
  assert.equal(progressLine({ task: 'Copying', doneBytes: MIB, totalBytes: 0 }, 0), 'Copying  1.0 MiB')
  const shares = { task: 'Creating disk d1', doneBytes: 42, totalBytes: 100, unit: 'percent' } as const
  assert.equal(progressLine(shares, 2), 'Creating disk d1  [##########..............]  42 %  29 s left')
  assert.equal(progressLine({ ...shares, totalBytes: 0 }, 0), 'Creating disk d1')
  const over = progressLine({ task: 'x', doneBytes: 3, totalBytes: 2 }, 0)
  assert.match(over, / 100 % /, 'never more than all')
})

test('formatDuration() rounds up and never says 60', () => {
  assert.deepEqual([0.2, 59, 59.5, 60, 185, 3599.5, 7620].map(formatDuration), [
    '1 s',
    '59 s',
    '1 min 00 s',
    '1 min 00 s',
    '3 min 05 s',
    '1 h 00 min',
    '2 h 07 min',
  ])
})

test('ProgressBar draws over its line on a terminal, and says nothing of short work elsewhere', () => {
  const written: string[] = []
  const bar = new ProgressBar({ isTTY: true, columns: 30, write: (text) => written.push(text) })
  bar.show({ task: 'Reading disk 0', doneBytes: 1, totalBytes: 100 })
  bar.end()
  bar.end()
  assert.equal(written.length, 2, 'the second end has nothing to clear')
  assert.ok(written[0]?.startsWith('\rReading disk 0') && !written[0].includes('\n'))
  assert.ok((written[0]?.length ?? 0) < 30 + 5, 'a line never wraps')
  const plain: string[] = []
  new ProgressBar({ write: (text) => plain.push(text) }).show({ task: 'x', doneBytes: 1, totalBytes: 2 })
  assert.deepEqual(plain, [])
})
