import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ManualClock, must, SeededRandom } from '#base'
import { Catalog } from '#catalog'
import { identityOf, silentLogger } from '#runtime'
import { describeJobEngine } from '../contract/engine.contract.ts'
import type { EngineWorld } from '../contract/world.contract.ts'
import { EmbeddedEngine } from './embedded-engine.ts'

type World = Omit<EngineWorld, 'second'>

function openEngine(catalog: Catalog, clock: ManualClock, seed: number): World {
  const process = must(identityOf(), 'This process has an identity')
  const engine = new EmbeddedEngine({ catalog, clock, random: new SeededRandom(seed), process, logger: silentLogger })
  const settle = async (): Promise<void> => {
    for (let last = -1; ;) {
      await engine.tick()
      await engine.settled()
      const events = await catalog.db
        .selectFrom('job_event')
        .select(({ fn }) => fn.countAll<number>().as('n'))
        .executeTakeFirstOrThrow()
      if (events.n === last) return
      last = events.n
    }
  }
  return { engine, clock, round: () => engine.tick(), settle, close: () => engine.stop() }
}

async function openWorld(): Promise<EngineWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-jobs-'))
  const clock = new ManualClock()
  const catalog = await Catalog.open(join(folder, 'catalog.sqlite'), clock)
  const first = openEngine(catalog, clock, 1)
  const others: World[] = []
  return {
    ...first,
    second: async () => {
      const other = openEngine(catalog, clock, 2 + others.length)
      others.push(other)
      return other
    },
    close: async () => {
      for (const other of others) await other.close()
      await first.close()
      await catalog.close()
      await rm(folder, { recursive: true })
    },
  }
}

describeJobEngine('embedded, on SQLite', openWorld)
