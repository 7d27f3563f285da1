/**
 * A process that owns an instant and dies by SIGKILL at a chosen step: `node instant-owner.ts REQUEST_JSON`. With the step
 * "hang:STEP" it stops in that step without dying, as a process whose event loop is blocked.
 */
import { must } from '#base'
import {
  type ConsistencyLevel,
  type InstantHost,
  openRunningInstant,
  openStoppedInstant,
  type RunningMachine,
  type TrackingRequest,
} from '#engine/hypervisor'
import { systemClock, systemRandom } from '#runtime'

export type OwnerRequest = Readonly<{
  machine: RunningMachine
  host: Omit<InstantHost, 'clock' | 'random' | 'onStep'>
  tracking: TrackingRequest
  dieAt: string
  end: 'commit' | 'abort'
  consistency: ConsistencyLevel
  stopped?: boolean
}>

const request = JSON.parse(must(process.argv[2], 'A request')) as OwnerRequest

async function onStep(step: string): Promise<void> {
  if (step === request.dieAt) process.kill(process.pid, 'SIGKILL')
  if (`hang:${step}` === request.dieAt) process.kill(process.pid, 'SIGSTOP')
  return Promise.resolve()
}

const host: InstantHost = { ...request.host, clock: systemClock, random: systemRandom, onStep }
const options = { consistency: request.consistency, tracking: request.tracking }
const instant = await (request.stopped === true
  ? openStoppedInstant(host, { description: request.machine.description, stoppedCleanly: true }, options)
  : openRunningInstant(host, request.machine, options))
await (request.end === 'commit' ? instant.commit() : instant.abort('as asked'))
