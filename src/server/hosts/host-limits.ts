/** What one host's worker may take on: as the settings say, unless its host was told otherwise. Pure. */
import type { Host } from '#catalog'
import type { Config } from '../config/schema.ts'

export type WorkerLimits = Readonly<{
  tasksAtOnce: number
  /** Read from disks and stores, and written to them, by all tasks together. 0: no limit. */
  bytesPerSecond: number
}>

type Usual = Pick<Config['limits'], 'tasksAtOnce' | 'bytesPerSecond'>

export function limitsOfHost(usual: Usual, { limits }: Pick<Host, 'limits'>): WorkerLimits {
  const { tasksAtOnce = usual.tasksAtOnce, bytesPerSecond = usual.bytesPerSecond } = limits
  return { tasksAtOnce, bytesPerSecond }
}

/** One worker serves this host in all regions, so the narrowest limit of them holds. */
export function limitsOfThisHost(usual: Usual, hosts: readonly Pick<Host, 'limits'>[]): WorkerLimits {
  const all = hosts.map((host) => limitsOfHost(usual, host))
  const rates = all.map(({ bytesPerSecond }) => bytesPerSecond).filter((rate) => rate > 0)
  return {
    tasksAtOnce: all.length === 0 ? usual.tasksAtOnce : Math.min(...all.map(({ tasksAtOnce }) => tasksAtOnce)),
    bytesPerSecond: all.length === 0 ? usual.bytesPerSecond : rates.length === 0 ? 0 : Math.min(...rates),
  }
}
