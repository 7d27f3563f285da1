import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, it } from 'node:test'
import { systemClock } from '#runtime'
import { withMachineLock } from './machine-lock.ts'

const unique = (name: string): string => `/test/${process.pid}/${name}`

describe('withMachineLock()', () => {
  it('lets one change run at a time and gives the machine back after a failure', async () => {
    const folder = unique('one')
    const order: string[] = []
    const gate = Promise.withResolvers<void>()
    const entered = Promise.withResolvers<void>()
    const first = withMachineLock(systemClock, folder, async () => {
      entered.resolve()
      await gate.promise
      order.push('first')
      throw new Error('broken')
    })
    await entered.promise
    await assert.rejects(
      withMachineLock(systemClock, folder, async () => {}, 0),
      { code: 'machine_state_conflict', retry: 'later' },
    )
    const second = withMachineLock(systemClock, folder, async () => order.push('second'))
    gate.resolve()
    await assert.rejects(first, /broken/)
    await second
    assert.deepEqual(order, ['first', 'second'])
  })

  it('takes the lock from a process that was killed', async () => {
    const folder = unique('killed')
    const script = `
      const { withMachineLock } = await import(${JSON.stringify(new URL('machine-lock.ts', import.meta.url).href)})
      const { systemClock } = await import('#runtime')
      await withMachineLock(systemClock, ${JSON.stringify(folder)}, async () => {
        console.log('held')
        await systemClock.sleep(60_000)
      })`
    const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(holder.stdout, 'data')
    await assert.rejects(
      withMachineLock(systemClock, folder, async () => {}, 0),
      { code: 'machine_state_conflict' },
    )
    holder.kill('SIGKILL')
    await once(holder, 'exit')
    assert.equal(await withMachineLock(systemClock, folder, async () => 'mine'), 'mine')
  })
})
