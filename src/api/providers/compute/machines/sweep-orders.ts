/** What crashes left of machines: sealed orders that no machine waits for, and no command. Call it before requests are taken. */
import { isFinal, JOB_STATUSES } from '#domain'
import { listOwnMachines, RUN_COMMAND_JOB } from '#jobs'
import type { ArmHost } from '../../../arm/call.ts'

const LIMIT = 10_000

export async function sweepMachineOrders({ catalog, jobs, machineOrders }: ArmHost): Promise<void> {
  const status = JOB_STATUSES.filter((one) => !isFinal(one))
  const commands = await jobs.list({ name: RUN_COMMAND_JOB, status, limit: LIMIT })
  const wanted = new Set([
    ...(await listOwnMachines(catalog)).map(({ own }) => own.seed),
    ...commands.map(({ input }) => (input as Readonly<{ order?: unknown }>).order),
  ])
  for (const name of await machineOrders.list()) if (!wanted.has(name)) await machineOrders.remove(name)
}
