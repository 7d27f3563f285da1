import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { PROGRAM_VERSION } from '#base'
import { argumentsOf, processState, silentLogger, systemClock } from '#runtime'
import { type Home, openHome } from './home.ts'
import { type Sighting, Supervised } from './supervisor.ts'

let home: Home
beforeEach(async () => {
  home = openHome(await mkdtemp(join(tmpdir(), 'hf-sup-')))
})
afterEach(() => rm(home.folder, { recursive: true }))

test('begin() says which process did not start, and where its log is', async () => {
  for (const program of ['false', '/nowhere/at/all']) {
    const worker = new Supervised(
      {
        name: 'worker',
        entry: { program, args: [] },
        look: () => Promise.resolve(undefined),
        makeWay: { kind: 'beside' },
      },
      home,
      systemClock,
      silentLogger,
    )
    await assert.rejects(worker.begin(), {
      code: 'process_not_started',
      facts: { process: 'worker', log: home.log('worker'), output: home.output('worker') },
    })
  }
})

const TIMING = { watchMs: 10, lookEveryMs: 10, looksMissedMax: 3 }

/** A process that sleeps, and answers as long as the test says so. */
class Sleeper {
  answers = true
  version = PROGRAM_VERSION
  asked = 0
  mayEnd = true
  readonly #pids = new Set<number>()

  make(kind: 'beside' | 'first'): Supervised {
    const ask = (): Promise<void> => {
      this.asked += 1
      return Promise.resolve()
    }
    const mayEnd = (): boolean => this.mayEnd
    const entry = { program: 'sleep', args: ['600'] }
    const makeWay = kind === 'beside' ? ({ kind } as const) : ({ kind, ask, mayEnd } as const)
    const made: Supervised = new Supervised(
      { name: 'sleeper', entry, makeWay, look: () => Promise.resolve(this.#sight(made)) },
      home,
      systemClock,
      silentLogger,
      TIMING,
    )
    return made
  }

  #sight(made: Supervised): Sighting | undefined {
    const { identity } = made.state
    if (identity !== undefined) this.#pids.add(identity.pid)
    return identity === undefined || !this.answers ? undefined : { identity, version: this.version }
  }

  end(): void {
    for (const pid of this.#pids) if (argumentsOf(pid).includes('600')) process.kill(pid, 'SIGKILL')
  }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const endMs = systemClock.monotonicMs() + 10_000
  while (!holds()) {
    if (systemClock.monotonicMs() > endMs) throw new Error(`It did not come to pass: ${what}`)
    await systemClock.sleep(5)
  }
}

async function withSleeper(
  kind: 'beside' | 'first',
  use: (sleeper: Sleeper, made: Supervised) => Promise<void>,
): Promise<void> {
  const sleeper = new Sleeper()
  const made = sleeper.make(kind)
  try {
    await made.begin()
    await use(sleeper, made)
  } finally {
    await made.leave()
    sleeper.end()
  }
}

test('a process is found again by its record, and left running', async () => {
  await withSleeper('first', async (sleeper, first) => {
    const { identity } = first.state
    await first.leave()
    const second = sleeper.make('first')
    await second.begin()
    await second.leave()
    assert.equal(second.state.starts, 0)
    assert.ok(identity)
    assert.deepEqual(second.state.identity, identity)
    assert.equal(processState(identity), 'alive')
  })
})

test('a hung process that others stand beside is replaced, then ended; the state says why, also to the next server', async () => {
  await withSleeper('beside', async (sleeper, made) => {
    const { identity } = made.state
    assert.ok(identity)
    assert.equal(made.state.health, 'well')
    sleeper.answers = false
    await until('it misses looks', () => made.state.health === 'hung' || made.state.starts === 2)
    sleeper.answers = true
    await until('another one runs', () => made.state.starts === 2 && made.state.health === 'well')
    await until('the hung one is ended', () => processState(identity) === 'dead')
    assert.notEqual(made.state.identity?.pid, identity.pid)
    assert.match(made.state.lastRestart?.reason ?? '', /^it did not answer 3 times in a row$/)
    const next = sleeper.make('beside')
    await made.leave()
    await next.begin()
    await next.leave()
    assert.deepEqual(next.state.lastRestart, made.state.lastRestart)
  })
})

test('a hung process that must go first is only reported while nobody may end it, and ended once that is safe', async () => {
  await withSleeper('first', async (sleeper, made) => {
    const { identity } = made.state
    assert.ok(identity)
    sleeper.mayEnd = false
    sleeper.answers = false
    await until('it is reported', () => made.state.health === 'hung')
    assert.equal(processState(identity), 'alive')
    assert.equal(made.state.starts, 1)
    sleeper.answers = true
    await until('it answers again and is well', () => made.state.health === 'well')
    assert.deepEqual(made.state.identity, identity)
    sleeper.answers = false
    await until('it hangs again', () => made.state.health === 'hung')
    sleeper.mayEnd = true
    await until('it is ended', () => processState(identity) === 'dead')
    sleeper.answers = true
    await until('another one runs', () => made.state.starts === 2 && made.state.health === 'well')
  })
})

test('a process of another version is asked once to make way, and is started anew when it has gone', async () => {
  await withSleeper('first', async (sleeper, made) => {
    const { identity } = made.state
    assert.ok(identity)
    sleeper.version = '0.0.9'
    await until('it is asked', () => made.state.retiring)
    assert.equal(made.state.version, '0.0.9')
    process.kill(identity.pid, 'SIGKILL')
    sleeper.version = PROGRAM_VERSION
    await until('another one runs', () => made.state.starts === 2 && made.state.health === 'well')
    assert.equal(sleeper.asked, 1)
    assert.deepEqual(
      [made.state.version, made.state.retiring, made.state.lastRestart?.reason],
      [PROGRAM_VERSION, false, 'it made way when its work was done'],
    )
  })
})
