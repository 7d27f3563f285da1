/** Recorded histories are replayed by every later version: changes of behaviour wait for new jobs. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { isHoldfastError, ManualClock, must, SeededRandom } from '#base'
import { Catalog } from '#catalog'
import { identityOf, silentLogger } from '#runtime'
import { EmbeddedEngine } from './embedded-engine.ts'

const GOLDEN = new URL('../../../test/golden/jobs/in-flight-version-1.sql', import.meta.url)

test('a job that was in flight before flag 1 goes on in its old order, and nothing that it recorded runs again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-replay-'))
  const path = join(folder, 'catalog.sqlite')
  const clock = new ManualClock()
  await (await Catalog.open(path, clock)).close()
  const db = new DatabaseSync(path)
  db.exec(readFileSync(GOLDEN, 'utf8'))
  db.close()

  const catalog = await Catalog.open(path, clock)
  const process = must(identityOf(), 'This process has an identity')
  const engine = new EmbeddedEngine({ catalog, clock, random: new SeededRandom(1), process, logger: silentLogger })
  const ran: string[] = []
  engine.define({
    name: 'backup',
    version: 1,
    flags: { 1: 'The point is sealed before the old bitmap is released; releasing first could lose writes.' },
    run: async (job, input: Readonly<{ machine: string }>) => {
      const step = (name: string) => job.step(name, () => void ran.push(name))
      const { generation } = await job.step('freeze', () => assert.fail('freeze was recorded'))
      await job.sleep('settle', 5000)
      const approval = await job.waitForSignal('approve')
      const asked = await job
        .step('ask', () => assert.fail('its failure was recorded'))
        .catch((error: unknown) => isHoldfastError(error, 'agent_absent'))
      if (job.has(1)) await step('seal')
      await step('release')
      if (!job.has(1)) await step('seal')
      return { machine: input.machine, generation, approval, asked }
    },
  })
  await engine.tick()
  await engine.settled()
  const job = must(await engine.get('g-1'), 'It is there')
  assert.equal(job.error, undefined)
  assert.deepEqual(job.output, { machine: 'db-1', generation: 7, approval: { by: 'operator' }, asked: true })
  assert.deepEqual(ran, ['release', 'seal'])
  assert.equal((await engine.steps('g-1')).find(({ name }) => name === 'release')?.attempts, 2)
  assert.ok(job.epoch > 3)
  await engine.stop()
  await catalog.close()
  await rm(folder, { recursive: true })
})
