import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isHoldfastError } from '#base'
import { applyQuery } from './query.ts'
import { anyTable, tsv } from './render.ts'

test('tsv() gives a line a row, objects empty, lists as their length, and never a second line or cell', () => {
  assert.equal(
    tsv([{ name: 'a\tb', size: 5, tags: { x: '1' }, list: [1, 2], none: null, on: true }]),
    'a\\x09b\t5\t\t2\t\ttrue',
  )
  assert.equal(tsv(['a', 'b\nc']), 'a\nb\\x0ac')
  assert.equal(
    tsv([
      ['a', 1],
      ['b', 2],
    ]),
    'a\t1\nb\t2',
  )
  assert.equal(tsv('one'), 'one')
  assert.equal(tsv(null), '')
})

test('anyTable() shows plain values of objects, places of lists, and one column of anything else', () => {
  assert.equal(anyTable([{ name: 'a', tags: {}, size: 10 }, { name: 'bcd' }]), 'Name  Size\na     10\nbcd')
  assert.equal(anyTable([['x', 1]]), 'Column1  Column2\nx              1')
  assert.equal(anyTable(['x', 'y']), 'Result\nx\ny')
  assert.equal(anyTable({ name: 'a' }), 'Name\na')
  assert.equal(anyTable(null), '')
  assert.equal(anyTable([]), '')
})

test('applyQuery() selects as az does, and refuses what cannot be read as a wrong command line', async () => {
  const disks = [
    { name: 'a', properties: { diskSizeGB: 4 } },
    { name: 'b', properties: { diskSizeGB: 8 } },
  ]
  assert.deepEqual(await applyQuery(disks, '[?properties.diskSizeGB > `4`].name'), ['b'])
  assert.deepEqual(await applyQuery(disks, '[].{n: name, size: properties.diskSizeGB} | [0]'), { n: 'a', size: 4 })
  assert.equal(await applyQuery(disks, '[0].nothing'), null)
  for (const query of ['[?', 'length(', 'nofunction(@)'])
    await assert.rejects(applyQuery(disks, query), (error) => isHoldfastError(error, 'usage_invalid'))
})
