/**
 * What every job engine keeps, whatever it stands on. An implementation gives a world with a clock that stands still until
 * it is moved; processes that die are the matter of test/jobs.
 */
import { afterEach, beforeEach, describe } from 'node:test'
import { describeCancel } from './cancel.contract.ts'
import { describeOrder } from './order.contract.ts'
import { describeSchedules } from './schedules.contract.ts'
import { describeSteps } from './steps.contract.ts'
import { describeWaits } from './waits.contract.ts'
import type { EngineWorld } from './world.contract.ts'

export function describeJobEngine(name: string, open: () => Promise<EngineWorld>): void {
  describe(`job engine: ${name}`, { timeout: 60_000 }, () => {
    let world: EngineWorld
    beforeEach(async () => {
      world = await open()
    })
    afterEach(() => world.close())
    describeSteps(() => world)
    describeWaits(() => world)
    describeCancel(() => world)
    describeOrder(() => world)
    describeSchedules(() => world)
  })
}
