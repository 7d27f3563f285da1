/** How many reads the guest has asked of its disks since it started (QMP query-blockstats; jobs and NBD are not counted). */
import type { Clock } from '#base'
import { QmpClient } from '../qmp/client.ts'
import { isObject } from '../qmp/shape.ts'

/** @throws qmp_unreachable, qmp_busy, qmp_command_failed */
export async function countGuestReads(controlSocket: string, options: Readonly<{ clock: Clock }>): Promise<number> {
  const qmp = await QmpClient.connect(controlSocket, { clock: options.clock })
  try {
    const answer = await qmp.execute('query-blockstats')
    const drives = Array.isArray(answer) ? answer.filter(isObject) : []
    return drives.reduce((sum, { stats }) => sum + (isObject(stats) ? Number(stats['rd_operations'] ?? 0) : 0), 0)
  } finally {
    await qmp.close()
  }
}
