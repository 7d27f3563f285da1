import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BlobRefusal, checkConditions, pageRangeOf, rangeOf, xmlText } from './blob-http.ts'

const headers = (given: Record<string, string>) => (name: string) => given[name]
const asked = (range: string) => rangeOf(headers({ range }), 1000)

test('rangeOf() reads one range, from either header, cut at the end', () => {
  assert.deepEqual(asked('bytes=0-0'), { from: 0, to: 1, isPart: true })
  assert.deepEqual(asked('bytes=900-5000'), { from: 900, to: 1000, isPart: true })
  assert.deepEqual(asked('bytes=900-'), { from: 900, to: 1000, isPart: true })
  assert.deepEqual(asked('bytes=-100'), { from: 900, to: 1000, isPart: true })
  assert.deepEqual(asked('bytes=-5000'), { from: 0, to: 1000, isPart: true })
  assert.deepEqual(rangeOf(headers({ 'x-ms-range': 'bytes=1-2', range: 'bytes=5-6' }), 1000), {
    from: 1,
    to: 3,
    isPart: true,
  })
})

test('rangeOf() gives the whole for what it cannot read, and refuses what lies behind the end', () => {
  for (const range of ['', 'bytes=', 'bytes=-', 'bytes=5-2', 'bytes=0-1,3-4', 'lines=1-2', 'bytes=a-b'])
    assert.deepEqual(asked(range), { from: 0, to: 1000, isPart: false }, range)
  for (const range of ['bytes=1000-', 'bytes=1000-1001', 'bytes=-0'])
    assert.throws(
      () => asked(range),
      (error: BlobRefusal) => error.status === 416,
      range,
    )
})

test('pageRangeOf() takes whole pages inside the blob, at most so many', () => {
  const page = (range: string) => pageRangeOf(headers({ range }), 4096, 1024)
  assert.deepEqual(page('bytes=512-1023'), { from: 512, to: 1024, isPart: true })
  for (const range of [
    'bytes=0-510',
    'bytes=1-512',
    'bytes=512-',
    'bytes=-512',
    'bytes=512-511',
    '',
    'bytes=3584-4607',
  ])
    assert.throws(
      () => page(range),
      (error: BlobRefusal) => error.status === 416,
      range,
    )
  assert.throws(
    () => page('bytes=0-1535'),
    (error: BlobRefusal) => error.status === 413,
  )
})

test('checkConditions() and xmlText()', () => {
  checkConditions(headers({ 'if-match': '"x", "a"' }), '"a"')
  checkConditions(headers({ 'if-none-match': '"b"' }), '"a"')
  assert.throws(
    () => checkConditions(headers({ 'if-match': '"b"' }), '"a"'),
    (error: BlobRefusal) => error.status === 412,
  )
  assert.throws(
    () => checkConditions(headers({ 'if-none-match': '*' }), '"a"'),
    (error: BlobRefusal) => error.status === 304,
  )
  assert.equal(xmlText('a<b>&"\u0001'), 'a&lt;b&gt;&amp;&quot;?')
})
