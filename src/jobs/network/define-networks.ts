/** The jobs and tasks of networks, as `serve` and the worker take them, and what keeps networks on a host. */
import { type Clock, messageOf } from '#base'
import type { NetworkHost } from '#engine/hypervisor'
import type { JobEngine } from '../port.ts'
import type { TaskHandler } from '../tasks.ts'
import { APPLY_NETWORK_TASK, applyNetworksJob, applyNetworkTask, type NetworkParts } from './apply-network.ts'
import { CARD_TYPE, NETWORK_TYPE, PUBLIC_ADDRESS_TYPE, SECURITY_GROUP_TYPE } from './network-records.ts'
import { DELETE_NETWORK_RESOURCE_JOB, deleteNetworkResourceJob } from './network-uses.ts'

/** For `delete-group`. */
export const networkDeleteJobs: readonly (readonly [type: string, job: string])[] = [
  CARD_TYPE,
  NETWORK_TYPE,
  PUBLIC_ADDRESS_TYPE,
  SECURITY_GROUP_TYPE,
].map((type) => [type.toLowerCase(), DELETE_NETWORK_RESOURCE_JOB] as const)

export function defineNetworkJobs(engine: JobEngine, parts: NetworkParts): void {
  engine.define(applyNetworksJob(parts))
  engine.define(deleteNetworkResourceJob(parts))
}

export function networkTasks(host: NetworkHost): readonly (readonly [name: string, task: TaskHandler])[] {
  return [[APPLY_NETWORK_TASK, applyNetworkTask(host)]]
}

const CHECK_MS = 2_000
const SWEEP_MS = 3600 * 1000

/** Looks after the networks until the signal aborts: what died is made again, at the first look also after a restart. */
export async function keepNetworks(
  host: NetworkHost,
  clock: Clock,
  signal: AbortSignal,
  warn: (facts: Record<string, unknown>, message: string) => void,
): Promise<void> {
  let sweptMs = clock.monotonicMs()
  while (!signal.aborted) {
    try {
      await host.check()
      if (clock.monotonicMs() - sweptMs > SWEEP_MS) {
        sweptMs = clock.monotonicMs()
        await host.sweep()
      }
      await clock.sleep(CHECK_MS, signal)
    } catch (error) {
      // The next look may be luckier; what ends this is the signal.
      if (!signal.aborted) {
        warn({ error: messageOf(error) }, 'the virtual networks could not be looked after')
        await clock.sleep(CHECK_MS).catch(() => {})
      }
    }
  }
}
