/** What crashes left of deployments: orders of runs that are over or never began, records whose job has ended without them. */
import { newestOperationOf } from '#catalog'
import { isFinal } from '#domain'
import type { ArmHost } from '../../../arm/call.ts'
import { backingOf, isOver, listDeployments, settleDeployment } from './record.ts'

/** Call it before requests are taken, and after operations were resumed. */
export async function sweepDeployments(host: ArmHost): Promise<void> {
  const running = new Set<string>()
  for (const record of await listDeployments(host.catalog)) {
    if (isOver(record)) continue
    const { run } = backingOf(record)
    const operation = await newestOperationOf(host.catalog, record.key)
    const job = operation === undefined ? undefined : await host.jobs.get(operation.id)
    const status = job?.status ?? 'failed'
    if (!isFinal(status)) running.add(run)
    else {
      const message = job?.error?.message ?? 'The deployment was not carried on.'
      const error = status === 'cancelled' ? undefined : { code: 'DeploymentFailed', message }
      await settleDeployment(host, record.id, run, error)
    }
  }
  for (const run of await host.orders.list()) if (!running.has(run)) await host.orders.remove(run)
}
