/** Talking to the control monitor of a machine of ours: connect, make sure that it is that machine, talk, hang up. */
import type { Clock } from '#base'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription } from '../machine.ts'
import { QmpClient } from '../qmp/client.ts'
import { asObject, textOr } from '../qmp/shape.ts'

export type MonitorOptions = Readonly<{ clock: Clock; connectTimeoutMs?: number }>

/** The UUID that the QEMU behind `qmp` was started with. */
export async function uuidOf(qmp: QmpClient): Promise<string> {
  return textOr(asObject(await qmp.execute('query-uuid'), 'the UUID')['UUID'], '').toLowerCase()
}

/**
 * Runs `talk` with the monitor at `socketPath`. The monitor takes one client: callers wait in QEMU's queue.
 * @throws `machine_state_conflict` when another machine answers there; otherwise as QmpClient.
 */
export async function withMonitor<T>(
  socketPath: string,
  machine: Pick<MachineDescription, 'name' | 'uuid'>,
  options: MonitorOptions,
  talk: (qmp: QmpClient) => Promise<T>,
): Promise<T> {
  const qmp = await QmpClient.connect(socketPath, options)
  try {
    const uuid = await uuidOf(qmp)
    if (uuid !== machine.uuid)
      throw new HypervisorError('machine_state_conflict', `The QEMU at ${socketPath} is not ${machine.name}.`, {
        facts: { expected: machine.uuid, found: uuid },
      })
    return await talk(qmp)
  } finally {
    await qmp.close()
  }
}
