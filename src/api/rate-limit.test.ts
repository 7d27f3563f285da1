import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '#base'
import { RateLimit } from './rate-limit.ts'

test('admit() lets a burst through, then the steady rate, for each client by itself', () => {
  const clock = new ManualClock()
  const { admit } = new RateLimit({ perSecond: 2, burst: 3 }, clock)
  for (let i = 0; i < 3; i += 1) admit('a')
  assert.throws(() => admit('a'), { code: 'TooManyRequests', status: 429, retry: 'later' })
  admit('b')
  clock.advance(499)
  assert.throws(() => admit('a'), { code: 'TooManyRequests' })
  clock.advance(2)
  admit('a')
  assert.throws(() => admit('a'), { code: 'TooManyRequests' })
  clock.advance(3_600_000)
  for (let i = 0; i < 3; i += 1) admit('a')
  assert.throws(() => admit('a'), { code: 'TooManyRequests' }, 'a bucket never holds more than its burst')
})
