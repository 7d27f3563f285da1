import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { identityOf, isAlive, killProcess, startTicksOf } from './process-identity.ts'

const STAT = (name: string, state: string): string =>
  `77 (${name}) ${state} 1 77 77 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 123456 2500000 200 18446744073709551615`

describe('startTicksOf()', () => {
  it('is not led astray by the name of the program', () => {
    for (const name of ['qemu-system-x86', 'a) S 1 2 3 (b', ') Z 0', 'x y']) {
      assert.equal(startTicksOf(STAT(name, 'S')), 123_456)
    }
  })

  it('takes a zombie for gone', () => {
    assert.equal(startTicksOf(STAT('qemu', 'Z')), undefined)
  })
})

describe('isAlive()', () => {
  it('knows a process that has got the number of another', async () => {
    const self = await identityOf(process.pid)
    assert.ok(self)
    assert.equal(await isAlive(self), true)
    const earlier = { ...self, startTicks: self.startTicks - 1 }
    assert.equal(await isAlive(earlier), false)
    await killProcess(earlier, 'SIGKILL') // would end this test
  })
})
