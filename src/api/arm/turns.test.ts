import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Turns } from './turns.ts'

test('what is done under one key is done one after the other, also after one that failed; other keys do not wait', async () => {
  const turns = new Turns()
  const gate = Promise.withResolvers<void>()
  const order: string[] = []
  const first = turns.take('a', async () => {
    await gate.promise
    order.push('a1')
    throw new Error('a1 failed')
  })
  const second = turns.take('a', async () => {
    order.push('a2')
    return 2
  })
  await turns.take('b', async () => void order.push('b'))
  assert.deepEqual(order, ['b'])
  gate.resolve()
  await assert.rejects(first, /a1 failed/)
  assert.equal(await second, 2)
  assert.deepEqual(order, ['b', 'a1', 'a2'])
  assert.equal(await turns.take('a', async () => 3), 3)
})
