import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { must } from '#base'
import { identityOf, isAlive, processState, signalProcess, startTicksOf } from './process-identity.ts'
import { tryProcessLock } from './process-lock.ts'

const STAT = (name: string, state: string): string =>
  `77 (${name}) ${state} 1 77 77 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 123456 2500000 200 18446744073709551615`

test('startTicksOf() is not led astray by the name of the program, and takes a zombie for gone', () => {
  for (const name of ['qemu-system-x86', 'a) S 1 2 3 (b', ') Z 0', 'x y']) {
    assert.equal(startTicksOf(STAT(name, 'S')), '123456')
  }
  assert.equal(startTicksOf(STAT('qemu', 'Z')), undefined)
})

test('isAlive() and signalProcess() know a process that has got the number of another', () => {
  const self = must(identityOf(), 'We live')
  assert.ok(isAlive(self))
  const earlier = { ...self, startTicks: `${Number(self.startTicks) - 1}` }
  assert.ok(!isAlive(earlier))
  assert.ok(!isAlive({ ...self, bootId: 'another boot' }))
  signalProcess(earlier, 'SIGKILL') // would end this test
})

test('processState() says alive of this process, and dead of one whose pid is another’s now', () => {
  const self = must(identityOf(), 'We live')
  assert.equal(processState(self), 'alive')
  assert.equal(processState({ ...self, startTicks: `${Number(self.startTicks) - 1}` }), 'dead')
})

test('processState() says dead of a process that ended, and of nothing that it cannot see', async () => {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  const identity = must(identityOf(must(child.pid, 'It was started')), 'It lives')
  assert.equal(processState(identity), 'alive')
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
  assert.equal(processState(identity), 'dead')
  assert.equal(processState({ ...identity, bootId: 'another boot' }), 'unknown')
  assert.equal(processState({ ...identity, pidNamespace: 'pid:[1]' }), 'unknown')
  assert.equal(identityOf(identity.pid), undefined)
})

test('tryProcessLock() is held once, is free when released, and when its holder is killed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hf-lock-'))
  const path = join(folder, 'lock')
  const first = must(tryProcessLock(path), 'It is free')
  assert.equal(tryProcessLock(path), undefined)
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  first.release()
  const code = `
    import { tryProcessLock } from ${JSON.stringify(new URL('./process-lock.ts', import.meta.url).href)}
    const answer = tryProcessLock(${JSON.stringify(path)}) === undefined ? 'refused' : 'held'
    tryProcessLock(${JSON.stringify(path)})
    gc()
    console.log(answer)
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '--eval', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  try {
    assert.equal(said.toString().trim(), 'held')
    assert.equal(tryProcessLock(path), undefined, 'it is held though the garbage was collected and nobody refers to it')
  } finally {
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  must(tryProcessLock(path), 'The kernel dropped it').release()
  await rm(folder, { recursive: true })
})
