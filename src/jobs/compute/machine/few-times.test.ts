import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { HoldfastError } from '#base'
import { systemClock } from '#runtime'
import { fewTimes } from './few-times.ts'

const clock = { ...systemClock, sleep: () => Promise.resolve() }

describe('fewTimes()', () => {
  const failing = (failures: number, code: string) => {
    const seen = { times: 0 }
    const act = async (): Promise<string> => {
      seen.times += 1
      if (seen.times <= failures)
        throw new HoldfastError(code, 'The guest holds it.', { retry: 'later', hint: 'Wait.' })
      return 'done'
    }
    return { seen, act }
  }
  const options = { clock, signal: new AbortController().signal, times: 3, after: ['timed_out'] }

  it('asks again, as often as it may', async () => {
    const { seen, act } = failing(2, 'timed_out')
    assert.equal(await fewTimes(options, act), 'done')
    assert.equal(seen.times, 3)
  })

  it('gives up for good, with the words of the last time', async () => {
    const { seen, act } = failing(3, 'timed_out')
    await assert.rejects(fewTimes(options, act), {
      code: 'timed_out',
      message: 'The guest holds it.',
      hint: 'Wait.',
      retry: 'never',
    })
    assert.equal(seen.times, 3)
  })

  it('leaves to its caller what has another code', async () => {
    const { seen, act } = failing(1, 'instant_open')
    await assert.rejects(fewTimes(options, act), { code: 'instant_open', retry: 'later' })
    assert.equal(seen.times, 1)
  })
})
