import assert from 'node:assert/strict'
import { test } from 'node:test'
import { errorShapeOf, reviveError } from './error-shape.ts'
import { HoldfastError, isHoldfastError } from './errors.ts'

class Damaged extends HoldfastError {}

test('reviveError() gives back what errorShapeOf() kept, over JSON', () => {
  const facts = { chunk: 7, packs: ['a', 'b'] }
  const error = new Damaged('chunk_corrupt', 'Chunk 7 is damaged.', { facts, retry: 'later', hint: 'Verify.' })
  const shape = errorShapeOf(error, 'foreign')
  const revived = reviveError(JSON.parse(JSON.stringify(shape)) as typeof shape)
  assert.ok(isHoldfastError(revived, 'chunk_corrupt'))
  assert.deepEqual(
    [revived.message, revived.facts, revived.retry, revived.hint],
    ['Chunk 7 is damaged.', facts, 'later', 'Verify.'],
  )
})

test('errorShapeOf() says of a foreign error that it is never to be retried, and cuts what is too long', () => {
  assert.deepEqual(errorShapeOf(new TypeError('x is not a function'), 'foreign'), {
    code: 'foreign',
    message: 'x is not a function',
    facts: { name: 'TypeError' },
    retry: 'never',
  })
  const long = errorShapeOf(new Damaged('d', 'm'.repeat(9000), { facts: { f: 'f'.repeat(9000) } }), 'foreign')
  assert.ok(JSON.stringify(long).length < 5000)
  assert.equal(long.facts['factsLeftOut'], true)
})
