import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { processState, silentLogger, systemClock } from '#runtime'
import { type Home, openHome } from './home.ts'
import { Supervised } from './supervisor.ts'

let home: Home
beforeEach(async () => {
  home = openHome(await mkdtemp(join(tmpdir(), 'hf-sup-')))
})
afterEach(() => rm(home.folder, { recursive: true }))

test('begin() says which process did not start, and where its log is', async () => {
  const address = home.socket('worker')
  for (const program of ['false', '/nowhere/at/all']) {
    const worker = new Supervised(
      { name: 'worker', entry: { program, args: [] }, address },
      home,
      systemClock,
      silentLogger,
    )
    await assert.rejects(worker.begin(), {
      code: 'process_not_started',
      facts: { process: 'worker', log: home.log('worker') },
    })
  }
})

test('a process without a socket is found again by its record, and left running', async () => {
  const spec = { name: 'watchdog', entry: { program: 'sleep', args: ['600'] } }
  const first = new Supervised(spec, home, systemClock, silentLogger)
  await first.begin()
  await first.leave()
  const second = new Supervised(spec, home, systemClock, silentLogger)
  await second.begin()
  await second.leave()
  const { identity, starts } = second.state
  assert.ok(identity)
  try {
    assert.equal(starts, 0)
    assert.deepEqual(first.state.identity, identity)
    assert.equal(processState(identity), 'alive')
  } finally {
    process.kill(identity.pid, 'SIGKILL')
  }
})
